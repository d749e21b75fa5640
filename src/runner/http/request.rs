//! Writing the request of an attempt: the client's fields that pass, straight from the call, and those that belong to the hop to the runner.

use std::fmt::Display;
use std::time::Duration;

use ::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, UPGRADE};
use ::http::{HeaderName, HeaderValue, Method};

use super::address::RunnerAddress;
use super::conversation::Gives;
use super::outgoing::{Outgoing, Rest, buffer};
use super::sending::Sending;
use crate::http1::{BodyLength, LONGEST_COPIED, RequestWriter};
use crate::model::{CallHead, CallKind, Intent, Outcome};
use crate::protocol::{KnownField, KnownFields, format_traceparent, headers};
use crate::runner::{CallBody, CallError, RunnerCall};
use crate::telemetry::turn;

/// Room for what an agent is told of a call.
const AGENT_FIELDS: usize = 256;

/// The request to an agent. A body that is held goes with the head. One that streams waits for the agent's `100 Continue` (RFC 9110 section 10.1.1), so
/// that a refusal costs no byte of it and leaves it for the next runner.
///
/// # Errors
/// The call cannot be written as HTTP, for any runner.
pub(super) fn to_agent<'a>(call: &RunnerCall<'a>, address: &RunnerAddress) -> Result<Outgoing<'a>, CallError> {
    let head = &call.call.head;
    let function = &call.call.function;
    let mut buffer = buffer(head_length(head) + AGENT_FIELDS, held_length(call.body));
    let mut writer = begin(&mut buffer, &head.method, &["/call/", function.name().as_str(), &head.rest])?;
    common_fields(&mut writer, call, address);
    text(&mut writer, &headers::CALL, call.call.id)?;
    text(&mut writer, &headers::ATTEMPT, call.attempt)?;
    text(&mut writer, &headers::FUNCTION, function.digest.as_str())?;
    if let Some(deadline) = call.call.deadline {
        text(&mut writer, &headers::TIMEOUT, millis(deadline.saturating_duration_since(turn::now().into_std())))?;
    }
    if let Some(room) = call.room {
        text(&mut writer, &headers::ROOM, room)?;
    }
    if call.call.kind == CallKind::Detached {
        text(&mut writer, &headers::KIND, headers::DETACHED)?;
    }
    if call.call.intent == Intent::HttpRequest {
        text(&mut writer, &headers::INTENT, headers::HTTP_REQUEST)?;
        text(&mut writer, &headers::TARGET, &head.original_target)?;
    }
    let gives = match call.body {
        CallBody::Held(_) => Gives::Nothing,
        CallBody::Streaming(_) => {
            text(&mut writer, &EXPECT, "100-continue")?;
            Gives::AfterContinue(call.body)
        }
    };
    let length = framing(head, call.body.length());
    writer.end(length);
    let rest = match call.body {
        CallBody::Streaming(_) if call.call.kind == CallKind::Sync => Rest::IsDropped,
        CallBody::Streaming(_) | CallBody::Held(_) => Rest::IsSent,
    };
    let sending = match call.body {
        CallBody::Held(bytes) => Sending::whole(buffer, bytes),
        CallBody::Streaming(_) => Sending::awaiting(buffer, length),
    };
    Ok(Outgoing { method: &head.method, sending, gives, upgrade: None, rest })
}

/// The request to a plain server, which does not say whether it will take the call: a body that streams goes at once.
///
/// # Errors
/// The call cannot be written as HTTP, for any runner.
pub(super) fn to_plain<'a>(call: &RunnerCall<'a>, address: &RunnerAddress) -> Result<Outgoing<'a>, CallError> {
    let head = &call.call.head;
    let mut buffer = buffer(head_length(head), held_length(call.body));
    let mut writer = begin(&mut buffer, &head.method, &plain_target(head))?;
    common_fields(&mut writer, call, address);
    if let Some(protocol) = &head.upgrade {
        writer.field(&CONNECTION, &HeaderValue::from_static("upgrade"));
        writer.field(&UPGRADE, protocol);
    }
    let length = framing(head, call.body.length());
    writer.end(length);
    let (sending, gives) = match call.body {
        CallBody::Held(bytes) => (Sending::whole(buffer, bytes), Gives::Nothing),
        CallBody::Streaming(_) => (Sending::awaiting(buffer, length), Gives::AfterHead(call.body)),
    };
    Ok(Outgoing { method: &head.method, sending, gives, upgrade: head.upgrade.as_ref(), rest: Rest::IsDropped })
}

