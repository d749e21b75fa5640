//! What calls and questions tell of a runner.

use std::collections::BTreeMap;

use super::member::RunnerPlace;
use crate::model::Outcome;
use crate::protocol::LoadReport;
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
    /// How full it is. `warm` is 0: that stands in `warm_workers`.
    pub load: LoadReport,
    /// Its idle workers by function name; functions without any are absent.
    pub warm_workers: BTreeMap<String, u32>,
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
        assert_eq!(refused(RefusedWhy::Agent(RefusalReason::Busy)), Some(Evidence::Refused));
        assert_eq!(refused(RefusedWhy::Unreachable("no".into())), Some(Evidence::Unreachable));
        assert_eq!(refused(RefusedWhy::Closed), None);
    }
}
