//! HTTP/2 in the clear, with prior knowledge (RFC 9113 section 3.3), to plain servers: for gRPC, whose servers speak nothing else.
//!
//! hyper speaks it. Each worker has one connection to a runner, which carries all its calls; it is opened again when it is gone, or when the
//! runner said that it ends.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::arriving::Arriving;
use super::connections::{ConnectError, Connections};
use super::exchange::{Exchange, no_body, reset};
use super::http2_body::OutgoingBody;
use super::patience::Patience;
use super::request::{framing, is_passed_on, plain_target, takes_trailers, unwritable};
use crate::http1::BodyLength;
use crate::model::Outcome;
use crate::protocol::format_traceparent;
use crate::protocol::headers::TRACEPARENT;
use crate::runner::{BodyError, CallError, RequestBody, RunnerCall};

/// The longest head of an answer.
const LONGEST_HEAD: u32 = 128 * 1024;
/// What may come ahead of who reads an answer.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers of a connection together.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// After how much silence a connection with calls is asked for a sign of life, and how long that may take: all its calls hang on it.
const PING: Duration = Duration::from_secs(10);
/// Connections that are tried for one call before it goes to the next runner: each may have been told to end meanwhile.
const MOST_TRIES: u32 = 3;

/// The one connection of a worker to a runner.
#[derive(Debug)]
pub(super) struct SharedConnection {
    /// Protects the connection; held for a clone of a pointer.
    sender: Mutex<Option<SendRequest<OutgoingBody>>>,
    /// Lets one call at a time make the connection, for all that come meanwhile.
    making: Semaphore,
}

impl Default for SharedConnection {
    fn default() -> Self {
        Self { sender: Mutex::default(), making: Semaphore::new(1) }
    }
}

impl SharedConnection {
    /// Lets go of the connection; it ends when its calls have ended.
    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    fn open_one(&self) -> Option<SendRequest<OutgoingBody>> {
        self.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SendRequest<OutgoingBody>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open connection, made if there is none. Dropping the future gives the making up.
    async fn get(&self, connections: &Connections) -> Result<SendRequest<OutgoingBody>, ConnectError> {
        if let Some(sender) = self.open_one() {
            return Ok(sender);
        }
        // The semaphore is never closed.
        let _permit = self.making.acquire().await;
        if let Some(sender) = self.open_one() {
            return Ok(sender);
        }
        let sender = connect(connections).await?;
        *self.lock() = Some(sender.clone());
        if connections.is_closed() {
            self.close();
        }
        Ok(sender)
    }
}

/// Makes a connection, driven by a task that ends with it, and that the runner's close waits for.
async fn connect(connections: &Connections) -> Result<SendRequest<OutgoingBody>, ConnectError> {
    let address = || connections.address().to_string();
    if connections.is_closed() {
        return Err(ConnectError::Closed { address: address() });
    }
    let (stream, open) = connections.open().await?;
    let (sender, connection) = Builder::new(Tracked(connections.tasks().clone()))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LONGEST_HEAD)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| ConnectError::Http2 { address: address(), source })?;
    connections.spawn(async move {
        // Its errors reach whoever waits for an answer.
        let _ = connection.await;
        drop(open);
    });
    Ok(sender)
}

/// Runs hyper's tasks (one for each body that streams) where the close waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Sends a call, and waits for the head of the answer. What making a connection took is added to `connecting`.
///
/// Dropping the future resets the call's stream.
pub(super) async fn exchange(
    connections: &Arc<Connections>,
    call: &RunnerCall<'_>,
    patience: Patience,
    connecting: &mut Duration,
) -> Exchange {
    let shared = &connections.of_worker().shared;
    let mut reason = String::new();
    for _ in 0..MOST_TRIES {
        let began = Instant::now();
        let connected = shared.get(connections).await;
        *connecting += began.elapsed();
        let mut sender = match connected {
            Ok(sender) => sender,
            Err(error) => return Exchange::Unsent { reason: error.to_string() },
        };
        let head = match head(call, connections) {
            Ok(head) => head,
            Err(error) => return Exchange::Failed(error),
        };
        let Some(body) = call.body.take() else { return Exchange::Failed(super::agent::body_is_gone()) };
        let mut answer = std::pin::pin!(sender.try_send_request(head.map(|()| OutgoingBody(body))));
        let mut error = match patience.wait_for(|cx| answer.as_mut().poll(cx), &mut None, connections).await {
            Ok(Ok(response)) => return answered(response, connections),
            Ok(Err(error)) => error,
            Err(silent) => return Exchange::Failed(CallError::new(silent.outcome, silent.detail)),
        };
        reason = with_causes(error.error());
        let unsent = error.take_message();
        let is_given_back = unsent.is_some();
        if let Some(unsent) = unsent {
            call.body.give_back(unsent.into_body().0);
        }
        match Fate::of(error.error()) {
            // It is opened anew for the next turn, unless somebody else has done so.
            _ if is_given_back => {}
            Fate::ConnectionEnds if call.body.is_replayable() => {}
            Fate::Refused if call.body.is_replayable() => {
                return Exchange::Unsent { reason: format!("the runner refused the stream: {reason}") };
            }
            Fate::NoBody(error) => return Exchange::Failed(no_body(error, connections)),
            Fate::ConnectionEnds | Fate::Refused | Fate::Lost => return Exchange::Failed(reset(&reason, connections)),
            Fate::NotHttp2 => {
                let address = connections.address();
                let detail = format!("runner {address} answered with something that is not HTTP/2: {reason}");
                return Exchange::Failed(CallError::new(Outcome::BadAnswer, detail));
            }
        }
    }
    Exchange::Unsent { reason: format!("the connection was lost before it was used: {reason}") }
}

