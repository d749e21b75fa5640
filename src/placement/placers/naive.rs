//! `naive`: the next runner with room, from a random start.
//!
//! Rule: Fn's naive placer, but that a runner known to be full is passed over, and that the start is drawn (Fn takes the clock's nanoseconds).
//! Cost: a few nanoseconds, whatever the number of runners. Use it when nothing is warm and the runners are alike: it spreads at random.

use rand::Rng as _;

use super::placer::{Decision, Placer, Question, Reason};

/// The strategy of this page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naive;

impl Placer for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let start = question.random.next_u64() % u64::from(question.view.places().max(1));
        let next = question.view.open_from(start as u32).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::AtRandom))
    }
}
