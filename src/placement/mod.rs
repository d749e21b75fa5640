//! Placement: which runner runs this call, and what to do while none will.
//!
//! * [`PlacingLoop`] is the placing loop: one machine for all calls of a pool. Events go in, steps come out; no clock, no task, no socket. The
//!   simulator drives the same object. It holds
//! * [`View`], what is known of runners and functions, and
//! * [`WaitQueue`], the calls that wait: first in first out for each function, fair between functions; it asks
//! * the [`placers`], which only decide: who is tried for a call that comes, and whose turn it is when a runner has room.
//! * [`Placement`] is the thin driver: it asks the pool, tries runners, waits, counts.
//!
//! Kept here: the commit point is obeyed (P1, P2: a committed attempt ends the loop, whatever its result); waiting costs no attempts (P4); the queue has
//! bounds (P5); the placer timeout, which does not bound the run itself; fail fast on a user's error with an empty pool; and a latency that
//! excludes the committed attempt and includes every refused one and every wait.
//!
//! This floor knows no sockets: it imports `pool`, `runner`, `protocol`, `telemetry` and `model`.

#[cfg(test)]
mod cases;
mod config;
mod driver;
mod event;
mod homes;
mod metrics;
mod moment;
mod not_placed;
pub mod placers;
mod placing_loop;
mod view;
mod wait_queue;

pub use config::{DEFAULT_FUNCTION_WEIGHT, FairBetween, FunctionPlacement, PlacementConfig, PlacerChoice, PlacerSettings, Times};
pub use driver::{Account, Accounts, Crowd, MakePlacer, Placed, PlacedResult, Placement, RecordHead, RecordLine, Report};
pub use event::{
    Admission, CallNumber, EndedHow, Event, FunctionFacts, FunctionNumber, GaveUp, RefusedKind, RunnerChange, RunnerFacts,
    RunnerNews, StartKind, Step,
};
pub use homes::{HomeRing, Homes, RingMember};
pub use metrics::PlacementMetrics;
pub use moment::Moment;
pub use not_placed::NotPlaced;
pub use placers::{Decision, Noted, Offer, Placer, Pull, Question, Reason};
pub use placing_loop::{Candidate, Explanation, LoopRules, PlacingLoop, Waited};
pub use view::{Expected, FunctionState, RunnerState, Totals, View};
pub use wait_queue::{WaitLimits, WaitQueue, Waiting};
