//! What calls and questions tell of a runner.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::member::RunnerPlace;
use crate::model::Outcome;
use crate::protocol::{AgentStatus, LoadReport};
use crate::runner::{Attempt, RefusedWhy};

/// What one attempt showed about its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// It took the call, and an answer of the function came, whatever the function said in it.
    Took,
    /// It took the call, or may have, and there is no answer of the function to show: the connection was lost, the answer was none.
    Failed,
    /// It took the call, and could not start the function. Whose fault that is, other runners tell.
    NotStarted,
    /// It refused because it is full, or does not know the function yet: somebody is well there.
    Refused,
    /// No connection could be made.
    Unreachable,
}

impl Evidence {
    /// What an attempt shows; `None` if nothing about the runner's health.
    ///
    /// A connection that was lost or silent counts against its runner. What functions do wrong does not: one broken function must not cost the others
    /// half of the pool. Nor does any status of a plain server: applications use all of them. Whether such a server is well
    /// is found out by asking it (`plain_check`).
    pub fn of(attempt: &Attempt) -> Option<Self> {
        match attempt {
            Attempt::Committed(Ok(_)) => Some(Self::Took),
            Attempt::Committed(Err(error)) => match error.outcome {
                Outcome::RunnerReset | Outcome::RunnerTimeout => Some(Self::Failed),
                Outcome::InitFailed => Some(Self::NotStarted),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RefusalReason;
    use crate::runner::{AnswerBody, CallError, Refused};

    #[test]
    fn what_functions_do_wrong_is_not_held_against_their_runner() {
        let answered = |status: u16| {
            let answer = http::Response::builder().status(status).body(AnswerBody::full("")).unwrap();
            Evidence::of(&Attempt::Committed(Ok(answer)))
        };
        let failed = |outcome| Evidence::of(&Attempt::Committed(Err(CallError::new(outcome, ""))));
        let refused = |why| Evidence::of(&Attempt::Refused(Refused::new(why)));
        assert_eq!((answered(200), answered(503)), (Some(Evidence::Took), Some(Evidence::Took)));
        assert_eq!(
            (failed(Outcome::FunctionCrashed), failed(Outcome::InitFailed)),
            (Some(Evidence::Took), Some(Evidence::NotStarted))
        );
        assert_eq!((failed(Outcome::RunnerReset), failed(Outcome::ClientGone)), (Some(Evidence::Failed), None));
        assert_eq!(failed(Outcome::DeadlineExceeded), None, "or clients in a hurry could cost a pool its servers");
        assert_eq!(refused(RefusedWhy::Agent(RefusalReason::Busy)), Some(Evidence::Refused));
        assert_eq!(refused(RefusedWhy::Unreachable("no".into())), Some(Evidence::Unreachable));
        assert_eq!(refused(RefusedWhy::Closed), None);
    }
}
