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
mod metrics;
mod naive;
mod placer;
mod placing;

pub use config::{PlacementConfig, PlacerChoice};
pub use consistent_hash::ConsistentHash;
pub use driver::{Placed, PlacedResult, Placement, Report};
pub use metrics::PlacementMetrics;
pub use naive::Naive;
pub use placer::{Decision, Pass, Placer, PlacerEvent, Question};
pub use placing::{Action, NotPlaced, Placing, Rules};

use std::sync::Arc;

/// The placer that a configuration names.
pub fn placer(choice: PlacerChoice) -> Arc<dyn Placer> {
    match choice {
        PlacerChoice::Naive => Arc::new(Naive),
        PlacerChoice::Ch => Arc::new(ConsistentHash::default()),
    }
}
