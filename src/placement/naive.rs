//! `naive`: every runner in turn, from a new random start in each pass (Fn's default).
//!
//! Rule: position `draw mod n`, then the next, each once. Cost: one division. Use it when calls are alike and runners hold nothing
//! warm; otherwise it spreads a function over all runners, and each of them starts it cold.

use super::placer::{Decision, Placer, Question};

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
        // Below the number of runners, which is counted in 32 bits.
        Decision::Try(((question.pass.draw % runners + tried) % runners) as u32)
    }
}
