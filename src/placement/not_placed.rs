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
    /// Time was up, and the pool was empty.
    NoRunner,
    /// Time was up, and no runner had room.
    PlacerTimeout,
    /// The call's own deadline passed.
    DeadlineExceeded,
    /// The call's own deadline would have passed before its turn came.
    DeadlineUnreachable,
    /// As many calls wait as may, or as many bytes.
    QueueFull,
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
            Self::Rejected | Self::QueueFull | Self::DeadlineUnreachable => Outcome::Overloaded,
            Self::BodyGone => Outcome::RunnerReset,
            Self::DeadlineExceeded => Outcome::DeadlineExceeded,
        }
    }
}

impl From<GaveUp> for NotPlaced {
    fn from(why: GaveUp) -> Self {
        match why {
            GaveUp::NoRunner => Self::NoRunner,
            GaveUp::PlacerTimeout => Self::PlacerTimeout,
            GaveUp::DeadlineExceeded => Self::DeadlineExceeded,
            GaveUp::DeadlineUnreachable => Self::DeadlineUnreachable,
            GaveUp::QueueFull => Self::QueueFull,
            GaveUp::Rejected => Self::Rejected,
        }
    }
}
