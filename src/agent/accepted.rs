//! A call that passed the gate: what it needs to run, by whichever format, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer::AnswerBody;
use super::exec_job;
use super::fn_contract::FunctionRequest;
use super::house::{House, PendingClaim, Ticket};
use super::http_stream;
use super::input::Input;
use super::memory::NoRoom;
use super::run::{Accounts, Held, RunFacts};
use super::run_error::RunError;
use crate::model::{Format, Function};
use crate::telemetry::deadline;

/// A call that passed the gate.
pub(crate) struct Accepted {
    pub(crate) function: Arc<Function>,
    pub(crate) request: FunctionRequest,
    /// When the client wants to have given up.
    pub(crate) deadline: Option<Instant>,
    /// The longest answer, in bytes.
    pub(crate) max_answer_body: u64,
    /// Told when the function has the call, for a detached one.
    pub(crate) started: Option<oneshot::Sender<RunFacts>>,
    pub(crate) held: Held,
    pub(crate) accounts: Accounts,
}

/// Room for the process that will run a call.
pub(crate) enum Room {
    /// A worker, or the promise of one.
    Worker(Ticket),
    /// Memory for a job.
    Job(PendingClaim),
}

/// How a call ended, to the head of its answer.
pub(crate) enum Ended {
    /// The function answered; the body streams.
    Answered(Response<AnswerBody>, RunFacts),
    /// It did not.
    Failed(RunError, RunFacts),
    /// The worker was found dead, and there is no memory for another: nothing has run.
    Refused,
}

impl Room {
    /// Finds room for one call of `function`.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn find(house: &House, function: &Arc<Function>) -> Result<Self, NoRoom> {
        match function.spec.format {
            Format::HttpStream => house.admit(function).map(Self::Worker),
            Format::Exec => house.claim_job(function).map(Self::Job),
        }
    }

    /// Runs the call in it, to the head of its answer. Dropping the future kills what runs.
    pub(crate) async fn run(self, accepted: Accepted, house: &House, input: Input) -> Ended {
        match self {
            Self::Worker(ticket) => http_stream::run(accepted, house, ticket, input).await,
            // On the heap, as it is large, and a call of the other kind need not have the room for it.
            Self::Job(claim) => Box::pin(exec_job::run(accepted, house, claim, input)).await,
        }
    }
}

impl Accepted {
    /// The call failed before a worker had it.
    pub(crate) fn fail(mut self, error: RunError) -> Ended {
        self.accounts.close(error.outcome(), &error.to_string());
        Ended::Failed(error, self.accounts.facts())
    }

    /// The call is refused: nothing of it has run.
    pub(crate) fn refuse(mut self) -> Ended {
        if let Some(permit) = self.held.permit.take() {
            permit.refuse();
        }
        self.accounts.forget();
        Ended::Refused
    }

    /// Tells that the function has the call now.
    pub(crate) fn tell_started(&mut self) {
        if let Some(started) = self.started.take() {
            // Nobody waits any more: a detached call runs all the same.
            let _ = started.send(self.accounts.facts());
        }
    }

    /// How long the call may run from `now`: as long as its function may, or until the client has given up.
    pub(crate) fn limit(&self, now: Instant) -> Duration {
        let timeout = self.function.spec.timeout;
        self.deadline.map_or(timeout, |deadline| timeout.min(deadline.saturating_duration_since(now)))
    }
}

/// Waits for `future` until `deadline`; `None` if that comes first.
pub(crate) async fn before<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => deadline::before(deadline, future).await,
        None => Some(future.await),
    }
}
