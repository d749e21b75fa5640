//! Placement: which runner runs this call, and what to do while none will.
//!
//! * [`Placer`] is the strategy. It only decides: no I/O, no clock, no task. [`Naive`] and [`ConsistentHash`] live here.
//! * [`Placing`] is the placing loop as a state machine, written once for every strategy: time goes in as an argument, what to do
//!   comes out. The simulator drives the same object.
//! * [`Placement`] is the thin driver: it asks the pool, tries runners, sleeps, counts.
//!
//! Kept here: the commit point is obeyed (P1, P2: a committed attempt ends the loop, whatever its result), a fresh snapshot on
//! every pass, the placer timeout (which does not bound the run itself), fail fast on a user's error with an empty pool, and a
//! latency that excludes the committed attempt and includes every refused one and every wait.
//!
//! This floor knows no sockets: it imports `pool`, `runner`, `protocol`, `telemetry` and `model`.

#[cfg(test)]
mod cases;
mod config;
mod consistent_hash;
mod driver;
mod event;
mod homes;
mod metrics;
mod moment;
mod naive;
mod placer;
pub mod placers;
mod placing;
mod placing_loop;
mod view;
mod wait_queue;

pub use config::{PlacementConfig, PlacerChoice, PlacerSettings};
pub use consistent_hash::ConsistentHash;
pub use driver::{Placed, PlacedResult, Placement, Report};
pub use event::{
    Admission, CallNumber, EndedHow, Event, FunctionFacts, FunctionNumber, GaveUp, RefusedKind, RunnerChange, RunnerFacts,
    RunnerNews, StartKind, Step,
};
pub use homes::{HomeRing, Homes};
pub use metrics::PlacementMetrics;
pub use moment::Moment;
pub use naive::Naive;
pub use placer::{Decision, Pass, Placer, PlacerEvent, Question};
pub use placing::{Action, NotPlaced, Placing, Rules};
pub use placing_loop::{Candidate, Explanation, LoopRules, PlacingLoop, Waited};
pub use view::{Expected, FunctionState, RunnerState, View};
pub use wait_queue::{WaitLimits, WaitQueue, Waiting};

use std::sync::Arc;

/// The placer that a configuration names.
pub fn placer(choice: PlacerChoice) -> Arc<dyn Placer> {
    match choice {
        PlacerChoice::Naive => Arc::new(Naive),
        _ => Arc::new(ConsistentHash::default()),
    }
}
