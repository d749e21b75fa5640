//! Writing the request of an attempt.

use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tokio::time::Instant;

use super::address::RunnerAddress;
use crate::model::{CallKind, Intent, Outcome};
use crate::protocol::{format_traceparent, headers, remove_internal};
use crate::runner::{CallError, RunnerCall};

/// The request to an agent, without its body.
///
/// # Errors
/// The call cannot be written as HTTP, for any runner.
pub(super) fn to_agent(call: &RunnerCall<'_>, address: &RunnerAddress) -> Result<Request<()>, CallError> {
    let head = &call.call.head;
    let function = &call.call.function;
    let mut map = common_headers(call, address)?;
    map.insert(headers::CALL, value(&headers::CALL, &call.call.id.to_string())?);
    map.insert(headers::ATTEMPT, HeaderValue::from(call.attempt));
    map.insert(headers::FUNCTION, value(&headers::FUNCTION, function.digest.as_str())?);
    if let Some(deadline) = call.call.deadline {
        let left = deadline.saturating_duration_since(Instant::now().into_std());
        map.insert(headers::TIMEOUT, HeaderValue::from(millis(left)));
    }
    if let Some(room) = call.room {
        map.insert(headers::ROOM, value(&headers::ROOM, &room.to_string())?);
    }
    if call.call.kind == CallKind::Detached {
        map.insert(headers::KIND, HeaderValue::from_static(headers::DETACHED));
    }
    if call.call.intent == Intent::HttpRequest {
        map.insert(headers::INTENT, HeaderValue::from_static(headers::HTTP_REQUEST));
        map.insert(headers::TARGET, value(&headers::TARGET, &head.original_target)?);
    }
    write(&head.method, format!("/call/{}{}", function.name(), head.rest), map)
}

/// The request to a plain server, without its body.
///
/// # Errors
/// The call cannot be written as HTTP, for any runner.
pub(super) fn to_plain(call: &RunnerCall<'_>, address: &RunnerAddress) -> Result<Request<()>, CallError> {
    let head = &call.call.head;
    let path = match head.rest.as_str() {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    write(&head.method, path, common_headers(call, address)?)
}

/// Says that the body is sent only after `100 Continue` (RFC 9110 section 10.1.1).
pub(super) fn expect_continue<B>(request: &mut Request<B>) {
    request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
}

/// The client's headers, with those that belong to the hop to the runner.
fn common_headers(call: &RunnerCall<'_>, address: &RunnerAddress) -> Result<HeaderMap, CallError> {
    let head = &call.call.head;
    let mut map = head.headers.clone();
    remove_internal(&mut map);
    let host = head.authority.as_deref().and_then(|authority| HeaderValue::from_str(authority).ok());
    map.insert(HOST, host.unwrap_or_else(|| address.header().clone()));
    map.insert(headers::TRACEPARENT, value(&headers::TRACEPARENT, &format_traceparent(&call.trace))?);
    // What the client expects of us is between it and us.
    map.remove(EXPECT);
    frame(&mut map, &head.method, call.body.length());
    Ok(map)
}

/// Announces the body's length, or that it comes in chunks (RFC 9112 section 6). An empty body is announced where the client did so, or
/// where the method makes a server expect one (RFC 9110 section 8.6).
fn frame(map: &mut HeaderMap, method: &Method, length: Option<u64>) {
    match length {
        Some(0) => {
            if map.contains_key(CONTENT_LENGTH) || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                map.insert(CONTENT_LENGTH, HeaderValue::from(0_u64));
            }
        }
        Some(length) => {
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            map.remove(CONTENT_LENGTH);
            // hyper would send a GET of unknown length without its body.
            map.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

fn write(method: &Method, path: String, map: HeaderMap) -> Result<Request<()>, CallError> {
    if *method == Method::CONNECT {
        return Err(unwritable("a CONNECT request cannot be a call"));
    }
    let target: PathAndQuery =
        path.parse().map_err(|error| unwritable(format!("`{path}` cannot be the target of a request: {error}")))?;
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = map;
    Ok(request)
}

fn value(name: &HeaderName, text: &str) -> Result<HeaderValue, CallError> {
    HeaderValue::from_str(text).map_err(|error| unwritable(format!("`{text}` cannot be a value of the header {name}: {error}")))
}

/// A call that no runner could ever be given.
fn unwritable(detail: impl Into<String>) -> CallError {
    CallError::new(Outcome::BadRequest, detail)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
