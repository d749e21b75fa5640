//! One call as the placing loop knows it.

use std::time::Duration;

use super::explanation::{Candidate, Explanation, Waited};
use crate::placement::event::{FunctionNumber, StartKind};
use crate::placement::moment::Moment;
use crate::placement::placers::Reason;
use crate::placement::view::{Expected, View};
use crate::pool::RunnerPlace;

/// A runner's slot that a call holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) runner: RunnerPlace,
    /// Which of the runners that ever had that place.
    pub(super) life: u64,
    pub(super) expected: Expected,
    /// When the worker that is started for it must be there, while that is to come.
    pub(super) starts_until: Option<Moment>,
    /// It is tried beyond what the runner is known to take.
    pub(super) is_probe: bool,
    /// When the attempt was decided.
    pub(super) since: Moment,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    New,
    /// It waits since then.
    Waiting(Moment),
    /// A runner is asked to take it.
    Tried(Hold),
    /// A runner has it.
    Running(Hold, StartKind),
}

#[derive(Clone, Debug)]
pub(super) struct CallState {
    pub(super) function: FunctionNumber,
    pub(super) hint: Option<u64>,
    pub(super) arrived: Moment,
    pub(super) deadline: Option<Moment>,
    pub(super) bytes: u64,
    pub(super) stage: Stage,
    /// Of a running one: when its runner has ended it at the latest, if that is known and its answer was not there.
    pub(super) runs_until: Option<Moment>,
    pub(super) attempts: u32,
    pub(super) refusals: u32,
    /// Runners that refused it since it last waited.
    pub(super) refused: Vec<RunnerPlace>,
    /// Time in the queue that is over.
    pub(super) waited: Duration,
    placer_timeout_at: Moment,
    reason: Option<Reason>,
    candidates: [Option<Candidate>; 3],
}

impl CallState {
    pub(super) fn new(
        function: FunctionNumber,
        hint: Option<u64>,
        give_up_at: Moment,
        deadline: Option<Moment>,
        bytes: u64,
        now: Moment,
    ) -> Self {
        Self {
            function,
            hint,
            arrived: now,
            deadline,
            bytes,
            stage: Stage::New,
            runs_until: None,
            attempts: 0,
            refusals: 0,
            refused: Vec::new(),
            waited: Duration::ZERO,
            placer_timeout_at: give_up_at,
            reason: None,
            candidates: [None; 3],
        }
    }

    /// When waiting ends.
    pub(super) fn give_up_at(&self) -> Moment {
        self.deadline.map_or(self.placer_timeout_at, |deadline| deadline.min(self.placer_timeout_at))
    }

    /// Notes why a runner was chosen, and how it and the function's first homes looked then.
    pub(super) fn note_choice(&mut self, view: &View, runner: RunnerPlace, reason: Reason) {
        self.reason = Some(reason);
        let known = view.function(self.function);
        let others = known.homes().iter().copied().filter(|home| *home != runner);
        let mut looked_at = std::iter::once(runner).chain(others);
        self.candidates = std::array::from_fn(|_| looked_at.next().and_then(|place| Candidate::of(view, known, place)));
    }

    /// Why its runner was chosen, and whether it went smoothly so far.
    pub(super) fn course(&self) -> (Option<Reason>, bool) {
        let is_cold = matches!(self.stage, Stage::Running(_, StartKind::Cold(_)));
        (self.reason, self.attempts == 1 && self.refusals == 0 && self.waited.is_zero() && !is_cold)
    }

    pub(super) fn explain(&self, placer: &'static str, now: Moment) -> Explanation {
        let (waiting, expected, start) = match self.stage {
            Stage::New => (Duration::ZERO, None, None),
            Stage::Waiting(since) => (now - since, None, None),
            Stage::Tried(hold) => (Duration::ZERO, Some(hold.expected), None),
            Stage::Running(hold, start) => (Duration::ZERO, Some(hold.expected), Some(start)),
        };
        Explanation {
            placer,
            reason: self.reason,
            candidates: self.candidates,
            waited: Waited(self.waited + waiting),
            attempts: self.attempts,
            refusals: self.refusals,
            expected_warm: expected.map(|expected| expected == Expected::Warm),
            start,
        }
    }
}
