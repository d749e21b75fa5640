//! `idle-pull`: an idle warm worker of the function, else the least loaded runner.
//!
//! Rule: join the idle queue (Lu et al. 2011) by function, as Hiku does (CCGrid 2025): runners that have just finished a call of the function are its idle
//! queue, the least loaded first; nobody idle: least connections, ties at random. Hiku keeps a priority queue for each function and scans all of
//! them at every change of load; here an idle worker is an entry in a table, and up to sixteen of them are compared.
//!
//! Cost: constant. Use it where starts are cheap and load is low: there it is near the optimum. When the pool queues, it hands freed slots out
//! in turn, to whatever function is next, and warm workers are lost.

use rand::Rng as _;

use super::placer::{Decision, Placer, Question, Reason};

/// The strategy of this page.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdlePull;

impl Placer for IdlePull {
    fn name(&self) -> &'static str {
        "idle-pull"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let draw = question.random.next_u64();
        let warm = question.view.least_loaded_warm(question.function, draw);
        if let Some(runner) = warm.filter(|runner| !question.refused.contains(runner)) {
            return Decision::Try(runner, Reason::Warm);
        }
        let next = question.view.by_load(draw).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::LeastLoaded))
    }
}
