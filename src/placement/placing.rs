//! The placing loop as a state machine: no socket, no clock, no task.
//!
//! The driver asks [`Placing::next`] what to do, does it, and reports what came of it:
//!
//! | state | event | next action |
//! |---|---|---|
//! | begun | – | [`Action::AskPool`] |
//! | asked | pool empty, the user's fault | [`Action::End`] at once: [`NotPlaced::PoolFault`] |
//! | asked | pool empty otherwise | [`Action::Wait`] for `retry_all_delay` |
//! | asked | pool lists runners | [`Action::Try`] the one the placer names |
//! | trying | refused | [`Action::Try`] the next, or [`Action::Wait`] when the placer parks |
//! | trying | refused, but the body is gone | [`Action::End`]: nothing is left to send |
//! | waiting | delay over | [`Action::AskPool`]: a fresh snapshot for every pass |
//! | any but trying | placer timeout or the call's deadline over | [`Action::End`] |
//!
//! A committed attempt ends the loop outside: the driver simply stops asking. The placer timeout is looked at between attempts and
//! ends waits; it never cuts an attempt (Fn's rule, kept).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::placer::{Decision, Pass, Placer, Question};
use crate::model::{Call, CallKind, Outcome};
use crate::pool::{Fault, PoolAnswer, PoolError, RunnerPlace, Snapshot};

/// The times that the loop obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Pause after every runner refused.
    pub retry_all_delay: Duration,
    /// How long placing a call may take.
    pub placer_timeout: Duration,
    /// The same for a detached call.
    pub detached_placer_timeout: Duration,
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the pool for a snapshot, then call [`Placing::pool_answered`].
    AskPool,
    /// Try the runner at this position of the snapshot; if it refuses, call [`Placing::refused`].
    Try(u32),
    /// Wait until then, then call [`Placing::next`] again.
    Wait(Instant),
    /// The call is not placed.
    End(NotPlaced),
}

/// Why a call was not placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPlaced {
    /// The pool was empty because of the user's error.
    PoolFault(PoolError),
    /// Time was up, and the last the pool said was an error.
    PoolError(PoolError),
    /// Time was up, and the pool was empty.
    NoRunner,
    /// Time was up, and every runner had refused.
    PlacerTimeout,
    /// The call's own deadline passed.
    DeadlineExceeded,
    /// The placer rejected the call.
    Rejected,
    /// A runner refused after it had read the beginning of a body that was not held: nothing is left to send to another.
    BodyGone,
}

impl NotPlaced {
    /// The word for it.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::PoolFault(_) => Outcome::PoolFault,
            Self::PoolError(_) => Outcome::PoolError,
            Self::NoRunner => Outcome::NoRunner,
            Self::PlacerTimeout => Outcome::PlacerTimeout,
            Self::Rejected => Outcome::Overloaded,
            Self::BodyGone => Outcome::RunnerReset,
            Self::DeadlineExceeded => Outcome::DeadlineExceeded,
        }
    }
}

/// Where the loop stands.
#[derive(Debug)]
enum State {
    /// The pool is to be asked.
    Begin,
    /// A pass over this snapshot is under way.
    Walking(Arc<Snapshot>),
    /// Everybody refused; a new pass begins at this time.
    Parked(Instant),
    /// Over.
    Ended(NotPlaced),
}

/// The placement of one call.
#[derive(Debug)]
pub struct Placing<'a> {
    placer: &'a dyn Placer,
    key: &'a str,
    retry_all_delay: Duration,
    /// When the placer timeout is over.
    place_until: Instant,
    deadline: Option<Instant>,
    state: State,
    pass: Pass,
    random: SmallRng,
    /// What the pool said last, if it was an error.
    pool_error: Option<PoolError>,
    last_was_empty: bool,
}

