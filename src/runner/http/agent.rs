//! One attempt on an agent.

use std::time::Duration;

use ::http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::answer::{AnswerFacts, Ended, drain, read_at_most};
use super::connections::{Connection, Connections};
use super::exchange::{Exchange, exchange};
use super::outgoing::{HeldBack, OutgoingBody};
use super::patience::Patience;
use super::settings::HttpRunnerSettings;
use super::{question, request};
use crate::model::Outcome;
use crate::protocol::headers::{LOAD, OUTCOME};
use crate::protocol::{Problem, Refusal, RefusalReason};
use crate::runner::{CallBody, CallError, Refused, RefusedWhy, RunnerCall};

/// The longest problem document that is read.
const LONGEST_PROBLEM: usize = 64 * 1024;

/// Tries the call on an agent. To one that does not know the function it is introduced, once, and the call is tried again.
pub(super) async fn attempt(
    connections: &Connections,
    settings: &HttpRunnerSettings,
    call: &RunnerCall<'_>,
    connecting: &mut Duration,
) -> Ended {
    let ended = try_once(connections, settings, call, connecting).await;
    let Ended::Refused(refused) = &ended else { return ended };
    if refused.why != RefusedWhy::Agent(RefusalReason::UnknownFunction) || !call.body.is_replayable() {
        return ended;
    }
    let function = &call.call.function;
    // On the heap, as it is rare and large.
    if let Err(error) = Box::pin(question::introduce(connections, function, settings.attempt_timeout)).await {
        tracing::warn!(runner = %connections.address(), function = %function.name(), %error, "could not introduce a function");
        return ended;
    }
    try_once(connections, settings, call, connecting).await
}

async fn try_once(
    connections: &Connections,
    settings: &HttpRunnerSettings,
    call: &RunnerCall<'_>,
    connecting: &mut Duration,
) -> Ended {
    let head = match request::to_agent(call, connections.address()) {
        Ok(head) => head,
        Err(error) => return Ended::Failed(error),
    };
    let (request, held_back) = match with_body(head, call.body) {
        Ok(complete) => complete,
        Err(error) => return Ended::Failed(error),
    };
    let patience = Patience::Asking { call: call.call.id, body: call.body, held_back, interval: settings.attempt_timeout };
    match exchange(connections, request, patience, connecting).await {
        Exchange::Answered(response, connection) => read(response, connection, connections, settings).await,
        Exchange::Unsent { reason, .. } => Ended::Refused(Refused::new(RefusedWhy::Unreachable(reason))),
        Exchange::Failed(error) => Ended::Failed(error),
    }
}

/// A body that is held goes with the head. One that streams waits for the agent's `100 Continue`, so that a refusal costs no byte of it
/// and leaves it for the next runner.
fn with_body(head: Request<()>, body: &CallBody) -> Result<(Request<OutgoingBody>, Option<HeldBack>), CallError> {
    match body {
        CallBody::Held(bytes) => Ok((head.map(|()| OutgoingBody::bytes(bytes.clone())), None)),
        CallBody::Streaming(_) if body.is_replayable() => {
            let (outgoing, held_back) = OutgoingBody::held_back(body.length());
            let mut request = head.map(|()| outgoing);
            request::expect_continue(&mut request);
            held_back.listen(&mut request);
            Ok((request, Some(held_back)))
        }
        CallBody::Streaming(_) => Err(body_is_gone()),
    }
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

/// What the agent's answer means.
async fn read(
    response: Response<Incoming>,
    connection: Connection,
    connections: &Connections,
    settings: &HttpRunnerSettings,
) -> Ended {
    let headers = response.headers();
    if let Some(refusal) = Refusal::read(response.status(), headers) {
        let AnswerFacts { load, lost, .. } = AnswerFacts::read(headers);
        drain(response.into_body(), connection, connections).await;
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
        return Ended::Answered(response, connection);
    };
    let word = String::from_utf8_lossy(word.as_bytes()).into_owned();
    let outcome = match Outcome::from_word(&word) {
        // The agent accepted a detached call.
        Some(Outcome::Ok | Outcome::Accepted) => return Ended::Answered(response, connection),
        Some(outcome) => outcome,
        None => Outcome::Internal,
    };
    let (status, facts) = (response.status(), AnswerFacts::read(headers));
    let document = tokio::time::timeout(settings.attempt_timeout, read_at_most(response.into_body(), LONGEST_PROBLEM)).await;
    let problem = match &document {
        Ok(Ok(bytes)) => serde_json::from_slice::<Problem>(bytes).ok(),
        _ => None,
    };
    if matches!(document, Ok(Ok(_))) {
        connections.keep(connection);
    }
    let detail = problem.map_or_else(
        || format!("runner {} answered {status} with the outcome `{word}` and no text that says more", connections.address()),
        |problem| problem.detail().to_owned(),
    );
    Ended::Failed(CallError { facts: Some(Box::new(facts)), ..CallError::new(outcome, detail) })
}
