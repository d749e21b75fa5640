//! Why a call went where it went, or what it was up against when it was not placed, by the names that people know.

use std::sync::Arc;

use crate::model::RunnerId;
use crate::placement::placers::Reason;
use crate::placement::placing_loop::{Explanation, PlacingLoop};

/// Why a call went where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the loop says.
    pub explanation: Explanation,
    /// The names of its candidates.
    pub names: [Option<RunnerId>; 3],
}

/// Which calls have an account: to make one costs as much as to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// Each.
    All,
    /// None that went smoothly: at once, to the first runner, where no worker had to be started as far as is known.
    Unusual,
}

/// What the loop tells of a call that is committed.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Why this runner was chosen.
    pub(super) reason: Option<Reason>,
    /// All about it, if it is to have an account.
    pub(super) account: Option<Arc<Account>>,
}

impl Course {
    /// This, or the other if nothing was told.
    pub(super) fn or(self, other: Self) -> Self {
        if self.reason.is_some() { self } else { other }
    }
}

/// What a call that was not placed was up against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Runners in the pool.
    pub runners: usize,
    /// Those of them that were known to have room.
    pub with_room: usize,
    /// Calls that waited, the call itself not among them.
    pub waiting: usize,
}

impl Crowd {
    pub(super) const NONE: Self = Self { runners: 0, with_room: 0, waiting: 0 };

    pub(super) fn of(machine: &PlacingLoop) -> Self {
        let view = machine.view();
        Self { runners: view.members(), with_room: view.open_count(), waiting: machine.queue().len() }
    }
}
