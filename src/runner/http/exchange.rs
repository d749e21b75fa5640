//! One request and the head of its answer, over whatever connection there is: the commit point of HTTP.
//!
//! As long as the kernel has taken no byte of a request, nothing of it can have reached the runner, and it goes to the next connection: a kept one
//! may have been closed by the runner at any time. With the first byte, the call is committed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::UPGRADE;
use ::http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::arriving::Arriving;
use super::connection::Connection;
use super::connections::Connections;
use super::conversation::{Conversation, Lost};
use super::outgoing::Outgoing;
use super::patience::Patience;
use crate::http1::{MalformedHead, Persistence, ReceivedResponse};
use crate::model::Outcome;
use crate::runner::{BodyError, CallError};

/// How an exchange ended.
pub(super) enum Exchange {
    /// The runner answered.
    Answered(Response<Arriving>),
    /// Not a byte was written, or the runner has proved that it took nothing of it. The body is still there.
    Unsent {
        /// Why.
        reason: String,
    },
    /// Something may have been written, and no answer will come.
    Failed(CallError),
}

/// Whether a connection was used before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Kept,
    Fresh,
}

/// Sends a request over a kept connection, else over a new one, and waits for the head of the answer. What making a connection took is
/// added to `connecting`.
///
/// Dropping the future closes the connection.
pub(super) async fn exchange(
    connections: &Arc<Connections>,
    outgoing: &mut Outgoing<'_>,
    patience: &Patience,
    connecting: &mut Duration,
) -> Exchange {
    // Ends: every turn but the last uses up a kept connection.
    loop {
        let (kept, age) = match connections.take() {
            Some(kept) => (kept, Age::Kept),
            // On the heap, as it is rare and large.
            None => match Box::pin(connect(connections, connecting)).await {
                Ok(fresh) => (fresh, Age::Fresh),
                Err(reason) => return Exchange::Unsent { reason },
            },
        };
        let (mut connection, Outgoing { method, sending, gives, upgrade, rest }) = (kept, &mut *outgoing);
        let mut watch = connection.watch.take();
        let mut conversation = Conversation::new(connection, sending, *gives, method);
        let lost = match patience.wait_for(|cx| conversation.poll_head(cx), &mut watch, connections).await {
            Ok(Ok(head)) => {
                conversation.connection.watch = watch;
                return match answered(conversation, head, *upgrade, *rest, connections) {
                    Ok(response) => Exchange::Answered(response),
                    Err(NotOffered) => {
                        let detail = format!("runner {} switched to a protocol nobody asked for", connections.address());
                        Exchange::Failed(CallError::new(Outcome::BadAnswer, detail))
                    }
                };
            }
            Ok(Err(lost)) => lost,
            Err(silent) => return Exchange::Failed(CallError::new(silent.outcome, silent.detail)),
        };
        match lost {
            Lost::Unused(_) if age == Age::Kept => {}
            Lost::Unused(reason) => {
                return Exchange::Unsent { reason: format!("the connection was lost before it was used: {reason}") };
            }
            Lost::Used(reason) => return Exchange::Failed(reset(&reason, connections)),
            Lost::Body(error) => return Exchange::Failed(no_body(&error, connections)),
            Lost::Malformed(error) => return Exchange::Failed(malformed(&error, connections)),
        }
    }
}

async fn connect(connections: &Connections, connecting: &mut Duration) -> Result<Connection, String> {
    let began = Instant::now();
    let connected = connections.connect().await;
    *connecting += began.elapsed();
    connected.map_err(|error| error.to_string())
}

/// Sends a question over a connection of its own, and waits for the head of the answer.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(
    connections: &Arc<Connections>,
    connection: Connection,
    mut outgoing: Outgoing<'_>,
) -> Result<Response<Arriving>, String> {
    let mut conversation = Conversation::new(connection, &mut outgoing.sending, outgoing.gives, outgoing.method);
    match poll_fn(|cx| conversation.poll_head(cx)).await {
        // It was said to be the last.
        Ok(head) => {
            answered(conversation, ReceivedResponse { persistence: Persistence::Close, ..head }, None, outgoing.rest, connections)
                .map_err(|NotOffered| "it switched to a protocol nobody asked for".to_owned())
        }
        Err(Lost::Unused(reason) | Lost::Used(reason)) => Err(format!("the connection was lost: {reason}")),
        Err(Lost::Body(error)) => Err(error.to_string()),
        Err(Lost::Malformed(error)) => Err(format!("it answered with something that is not HTTP: {error}")),
    }
}

/// The runner speaks a protocol that it was not offered.
struct NotOffered;

fn answered(
    conversation: Conversation<'_>,
    head: ReceivedResponse,
    offered: Option<&HeaderValue>,
    rest: super::outgoing::Rest,
    connections: &Arc<Connections>,
) -> Result<Response<Arriving>, NotOffered> {
    let ReceivedResponse { response, length, persistence } = head;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let is_offered = match (offered, response.headers().get(UPGRADE)) {
            (Some(offered), Some(chosen)) => offered.as_bytes().trim_ascii().eq_ignore_ascii_case(chosen.as_bytes().trim_ascii()),
            _ => false,
        };
        if !is_offered || !conversation.is_sent() {
            return Err(NotOffered);
        }
        return Ok(response.map(|()| Arriving::Switched(Box::new(conversation.connection))));
    }
    Ok(response.map(|()| Arriving::after(conversation, length, persistence, rest, connections)))
}

/// The outcome of a call whose connection failed when something may have been written.
pub(super) fn reset(reason: &str, connections: &Connections) -> CallError {
    CallError::new(
        Outcome::RunnerReset,
        format!("the connection to runner {} was lost after the call was handed over: {reason}", connections.address()),
    )
}

/// The outcome of a call whose own body could not be had.
pub(super) fn no_body(error: &BodyError, connections: &Connections) -> CallError {
    let outcome = match error {
        BodyError::Connection(_) => Outcome::ClientGone,
        BodyError::TooLarge { .. } => Outcome::BodyTooLarge,
        BodyError::Cut(_) => Outcome::Internal,
    };
    CallError::new(outcome, format!("the body of the call could not be sent to runner {}: {error}", connections.address()))
}

fn malformed(error: &MalformedHead, connections: &Connections) -> CallError {
    let address = connections.address();
    if error.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        return CallError::new(
            Outcome::AnswerTooLarge,
            format!("runner {address} answered with a head that is longer than allowed: {error}"),
        );
    }
    CallError::new(Outcome::BadAnswer, format!("runner {address} answered with something that is not HTTP: {error}"))
}