/// The target of a call at a plain server, in parts.
pub(super) fn plain_target(head: &CallHead) -> [&str; 2] {
    match head.rest.as_str() {
        "" => ["/", ""],
        query if query.starts_with('?') => ["/", query],
        path => ["", path],
    }
}

/// What of the client's does not go to the runner as it is: what only runpool may say, what we say ourselves, what frames the message or belongs to the
/// connection, and what the client expects of us.
const NOT_PASSED_ON: KnownFields = KnownFields::these(&[
    KnownField::Host,
    KnownField::Expect,
    KnownField::Te,
    KnownField::Upgrade,
    KnownField::Connection,
    KnownField::ContentLength,
    KnownField::TransferEncoding,
    KnownField::KeepAlive,
    KnownField::ProxyConnection,
    KnownField::Http2Settings,
    KnownField::Traceparent,
    KnownField::RetryAfterMs,
    KnownField::Runpool,
]);

/// Whether a field of the client's goes to the runner as it is.
pub(super) fn is_passed_on(name: &HeaderName) -> bool {
    !KnownFields::default().and(name).has_any(NOT_PASSED_ON)
}

/// Whether the client takes trailers, which is the one thing that it may say with `TE` (RFC 9110 section 10.1.4).
pub(super) fn takes_trailers(head: &CallHead) -> bool {
    head.headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

/// The client's fields, with those that belong to the hop to the runner.
fn common_fields(writer: &mut RequestWriter<'_>, call: &RunnerCall<'_>, address: &RunnerAddress) {
    let head = &call.call.head;
    let is_named = head.authority.as_deref().is_some_and(|authority| writer.bytes(&HOST, authority.as_bytes()).is_ok());
    if !is_named {
        writer.field(&HOST, address.header());
    }
    let mut known = KnownFields::default();
    for (name, value) in &head.headers {
        let this = KnownFields::default().and(name);
        if !this.has_any(NOT_PASSED_ON) {
            writer.field(name, value);
        }
        known = known.or(this);
    }
    for (name, value) in head.hop.iter() {
        writer.own_field(name, value);
    }
    if known.has(KnownField::Te) && takes_trailers(head) && head.upgrade.is_none() {
        // TE is for this connection alone, and has to be listed as such.
        writer.field(&CONNECTION, &HeaderValue::from_static("te"));
        writer.field(&TE, &HeaderValue::from_static("trailers"));
    }
    // Digits of its own are always a valid value.
    let _ = writer.bytes(&headers::TRACEPARENT, &format_traceparent(&call.trace));
}

/// How the body is announced (RFC 9112 section 6). An empty one is announced where the client did so, or where the method makes a server expect one
/// (RFC 9110 section 8.6).
pub(super) fn framing(head: &CallHead, length: Option<u64>) -> BodyLength {
    match length {
        Some(0) => {
            let is_announced =
                head.headers.contains_key(CONTENT_LENGTH) || matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
            if is_announced { BodyLength::Known(0) } else { BodyLength::None }
        }
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Chunked,
    }
}

fn begin<'b>(buffer: &'b mut bytes::BytesMut, method: &Method, target: &[&str]) -> Result<RequestWriter<'b>, CallError> {
    if *method == Method::CONNECT {
        return Err(unwritable("a CONNECT request cannot be a call"));
    }
    RequestWriter::begin(buffer, method, target)
        .map_err(|error| unwritable(format!("`{}` cannot be the target of a request: {error}", target.concat())))
}

fn text(writer: &mut RequestWriter<'_>, name: &HeaderName, text: impl Display) -> Result<(), CallError> {
    writer.text(name, &text).map_err(|error| unwritable(format!("`{text}` cannot be a value of the header {name}: {error}")))
}

/// A call that no runner could ever be given.
pub(super) fn unwritable(detail: impl Into<String>) -> CallError {
    CallError::new(Outcome::BadRequest, detail)
}

/// How many bytes a head has of the client's, about.
fn head_length(head: &CallHead) -> usize {
    let length = |name: &str, value: &[u8]| name.len() + value.len() + ": \r\n".len();
    let of_client: usize = head.headers.iter().map(|(name, value)| length(name.as_str(), value.as_bytes())).sum();
    let of_hop: usize = head.hop.iter().map(|(name, value)| length(name, value.as_bytes())).sum();
    of_client + of_hop + head.rest.len()
}

fn held_length(body: &CallBody) -> usize {
    match body {
        CallBody::Held(bytes) => bytes.len().min(LONGEST_COPIED),
        CallBody::Streaming(_) => 0,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
