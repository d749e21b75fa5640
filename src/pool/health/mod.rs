//! Which runners are well enough for calls.
//!
//! * [`Health`] is the state machine; its page has the table of states. It knows no runner, no socket and no clock.
//! * [`HealthKeeper`] drives it: asks runners how they are, hears how calls ended, and writes what comes of it into the pool.
//!
//! What it promises: calls that run on a runner are never touched; no more than the configured share of a pool is ejected, and never its last runner;
//! every change of state is a line of the log, a metric, and visible in the snapshot.

mod config;
mod keeper;
mod machine;
#[cfg(test)]
mod machine_cases;
mod metrics;
mod tally;
mod view;

pub use config::{HealthConfig, PlainCheck};
pub use keeper::HealthKeeper;
pub use machine::{Age, CheckAnswer, Checked, Health, HealthEvent, Start, Verdict};
pub use metrics::HealthMetrics;
pub use tally::Tally;
pub use view::HealthState;
