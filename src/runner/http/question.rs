//! Asking an agent something that is no call: how it is, whether it has a call, whether it takes a function's specification.
//!
//! Each question has a connection of its own, so that it never waits behind a call and never meets a connection that died unnoticed.
//! All of them may be asked twice without harm.

use std::time::Duration;

use ::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use ::http::{HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use tokio::time::timeout;

use super::answer::read_at_most;
use super::connections::{ConnectError, Connections, with_causes};
use super::outgoing::OutgoingBody;
use crate::model::{CallId, Function, format_duration};

/// The longest answer to a question.
pub(super) const LONGEST_ANSWER: usize = 1024 * 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[error("asked {method} {path}, {reason}")]
pub(super) struct QuestionError {
    method: Method,
    path: String,
    reason: String,
    got: Got,
}

/// How far a question got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// Somebody there may have heard it.
    Somewhere,
    /// There is nobody.
    Nowhere,
}

impl QuestionError {
    /// Whether no connection could be made, since nobody listens there. Not, if nothing at all came back in time.
    pub(super) const fn is_unreachable(&self) -> bool {
        matches!(self.got, Got::Nowhere)
    }
}

/// Asks whether the agent has the call in hand. `Ok` is yes; no, and no answer within `limit`, are errors.
pub(super) async fn has_call(connections: &Connections, call: CallId, limit: Duration) -> Result<(), QuestionError> {
    confirm(connections, Method::GET, format!("/calls/{call}"), Bytes::new(), limit).await
}

/// Gives the agent the specification of a function.
pub(super) async fn introduce(connections: &Connections, function: &Function, limit: Duration) -> Result<(), QuestionError> {
    let path = format!("/functions/{}", function.digest);
    confirm(connections, Method::PUT, path, function.spec.document().into(), limit).await
}

/// Asks whether the agent takes calls. An answer that is not yes is no.
pub(super) async fn is_ready(connections: &Connections, limit: Duration) -> Result<bool, QuestionError> {
    ask(connections, Method::GET, "/readyz", Bytes::new(), limit).await.map(|(status, _)| status.is_success())
}

/// Asks a plain server for something, and reads no more of the answer than its head says.
pub(super) async fn get(connections: &Connections, path: &str, limit: Duration) -> Result<StatusCode, QuestionError> {
    let failed = |(reason, got)| QuestionError { method: Method::GET, path: path.to_owned(), reason, got };
    let request =
        write(connections, &Method::GET, path, Bytes::new()).map_err(|error| failed((error.to_string(), Got::Somewhere)))?;
    let exchange = async {
        let mut connection = connections.connect().await.map_err(|error| (error.to_string(), got(&error)))?;
        let response = connection.send(request).await.map_err(|error| (with_causes(error.error()), Got::Somewhere))?;
        Ok(response.status())
    };
    match timeout(limit, exchange).await {
        Ok(answered) => answered.map_err(failed),
        Err(_) => Err(failed((format!("it did not answer in {}", format_duration(limit)), Got::Somewhere))),
    }
}

/// Makes a connection, and closes it.
pub(super) async fn connect(connections: &Connections, limit: Duration) -> Result<(), QuestionError> {
    let wrong = |reason: String, got| QuestionError { method: Method::CONNECT, path: String::new(), reason, got };
    match timeout(limit, connections.connect()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(wrong(error.to_string(), got(&error))),
        Err(_) => Err(wrong(format!("there was no connection in {}", format_duration(limit)), Got::Somewhere)),
    }
}

/// Nobody listens, or the name is unknown; else the packets may be lost, or the other side too busy.
const fn got(error: &ConnectError) -> Got {
    match error {
        ConnectError::Failed { .. } => Got::Nowhere,
        ConnectError::TimedOut { .. } | ConnectError::Http { .. } => Got::Somewhere,
    }
}

/// Asks for the agent's status.
pub(super) async fn status(connections: &Connections, limit: Duration) -> Result<(StatusCode, Bytes), QuestionError> {
    ask(connections, Method::GET, "/status", Bytes::new(), limit).await
}

async fn confirm(
    connections: &Connections,
    method: Method,
    path: String,
    body: Bytes,
    limit: Duration,
) -> Result<(), QuestionError> {
    let (status, _) = ask(connections, method.clone(), &path, body, limit).await?;
    if status.is_success() {
        return Ok(());
    }
    Err(QuestionError { method, path, reason: format!("it answered {status}"), got: Got::Somewhere })
}

async fn ask(
    connections: &Connections,
    method: Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> Result<(StatusCode, Bytes), QuestionError> {
    let failed = |(reason, got): (String, Got)| QuestionError { method: method.clone(), path: path.to_owned(), reason, got };
    let wrong = |reason: String| failed((reason, Got::Somewhere));
    let request = write(connections, &method, path, body).map_err(|error| wrong(error.to_string()))?;
    let exchange = async {
        let mut connection = connections.connect().await.map_err(|error| (error.to_string(), got(&error)))?;
        let response = connection.send(request).await.map_err(|error| (with_causes(error.error()), Got::Somewhere))?;
        let status = response.status();
        let body = read_at_most(response.into_body(), LONGEST_ANSWER).await;
        let body = body.map_err(|error| (error.to_string(), Got::Somewhere))?;
        Ok((status, body))
    };
    match timeout(limit, exchange).await {
        Ok(answered) => answered.map_err(failed),
        Err(_) => Err(wrong(format!("it did not answer in {}", format_duration(limit)))),
    }
}

fn write(connections: &Connections, method: &Method, path: &str, body: Bytes) -> Result<Request<OutgoingBody>, ::http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, connections.address().header())
        .header(CONNECTION, HeaderValue::from_static("close"));
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).header(CONTENT_LENGTH, body.len());
    }
    request.body(OutgoingBody::bytes(body))
}
