//! Why a call was not placed, for who asked.

use super::event::GaveUp;
use crate::model::Outcome;
use crate::pool::PoolError;

/// Why a call was not placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPlaced {
    /// The pool was empty because of the user's error.
    PoolFault(PoolError),
    /// Time was up, and the last the pool said was an error.
    PoolError(PoolError),
    /// The placing loop gave it up, or would have if there had been runners to begin it with.
    GaveUp(GaveUp),
    /// A runner refused after it had read the beginning of a body that was not held: nothing is left to send to another.
    BodyGone,
}

impl NotPlaced {
    /// The word for it.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::PoolFault(_) => Outcome::PoolFault,
            Self::PoolError(_) => Outcome::PoolError,
            Self::BodyGone => Outcome::RunnerReset,
            Self::GaveUp(why) => why.outcome(),
        }
    }

    /// The word that explains it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::PoolFault(_) => "pool-fault",
            Self::PoolError(_) => "pool-error",
            Self::BodyGone => "body-gone",
            Self::GaveUp(why) => why.as_str(),
        }
    }
}

impl From<GaveUp> for NotPlaced {
    fn from(why: GaveUp) -> Self {
        Self::GaveUp(why)
    }
}
