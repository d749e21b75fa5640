//! Why a call went where it went.

use std::time::Duration;

use crate::placement::event::StartKind;
use crate::placement::placers::Reason;
use crate::placement::view::{FunctionState, View};
use crate::pool::RunnerPlace;

/// One runner as it looked when the choice was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub runner: RunnerPlace,
    /// Calls that were known to be there.
    pub in_flight: u32,
    /// Its slots, if they were known.
    pub slots: Option<u32>,
    /// Idle workers of the function that were known to be there.
    pub idle: u32,
}

/// Time that a call spent in the wait queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waited(pub Duration);

/// Why a call went where it went, or what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The strategy.
    pub placer: &'static str,
    /// Why this runner; `None` before the first attempt.
    pub reason: Option<Reason>,
    /// The chosen runner, then the function's first homes, as they looked then.
    pub candidates: [Option<Candidate>; 3],
    /// Time in the wait queue.
    pub waited: Waited,
    /// Attempts so far.
    pub attempts: u32,
    /// Refusals so far.
    pub refusals: u32,
    /// Whether an idle worker was expected there.
    pub expected_warm: Option<bool>,
    /// How the call began there, once it is known.
    pub start: Option<StartKind>,
}

impl Candidate {
    pub(super) fn of(view: &View, function: &FunctionState, runner: RunnerPlace) -> Option<Self> {
        let known = view.runner(runner)?;
        Some(Self { runner, in_flight: known.in_flight(), slots: known.slots(), idle: function.idle_on(runner) })
    }
}
