//! `naive`: every runner in turn, from a new random start in each pass (Fn's default).
//!
//! Rule: the runner in place `draw mod n`, then the next, each once. Cost: one division. Use it when calls are alike and runners hold nothing
//! warm; otherwise it spreads a function over all runners, and each of them starts it cold.

use super::placer::{Decision, Placer, Question};
use crate::pool::RunnerPlace;

/// The strategy of this page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naive;

impl Placer for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn decide(&self, question: Question<'_>) -> Decision {
        let runners = question.snapshot.len() as u64;
        let tried = u64::from(question.pass.tried);
        if tried >= runners {
            return Decision::Park;
        }
        // Places are counted in 32 bits.
        let start = question.pass.draw % question.snapshot.place_count() as u64;
        let next = question.snapshot.places_from(RunnerPlace(start as u32)).nth(tried as usize);
        next.map_or(Decision::Park, |(place, _)| Decision::Try(place.0))
    }
}
