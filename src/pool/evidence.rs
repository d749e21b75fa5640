//! What calls and questions tell of a runner.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::member::RunnerPlace;
use crate::model::Outcome;
use crate::protocol::{AgentStatus, LoadReport};
use crate::runner::http::AnswerFacts;
use crate::runner::{Attempt, RefusedWhy};

/// What one attempt showed about its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// It took the call, and an answer of the function came, whatever the function said in it.
    Took,
    /// It took the call, or may have, and there is no answer of the function to show: the connection was lost, the answer was none.
    Failed,
    /// It refused because it is full, or does not know the function yet: somebody is well there.
    Refused,
    /// No connection could be made.
    Unreachable,
}

impl Evidence {
    /// What an attempt shows; `None` if nothing about the runner's health.
    ///
    /// A function that cannot be started counts against its runner, as does a connection that was lost or silent. What functions themselves do wrong
    /// does not. A plain server has no functions: there, an answer from 500 on is a failure.
    pub fn of(attempt: &Attempt) -> Option<Self> {
        match attempt {
            Attempt::Committed(Ok(answer)) => {
                let is_plain = answer.extensions().get::<AnswerFacts>().is_some_and(|facts| facts.load.is_none());
                Some(if is_plain && answer.status().is_server_error() { Self::Failed } else { Self::Took })
            }
            Attempt::Committed(Err(error)) => match error.outcome {
                Outcome::RunnerReset | Outcome::RunnerTimeout | Outcome::InitFailed => Some(Self::Failed),
                Outcome::FunctionFailed
                | Outcome::FunctionCrashed
                | Outcome::FunctionOutOfMemory
                | Outcome::AnswerTooLarge
                | Outcome::BadAnswer => Some(Self::Took),
                _ => None,
            },
            Attempt::Refused(refused) => match refused.why {
                RefusedWhy::Unreachable(_) => Some(Self::Unreachable),
                RefusedWhy::Agent(_) | RefusedWhy::Status(_) => Some(Self::Refused),
                RefusedWhy::Closed => None,
            },
        }
    }
}

/// What a runner said about itself when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerReport {
    /// Whose place.
    pub place: RunnerPlace,
    /// When it was asked: what it says may be as old.
    pub asked_at: Instant,
    /// How full it is. `warm` is 0: that stands in `warm_workers`.
    pub load: LoadReport,
    /// Its idle workers by function name; functions without any are absent.
    pub warm_workers: BTreeMap<String, u32>,
    /// The number of the newest loss of an idle worker that `warm_workers` has taken in.
    pub lost_seq: u64,
}

impl RunnerReport {
    /// What an agent's status says.
    pub fn of(place: RunnerPlace, asked_at: Instant, status: AgentStatus) -> Self {
        let in_flight = u32::try_from(status.active_request_count).unwrap_or(u32::MAX);
        let load = LoadReport { in_flight, slots: status.slots, warm: 0 };
        Self { place, asked_at, load, warm_workers: status.warm_workers, lost_seq: status.lost_seq }
    }
}
