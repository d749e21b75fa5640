//! `least-loaded`: the runner with the smallest part of its slots taken, ties at random.
//!
//! Rule: argmin of known load, others' calls included. Cost: constant, from buckets of one 64th each. Use it for stateless calls with one
//! balancer; several balancers that see the same reports choose the same runner.

use rand::Rng as _;

use super::placer::{Decision, Placer, Question, Reason};

/// The strategy of this page.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Placer for LeastLoaded {
    fn name(&self) -> &'static str {
        "least-loaded"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let draw = question.random.next_u64();
        let next = question.view.by_load(draw).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::LeastLoaded))
    }
}
