//! Why a call went where it went, or what it was up against when it was not placed, by the names that people know.

use crate::model::RunnerId;
use crate::placement::placing_loop::{Explanation, PlacingLoop};

/// Why a call went where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the loop says.
    pub explanation: Explanation,
    /// The names of its candidates.
    pub names: [Option<RunnerId>; 3],
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
