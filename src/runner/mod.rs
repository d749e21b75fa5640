//! One runner as the balancer sees it: the [`Runner`] trait, what an attempt is, and (in [`http`]) the client that speaks to an
//! agent or to a plain HTTP server.
//!
//! The promise kept here is the **commit point** (P1, P2): an [`Attempt`] is either [`Attempt::Refused`], which proves that the call
//! did not run, or [`Attempt::Committed`], after which no other runner may be tried. There is no third way out.
//! Answers belong to their attempt (P3): a refused attempt has none.
//!
//! This floor knows `protocol`, `telemetry` and `model`; it knows neither pools nor placers.

mod attempt;
mod body;
#[cfg(test)]
pub(crate) mod doubles;
mod gate;
mod health;
pub mod http;
mod room;
mod view;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use attempt::{Attempt, CallError, Refused, RefusedWhy};
pub use body::{AnswerBody, BodyEnd, BodyError, CallBody, RequestBody, StreamingBody};
pub use gate::{Gate, Session};
pub use health::{HealthAnswer, HealthQuestion};
pub use http::AnswerFacts;
pub use room::{NoRoom, Probe, Room};
pub use view::{Noted, RunnerView};

use crate::model::Call;
use crate::protocol::{AgentStatus, RoomToken};

/// What one attempt gives to a runner.
#[derive(Clone, Copy, Debug)]
pub struct RunnerCall<'a> {
    /// The call.
    pub call: &'a Call,
    /// Its body, from which every attempt takes its own reader.
    pub body: &'a CallBody,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// The slot that the runner has lent for this call, if it was asked for one.
    pub room: Option<RoomToken>,
    /// The trace context that the runner's work belongs under.
    pub trace: crate::model::TraceContext,
}

/// Why a runner's status could not be had.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// A plain HTTP server has no status.
    #[error("runner {address} is a plain HTTP server: it has no status")]
    Unsupported {
        /// Whose status was asked for.
        address: String,
    },
    /// The runner could not be reached, or did not answer in time.
    #[error("could not ask runner {address} for its status: {reason}")]
    Unreachable {
        /// Whose status was asked for.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The runner answered with something else than a status.
    #[error("runner {address} answered with something that is not a status: {reason}")]
    Malformed {
        /// Whose status was asked for.
        address: String,
        /// What was wrong with it.
        reason: String,
    },
}

/// A runner: executes calls.
///
/// Implement this to place calls on something of your own; the balancer comes with [`http::HttpRunner`].
#[async_trait]
pub trait Runner: Send + Sync + fmt::Debug {
    /// Tries to run the call here.
    ///
    /// Returns [`Attempt::Refused`] only if the call certainly did not run. Dropping the future withdraws the attempt: the runner
    /// is told as fast as its protocol allows, and the call may have run.
    async fn try_exec(&self, call: RunnerCall<'_>) -> Attempt;

    /// Asks the runner how it is.
    ///
    /// # Errors
    /// The runner has no status, could not be reached, or answered nonsense. Safe to drop at any time.
    async fn status(&self) -> Result<AgentStatus, StatusError>;

    /// Asks the runner for a slot for one call, and waits for it for `wait` (whole milliseconds). Of one balancer one request waits at a
    /// runner; a newer one ends the older.
    ///
    /// Dropping the future gives the place in the runner's queue up.
    ///
    /// # Errors
    /// There is no room, or the runner cannot be asked, which is always so for one that does not implement this.
    async fn ask_room(&self, wait: Duration) -> Result<Room, NoRoom> {
        let _ = wait;
        Err(NoRoom::Unsupported { address: self.address().to_owned() })
    }

    /// Asks the runner how full it is and how fast: much cheaper than [`status`](Self::status).
    ///
    /// # Errors
    /// The runner cannot be asked (always so for one that does not implement this), could not be reached, or answered nonsense. Safe to drop
    /// at any time.
    async fn probe(&self) -> Result<Probe, StatusError> {
        Err(StatusError::Unsupported { address: self.address().to_owned() })
    }

    /// Asks the runner whether it is well, and waits no longer than `limit` for the answer. Safe to drop at any time.
    ///
    /// What is here asks for the status, and takes a runner that has none for well.
    async fn ask_health(&self, _question: &HealthQuestion, limit: std::time::Duration) -> HealthAnswer {
        match tokio::time::timeout(limit, self.status()).await {
            Ok(Ok(status)) => HealthAnswer::Well(Some(Box::new(status))),
            Ok(Err(StatusError::Unsupported { .. })) => HealthAnswer::Well(None),
            Ok(Err(error @ StatusError::Unreachable { .. })) => HealthAnswer::Unreachable(error.to_string()),
            Ok(Err(error @ StatusError::Malformed { .. })) => HealthAnswer::Unwell(error.to_string()),
            Err(_) => HealthAnswer::Unwell("it did not answer in time".to_owned()),
        }
    }

    /// Refuses new attempts, waits for the running ones, closes the connections. Calling it again waits again.
    /// Dropping the future leaves the runner closed to new attempts.
    async fn close(&self);

    /// Where the runner is, as configured.
    fn address(&self) -> &str;

    /// Whether the runner says how full it is, with every answer and refusal.
    fn reports_load(&self) -> bool {
        false
    }

    /// What this balancer knows of the runner so far; `None` if the implementation keeps no count.
    fn view(&self) -> Option<RunnerView> {
        None
    }
}