impl<'a> Placing<'a> {
    /// Begins the placement of `call` at `now`. The same seed makes the same decisions.
    pub fn new(call: &'a Call, placer: &'a dyn Placer, rules: &Rules, now: Instant, seed: u64) -> Self {
        let timeout = match call.kind {
            CallKind::Sync => rules.placer_timeout,
            CallKind::Detached => rules.detached_placer_timeout,
        };
        Self {
            placer,
            key: call.function.name().as_str(),
            retry_all_delay: rules.retry_all_delay,
            place_until: now + timeout,
            deadline: call.deadline,
            state: State::Begin,
            pass: Pass::default(),
            random: SmallRng::seed_from_u64(seed),
            pool_error: None,
            last_was_empty: false,
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Action {
        if let State::Ended(end) = &self.state {
            return Action::End(end.clone());
        }
        // The pool is asked once whatever the time, as Fn does, so that an empty pool is always counted.
        if !matches!(self.state, State::Begin)
            && let Some(end) = self.time_is_up(now)
        {
            return self.end(end);
        }
        match &self.state {
            State::Begin => Action::AskPool,
            State::Parked(until) if now < *until => Action::Wait((*until).min(self.give_up_at())),
            State::Parked(_) => Action::AskPool,
            State::Walking(snapshot) => {
                let snapshot = Arc::clone(snapshot);
                let question = Question { snapshot: &snapshot, key: self.key, now, pass: &mut self.pass };
                match self.placer.decide(question) {
                    Decision::Try(position) if snapshot.get(RunnerPlace(position)).is_some() => Action::Try(position),
                    // A placer that names nobody's position has nobody to name.
                    Decision::Try(_) | Decision::Park => self.park(now),
                    Decision::Reject => self.end(NotPlaced::Rejected),
                }
            }
            State::Ended(end) => Action::End(end.clone()),
        }
    }

    /// The pool answered.
    pub fn pool_answered(&mut self, answer: PoolAnswer, now: Instant) {
        self.last_was_empty = answer.snapshot.is_empty();
        self.pool_error = answer.error;
        self.state = if !self.last_was_empty {
            self.pass.draw = self.random.next_u64();
            self.pass.tried = 0;
            self.pass.order.clear();
            State::Walking(answer.snapshot)
        } else {
            match &self.pool_error {
                Some(error) if error.fault == Fault::User => State::Ended(NotPlaced::PoolFault(error.clone())),
                _ => State::Parked(now + self.retry_all_delay),
            }
        };
    }

    /// The runner refused. `body_is_left` tells whether another could still be given the whole body.
    pub fn refused(&mut self, body_is_left: bool) {
        self.pass.tried += 1;
        if !body_is_left {
            self.state = State::Ended(NotPlaced::BodyGone);
        }
    }

    /// The snapshot of the pass under way.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        match &self.state {
            State::Walking(snapshot) => Some(snapshot),
            _ => None,
        }
    }

    /// Whether the pool's last snapshot had no runner.
    pub const fn pool_was_empty(&self) -> bool {
        self.last_was_empty
    }

    fn park(&mut self, now: Instant) -> Action {
        let until = now + self.retry_all_delay;
        self.state = State::Parked(until);
        Action::Wait(until.min(self.give_up_at()))
    }

    fn end(&mut self, end: NotPlaced) -> Action {
        self.state = State::Ended(end.clone());
        Action::End(end)
    }

    fn give_up_at(&self) -> Instant {
        self.deadline.map_or(self.place_until, |deadline| deadline.min(self.place_until))
    }

    fn time_is_up(&self, now: Instant) -> Option<NotPlaced> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(NotPlaced::DeadlineExceeded);
        }
        if now < self.place_until {
            return None;
        }
        Some(match (&self.pool_error, self.last_was_empty) {
            (Some(error), _) => NotPlaced::PoolError(error.clone()),
            (None, true) => NotPlaced::NoRunner,
            (None, false) => NotPlaced::PlacerTimeout,
        })
    }
}