/// Asks for something that is no call.
///
/// # Errors
/// There is no connection, or no answer over it.
pub(super) async fn get(connections: &Arc<Connections>, path: &str) -> Result<Response<Incoming>, GetError> {
    let mut sender = connect(connections).await.map_err(GetError::Connect)?;
    let authority = connections.address().as_str();
    let request = Request::get(format!("http://{authority}{path}"))
        .version(Version::HTTP_2)
        .body(OutgoingBody(RequestBody::Held(http_body_util::Full::new(Bytes::new()))))
        .map_err(|error| GetError::Failed(error.to_string()))?;
    sender.send_request(request).await.map_err(|error| GetError::Failed(with_causes(&error)))
}

/// Why nothing could be got.
pub(super) enum GetError {
    Connect(ConnectError),
    Failed(String),
}

fn answered(response: Response<Incoming>, connections: &Connections) -> Exchange {
    if response.status().is_informational() {
        let detail = format!("runner {} switched to a protocol nobody asked for", connections.address());
        return Exchange::Failed(CallError::new(Outcome::BadAnswer, detail));
    }
    Exchange::Answered(response.map(Arriving::Http2))
}

/// The request to a plain server, without its body.
fn head(call: &RunnerCall<'_>, connections: &Connections) -> Result<Request<()>, CallError> {
    let head = &call.call.head;
    let path = plain_target(head).concat();
    let path: PathAndQuery =
        path.parse().map_err(|error| unwritable(format!("`{path}` cannot be the target of a request: {error}")))?;
    let authority = head.authority.as_deref().unwrap_or(connections.address().as_str());
    let authority: Authority =
        authority.parse().map_err(|error| unwritable(format!("`{authority}` cannot be the authority of a request: {error}")))?;
    let mut uri = ::http::uri::Parts::default();
    (uri.scheme, uri.authority, uri.path_and_query) = (Some(Scheme::HTTP), Some(authority), Some(path));
    let uri = Uri::from_parts(uri).map_err(|error| unwritable(format!("the request has no proper target: {error}")))?;
    let mut map = HeaderMap::with_capacity(head.headers.len() + 8);
    for (name, value) in &head.headers {
        if is_passed_on(name) {
            map.append(name, value.clone());
        }
    }
    for (name, value) in head.hop.iter() {
        map.append(HeaderName::from_static(name), value.to_value());
    }
    let trace = format_traceparent(&call.trace);
    let trace = HeaderValue::from_bytes(&trace).map_err(|error| unwritable(format!("the trace cannot be told: {error}")))?;
    map.insert(TRACEPARENT, trace);
    if takes_trailers(head) {
        map.insert(::http::header::TE, HeaderValue::from_static("trailers"));
    }
    if let BodyLength::Known(length) = framing(head, call.body.length()) {
        map.insert(::http::header::CONTENT_LENGTH, length.into());
    }
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = map;
    Ok(request)
}

/// What an error says of the request.
enum Fate<'e> {
    /// The connection ends, and the runner has not looked at the request: it is above the last stream that GOAWAY names (RFC 9113 section 6.8).
    ConnectionEnds,
    /// The runner has not looked at the request (RFC 9113 section 8.7).
    Refused,
    /// Its own body could not be had.
    NoBody(&'e BodyError),
    /// What came is not HTTP/2.
    NotHttp2,
    /// It may have had an effect.
    Lost,
}

impl<'e> Fate<'e> {
    fn of(error: &'e hyper::Error) -> Self {
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(body) = error.downcast_ref() {
                return Self::NoBody(body);
            }
            if let Some(error) = error.downcast_ref::<h2::Error>() {
                return match error.reason() {
                    // Streams up to the last that is named are not told: they may still be answered, or are lost with the connection.
                    Some(_) if error.is_go_away() && error.is_remote() => Self::ConnectionEnds,
                    Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => Self::Refused,
                    Some(_) if error.is_library() => Self::NotHttp2,
                    _ => Self::Lost,
                };
            }
            cause = error.source();
        }
        Self::Lost
    }
}

/// An error with its causes, for people: hyper keeps the interesting part in the source.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
