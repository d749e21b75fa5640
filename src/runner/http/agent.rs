//! One attempt on an agent.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Response, StatusCode};

use super::answer::{AnswerFacts, Ended};
use super::arriving::Arriving;
use super::connections::Connections;
use super::exchange::{Exchange, exchange};
use super::patience::Patience;
use super::settings::HttpRunnerSettings;
use super::{question, request};
use crate::model::Outcome;
use crate::protocol::headers::{LOAD, OUTCOME, REFUSED};
use crate::protocol::{Problem, Refusal, RefusalReason};
use crate::runner::{CallError, Refused, RefusedWhy, RunnerCall};

/// The longest problem document that is read.
const LONGEST_PROBLEM: usize = 64 * 1024;

/// Tries the call on an agent. To one that does not know the function it is introduced, once, and the call is tried again.
pub(super) async fn attempt(
    connections: &Arc<Connections>,
    settings: &HttpRunnerSettings,
    call: &RunnerCall<'_>,
    connecting: &mut Duration,
) -> Ended {
    let ended = try_once(connections, settings, call, connecting).await;
    let knows_not = matches!(&ended, Ended::Refused(refused) if refused.why == RefusedWhy::Agent(RefusalReason::UnknownFunction));
    if !knows_not || !call.body.is_replayable() {
        return ended;
    }
    // On the heap, as it is rare and large.
    Box::pin(try_introduced(ended, connections, settings, call, connecting)).await
}

/// Introduces the function, and tries again; if that cannot be done, it ended as it did.
async fn try_introduced(
    ended: Ended,
    connections: &Arc<Connections>,
    settings: &HttpRunnerSettings,
    call: &RunnerCall<'_>,
    connecting: &mut Duration,
) -> Ended {
    let function = &call.call.function;
    if let Err(error) = question::introduce(connections, function, settings.attempt_timeout).await {
        tracing::warn!(runner = %connections.address(), function = %function.name(), %error, "could not introduce a function");
        return ended;
    }
    try_once(connections, settings, call, connecting).await
}

async fn try_once(
    connections: &Arc<Connections>,
    settings: &HttpRunnerSettings,
    call: &RunnerCall<'_>,
    connecting: &mut Duration,
) -> Ended {
    if !call.body.is_replayable() {
        return Ended::Failed(body_is_gone());
    }
    let mut outgoing = match request::to_agent(call, connections.address()) {
        Ok(outgoing) => outgoing,
        Err(error) => return Ended::Failed(error),
    };
    let patience = Patience::Asking { call: call.call.id, interval: settings.attempt_timeout };
    let said = match exchange(connections, &mut outgoing, &patience, connecting).await {
        Exchange::Answered(response) if is_said_by_agent(&response) => Box::new(response),
        Exchange::Answered(response) => return Ended::Answered(response),
        Exchange::Unsent { reason } => return Ended::Refused(Refused::new(RefusedWhy::Unreachable(reason))),
        Exchange::Failed(error) => return Ended::Failed(error),
    };
    // On the heap, as it is rare and large.
    Box::pin(read(*said, connections, settings)).await
}

/// The caller asked for an attempt that cannot be made any more.
pub(super) fn body_is_gone() -> CallError {
    CallError::new(Outcome::Internal, "the body of the call was sent to another runner before")
}

/// Whether an answer is that of the agent's HTTP parser, which gave up before there was a call: an agent puts its load on everything that
/// it answers itself, a function's own 400 or 431 included.
fn is_unparsed(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) && !headers.contains_key(LOAD)
}

/// Whether an answer has to be looked at, since the agent may have made it itself.
fn is_said_by_agent(response: &Response<Arriving>) -> bool {
    let headers = response.headers();
    headers.contains_key(OUTCOME) || headers.contains_key(REFUSED) || is_unparsed(response.status(), headers)
}

/// What the agent's own answer means.
async fn read(response: Response<Arriving>, connections: &Connections, settings: &HttpRunnerSettings) -> Ended {
    let headers = response.headers();
    if let Some(refusal) = Refusal::read(response.status(), headers) {
        let AnswerFacts { load, lost, .. } = AnswerFacts::read(headers);
        response.into_body().drain().await;
        let Refusal { reason, retry_after } = refusal;
        return Ended::Refused(Refused { why: RefusedWhy::Agent(reason), retry_after, load, lost });
    }
    let Some(word) = headers.get(OUTCOME) else {
        if is_unparsed(response.status(), headers) {
            let (address, status) = (connections.address(), response.status());
            let detail =
                format!("runner {address} could not take the head of the request, and answered {status}: its limits are tighter");
            return Ended::Failed(CallError::new(Outcome::BadRequest, detail));
        }
        return Ended::Answered(response);
    };
    let word = String::from_utf8_lossy(word.as_bytes()).into_owned();
    let outcome = match Outcome::from_word(&word) {
        // The agent accepted a detached call.
        Some(Outcome::Ok | Outcome::Accepted) => return Ended::Answered(response),
        Some(outcome) => outcome,
        None => Outcome::Internal,
    };
    let (status, facts) = (response.status(), AnswerFacts::read(headers));
    let document = tokio::time::timeout(settings.attempt_timeout, response.into_body().read_at_most(LONGEST_PROBLEM)).await;
    let problem = match &document {
        Ok(Ok(bytes)) => serde_json::from_slice::<Problem>(bytes).ok(),
        _ => None,
    };
    let detail = problem.map_or_else(
        || format!("runner {} answered {status} with the outcome `{word}` and no text that says more", connections.address()),
        |problem| problem.detail().to_owned(),
    );
    Ended::Failed(CallError { facts: Some(Box::new(facts)), ..CallError::new(outcome, detail) })
}
