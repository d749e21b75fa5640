//! One request and the head of its answer, over whatever connection there is: the commit point of HTTP.
//!
//! hyper gives a request back if its connection had not begun to write it. Then nothing of it can have reached the runner, and it goes to
//! the next connection: a kept one may have been closed by the runner at any time. Once the writing has begun, the call is committed.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use ::http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connections::{Connection, Connections, with_causes};
use super::outgoing::OutgoingBody;
use super::patience::Patience;
use crate::model::Outcome;
use crate::runner::{BodyError, CallError};

/// How an exchange ended.
pub(super) enum Exchange {
    /// The runner answered. The answer's body comes over the connection.
    Answered(Response<Incoming>, Connection),
    /// Not a byte was written.
    Unsent {
        /// What was to be sent; of its body nothing was read.
        request: Request<OutgoingBody>,
        /// Why not.
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

/// Sends `request` over a kept connection, else over a new one, and waits for the head of the answer. What making a connection took is
/// added to `connecting`.
///
/// Dropping the future closes the connection.
pub(super) async fn exchange(
    connections: &Connections,
    mut request: Request<OutgoingBody>,
    mut patience: Patience<'_>,
    connecting: &mut Duration,
) -> Exchange {
    // Ends: every turn but the last uses up a kept connection.
    loop {
        let (mut connection, age) = match connections.take().await {
            Some(kept) => (kept, Age::Kept),
            None => {
                let began = Instant::now();
                let connected = connections.connect().await;
                *connecting += began.elapsed();
                match connected {
                    Ok(fresh) => (fresh, Age::Fresh),
                    Err(error) => return Exchange::Unsent { request, reason: error.to_string() },
                }
            }
        };
        let head = pin!(connection.send(request));
        let mut error = match patience.wait_for(head, connections).await {
            Ok(Ok(response)) => {
                connection.leave_unsent(patience.into_unsent());
                return Exchange::Answered(response, connection);
            }
            Ok(Err(error)) => error,
            Err(silent) => return Exchange::Failed(CallError::new(Outcome::RunnerTimeout, silent.detail)),
        };
        match error.take_message() {
            Some(unsent) if age == Age::Kept => request = unsent,
            Some(unsent) => {
                let reason = format!("the connection was lost before it was used: {}", with_causes(error.error()));
                return Exchange::Unsent { request: unsent, reason };
            }
            None => return Exchange::Failed(lost(error.error(), connections)),
        }
    }
}

/// The outcome of a call whose connection failed when something may have been written.
fn lost(error: &hyper::Error, connections: &Connections) -> CallError {
    let address = connections.address();
    let causes = with_causes(error);
    if let Some(body) = body_error(error) {
        let outcome = match body {
            BodyError::Connection(_) => Outcome::ClientGone,
            BodyError::TooLarge { .. } => Outcome::BodyTooLarge,
            BodyError::Cut(_) => Outcome::Internal,
        };
        return CallError::new(outcome, format!("the body of the call could not be sent to runner {address}: {body}"));
    }
    if error.is_parse_too_large() {
        return CallError::new(
            Outcome::AnswerTooLarge,
            format!("runner {address} answered with a head that is longer than allowed: {causes}"),
        );
    }
    if error.is_parse() {
        return CallError::new(
            Outcome::BadAnswer,
            format!("runner {address} answered with something that is not HTTP: {causes}"),
        );
    }
    CallError::new(
        Outcome::RunnerReset,
        format!("the connection to runner {address} was lost after the call was handed over: {causes}"),
    )
}

/// The error of the request's own body, if it is the cause.
fn body_error(error: &hyper::Error) -> Option<&BodyError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(body) = error.downcast_ref() {
            return Some(body);
        }
        cause = error.source();
    }
    None
}
