//! Asking an agent something that is no call: how it is, whether it has a call, whether it takes a function's specification.
//!
//! Each question has a connection of its own, so that it never waits behind a call and never meets a connection that died unnoticed.
//! All of them may be asked twice without harm.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, StatusCode};
use bytes::Bytes;
use tokio::time::timeout;

use super::connections::{ConnectError, Connections};
use super::exchange;
use super::http2::{self, GetError};
use super::outgoing::Outgoing;
use super::settings::HttpVersion;
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
pub(super) async fn has_call(connections: &Arc<Connections>, call: CallId, limit: Duration) -> Result<(), QuestionError> {
    confirm(connections, Method::GET, format!("/calls/{call}"), Bytes::new(), limit).await
}

/// Gives the agent the specification of a function.
pub(super) async fn introduce(connections: &Arc<Connections>, function: &Function, limit: Duration) -> Result<(), QuestionError> {
    let path = format!("/functions/{}", function.digest);
    confirm(connections, Method::PUT, path, function.spec.document().into(), limit).await
}

/// Asks whether the agent takes calls. An answer that is not yes is no.
pub(super) async fn is_ready(connections: &Arc<Connections>, limit: Duration) -> Result<bool, QuestionError> {
    ask(connections, Method::GET, "/readyz", Bytes::new(), limit).await.map(|(status, _)| status.is_success())
}

/// Asks a plain server for something, and reads no more of the answer than its head says.
pub(super) async fn get(
    connections: &Arc<Connections>,
    http: HttpVersion,
    path: &str,
    limit: Duration,
) -> Result<StatusCode, QuestionError> {
    let failed = |(reason, got)| QuestionError { method: Method::GET, path: path.to_owned(), reason, got };
    let asking = async {
        match http {
            HttpVersion::Http1 => {
                let outgoing = Outgoing::last_question(connections.address(), &Method::GET, path, &Bytes::new())
                    .map_err(|error| (error.to_string(), Got::Somewhere))?;
                let connection = connections.connect().await.map_err(|error| (error.to_string(), got(&error)))?;
                let answer = exchange::ask(connections, connection, outgoing).await;
                answer.map(|response| response.status()).map_err(|reason| (reason, Got::Somewhere))
            }
            HttpVersion::Http2 => match http2::get(connections, path).await {
                Ok(response) => Ok(response.status()),
                Err(GetError::Connect(error)) => Err((error.to_string(), got(&error))),
                Err(GetError::Failed(reason)) => Err((reason, Got::Somewhere)),
            },
        }
    };
    match timeout(limit, asking).await {
        Ok(answered) => answered.map_err(failed),
        Err(_) => Err(failed((format!("it did not answer in {}", format_duration(limit)), Got::Somewhere))),
    }
}

/// Makes a connection, and closes it.
pub(super) async fn connect(connections: &Arc<Connections>, limit: Duration) -> Result<(), QuestionError> {
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
        ConnectError::TimedOut { .. } | ConnectError::Http2 { .. } | ConnectError::Tls { .. } | ConnectError::Closed { .. } => {
            Got::Somewhere
        }
    }
}

/// Asks for the agent's status.
pub(super) async fn status(connections: &Arc<Connections>, limit: Duration) -> Result<(StatusCode, Bytes), QuestionError> {
    ask(connections, Method::GET, "/status", Bytes::new(), limit).await
}

async fn confirm(
    connections: &Arc<Connections>,
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
    connections: &Arc<Connections>,
    method: Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> Result<(StatusCode, Bytes), QuestionError> {
    let failed = |(reason, got): (String, Got)| QuestionError { method: method.clone(), path: path.to_owned(), reason, got };
    let wrong = |reason: String| failed((reason, Got::Somewhere));
    let outgoing =
        Outgoing::last_question(connections.address(), &method, path, &body).map_err(|error| wrong(error.to_string()))?;
    let asking = async {
        let connection = connections.connect().await.map_err(|error| (error.to_string(), got(&error)))?;
        let answer = exchange::ask(connections, connection, outgoing).await;
        let response = answer.map_err(|reason| (reason, Got::Somewhere))?;
        let status = response.status();
        let body = response.into_body().read_at_most(LONGEST_ANSWER).await;
        let body = body.map_err(|error| (error.to_string(), Got::Somewhere))?;
        Ok((status, body))
    };
    match timeout(limit, asking).await {
        Ok(answered) => answered.map_err(failed),
        Err(_) => Err(wrong(format!("it did not answer in {}", format_duration(limit)))),
    }
}
