//! `ch`: the same runner first for the same function, while it is there.
//!
//! Rule: the function's [`Homes`](crate::placement::Homes) in order; when all of them are full, the next runner with room from a place
//! that the call draws. What Fn's placer of this name does worse: its jump hash never chooses bucket 1, panics on some keys, depends on the
//! order of the list, and moves nearly all keys when a runner leaves.
//!
//! Cost: the homes are known; a decision is a look at the first with room. Use it when runners hold something warm and functions are
//! many; it does not look at load, so that one hot function fills its first runner before it spills.

use rand::Rng as _;

use super::placer::{Decision, Placer, Question, Reason};

/// The strategy of this page.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsistentHash;

impl Placer for ConsistentHash {
    fn name(&self) -> &'static str {
        "ch"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        if let Some((rank, home)) = question.homes.iter().enumerate().find(|(_, home)| question.can_take(**home)) {
            return Decision::Try(*home, if rank == 0 { Reason::Home } else { Reason::Spill });
        }
        let start = question.random.next_u64() % u64::from(question.view.places().max(1));
        let next = question.view.open_from(start as u32).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::Spill))
    }
}
