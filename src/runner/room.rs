//! What a balancer may ask of a runner beside calls: room, and how full it is.

use std::time::Duration;

use super::attempt::Refused;
use crate::protocol::{LoadReport, LostWarm, RoomToken};

/// A slot that a runner lends to this balancer. The call that names the token gets it ([`RunnerCall::room`](super::RunnerCall::room)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// What the call has to name.
    pub token: RoomToken,
    /// How long the slot is kept, from when the runner answered.
    pub lease: Duration,
    /// How full the runner is, the lent slot included, if it said so.
    pub load: Option<LoadReport>,
    /// The warm workers that it lost last, if it said so.
    pub lost: Option<LostWarm>,
}

/// There is no room.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    /// The runner cannot be asked.
    #[error("runner {address} lends no slots")]
    Unsupported {
        /// Who was asked.
        address: String,
    },
    /// No slot was free in time.
    #[error("no slot was free in time")]
    NoneInTime {
        /// How full the runner is, if it said so.
        load: Option<LoadReport>,
        /// The warm workers that it lost last, if it said so.
        lost: Option<LostWarm>,
    },
    /// The runner drains, or too many balancers wait there.
    #[error("{}", .0.why)]
    Refused(Refused),
    /// The runner could not be reached, did not answer in time, or was closed on our side.
    #[error("could not ask runner {address} for room: {reason}")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The runner answered with something else.
    #[error("runner {address} answered with something that is no room: {reason}")]
    Malformed {
        /// Who was asked.
        address: String,
        /// What was wrong with it.
        reason: String,
    },
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How full the runner is.
    pub load: LoadReport,
    /// How long calls take that come when it is as full as it is now; `None` before any has ended there.
    pub latency: Option<Duration>,
    /// The warm workers that it lost last, if it said so.
    pub lost: Option<LostWarm>,
}
