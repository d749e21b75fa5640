//! What a balancer asks for: the head of `/call/{function}…`, read strictly.

use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fn_contract::FunctionRequest;
use crate::model::{CallId, CallKind, Digest, FunctionName, Intent, TraceContext};
use crate::protocol::headers::{
    ATTEMPT, CALL, DETACHED, FUNCTION, HTTP_REQUEST, INTENT, KIND, ROOM, TARGET, TIMEOUT, TRACEPARENT,
};
use crate::protocol::{RoomToken, parse_traceparent, remove_hop_by_hop, remove_internal};

/// The head of a call.
#[derive(Clone, Debug)]
pub(crate) struct CallRequest {
    /// The function's name, as the path says.
    pub(crate) name: FunctionName,
    /// The exact version.
    pub(crate) digest: Digest,
    /// The attempt's number, from 1.
    pub(crate) attempt: u32,
    /// Whether somebody waits.
    pub(crate) kind: CallKind,
    /// Time left until the call's own deadline.
    pub(crate) timeout: Option<Duration>,
    /// The slot that was lent for it.
    pub(crate) room: Option<RoomToken>,
    /// The balancer's span, if it sent one.
    pub(crate) parent: Option<TraceContext>,
    /// What the function is told. Its trace is set when the run's span is made.
    pub(crate) request: FunctionRequest,
}

/// The head is malformed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadCall {
    /// The path names no function.
    #[error("the path `{path}` names no function: expected /call/FUNCTION, with or without more: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with the name.
        reason: String,
    },
    /// A header is missing.
    #[error("header `{name}` is missing: expected {expected}")]
    Missing {
        /// Which.
        name: HeaderName,
        /// What it must hold.
        expected: &'static str,
    },
    /// A header's value is wrong.
    #[error("header `{name}` is `{value}`: expected {expected}")]
    Wrong {
        /// Which.
        name: HeaderName,
        /// Its value.
        value: String,
        /// What it must hold.
        expected: &'static str,
    },
}

impl CallRequest {
    /// The prefix of the paths that are calls.
    pub(crate) const PREFIX: &'static str = "/call/";

    /// Reads the head of a request whose path begins with [`Self::PREFIX`].
    ///
    /// # Errors
    /// It is malformed; says what was expected.
    pub(crate) fn read(parts: Parts) -> Result<Self, BadCall> {
        let Parts { method, uri, mut headers, .. } = parts;
        let (name, rest) = split_path(uri.path_and_query().map_or("", |path| path.as_str()))?;
        let call: CallId = required(&headers, CALL, "a call id of 26 characters (a ULID)")?;
        let digest = required(&headers, FUNCTION, "the digest of the function's specification, 64 hexadecimal digits")?;
        let attempt = optional(&headers, ATTEMPT, "a number from 1")?.unwrap_or(1);
        let timeout = optional(&headers, TIMEOUT, "whole milliseconds")?.map(Duration::from_millis);
        let kind = match word(&headers, &KIND)? {
            None => CallKind::Sync,
            Some(DETACHED) => CallKind::Detached,
            Some(other) => return Err(wrong(KIND, other, "`detached`, or no such header")),
        };
        let intent = match word(&headers, &INTENT)? {
            None => Intent::Invoke,
            Some(HTTP_REQUEST) => Intent::HttpRequest,
            Some(other) => return Err(wrong(INTENT, other, "`httprequest`, or no such header")),
        };
        let target = match word(&headers, &TARGET)? {
            Some(target) => target.to_owned(),
            None if rest.starts_with('/') => rest.to_owned(),
            None => format!("/{rest}"),
        };
        let room = optional(&headers, ROOM, "the token of a room: 16 hexadecimal digits")?;
        let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse_traceparent);
        remove_hop_by_hop(&mut headers);
        remove_internal(&mut headers);
        // HTTP/2 has the host in the target (RFC 9113 section 8.3.1).
        if let Some(authority) = uri.authority()
            && !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(HOST, host);
        }
        let trace = parent.unwrap_or(TraceContext { trace_id: [0; 16], span_id: [0; 8], is_sampled: false });
        let request = FunctionRequest { call, intent, method, target, headers, trace };
        Ok(Self { name, digest, attempt, kind, timeout, room, parent, request })
    }
}

/// The function's name and what comes after it.
fn split_path(path: &str) -> Result<(FunctionName, &str), BadCall> {
    let after = path.strip_prefix(CallRequest::PREFIX).unwrap_or_default();
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (name, rest) = after.split_at(end);
    match name.parse() {
        Ok(name) => Ok((name, rest)),
        Err(error) => Err(BadCall::Path { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn required<T: std::str::FromStr>(headers: &HeaderMap, name: HeaderName, expected: &'static str) -> Result<T, BadCall> {
    optional(headers, name.clone(), expected)?.ok_or(BadCall::Missing { name, expected })
}

fn optional<T: std::str::FromStr>(headers: &HeaderMap, name: HeaderName, expected: &'static str) -> Result<Option<T>, BadCall> {
    let Some(text) = word(headers, &name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| wrong(name, text, expected))
}

fn word<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, BadCall> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| wrong(name.clone(), &String::from_utf8_lossy(value.as_bytes()), "visible ASCII"))
}

fn wrong(name: HeaderName, value: &str, expected: &'static str) -> BadCall {
    BadCall::Wrong { name, value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    const ID: &str = "01M80TE9PJFW00008ZJ0000002";

    fn digest() -> String {
        "a".repeat(64)
    }

    fn read(uri: &str, pairs: &[(&str, &str)]) -> Result<CallRequest, BadCall> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        CallRequest::read(request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_full_head_is_read_and_what_was_for_us_does_not_reach_the_function() {
        let digest = digest();
        let call = read(
            "http://example.org/call/greet/a%20b?q=1",
            &[
                ("runpool-call", ID),
                ("runpool-attempt", "2"),
                ("runpool-function", &digest),
                ("runpool-timeout", "1500"),
                ("runpool-kind", "detached"),
                ("runpool-target", "/shop/a%20b?q=1"),
                ("runpool-intent", "httprequest"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("x-end", "1"),
            ],
        )
        .unwrap();
        assert_eq!((call.name.as_str(), call.digest.as_str(), call.attempt), ("greet", digest.as_str(), 2));
        assert_eq!((call.kind, call.timeout), (CallKind::Detached, Some(Duration::from_millis(1500))));
        assert_eq!((call.request.intent, call.request.target.as_str()), (Intent::HttpRequest, "/shop/a%20b?q=1"));
        assert!(call.parent.unwrap().is_sampled);
        let mut names: Vec<_> = call.request.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "traceparent", "x-end"]);
    }

    #[test]
    fn without_a_target_the_rest_of_the_path_is_the_functions_url() {
        let digest = digest();
        let needed = [("runpool-call", ID), ("runpool-function", digest.as_str())];
        for (uri, target) in [("/call/f", "/"), ("/call/f?a=1", "/?a=1"), ("/call/f/", "/"), ("/call/f/x/y?z", "/x/y?z")] {
            assert_eq!(read(uri, &needed).unwrap().request.target, target);
        }
    }

    #[test]
    fn a_malformed_head_is_told_with_what_was_expected() {
        let digest = digest();
        for (uri, pairs, text) in [
            (
                "/call/",
                vec![],
                "the path `/call/` names no function: expected /call/FUNCTION, with or without more: `` cannot name",
            ),
            ("/call/.x/y", vec![], "the path `/call/.x/y` names no function"),
            ("/call/f", vec![], "header `runpool-call` is missing: expected a call id of 26 characters (a ULID)"),
            ("/call/f", vec![("runpool-call", "x")], "header `runpool-call` is `x`: expected a call id"),
            ("/call/f", vec![("runpool-call", ID)], "header `runpool-function` is missing: expected the digest"),
            (
                "/call/f",
                vec![("runpool-call", ID), ("runpool-function", &digest), ("runpool-timeout", "1s")],
                "header `runpool-timeout` is `1s`: expected whole milliseconds",
            ),
            (
                "/call/f",
                vec![("runpool-call", ID), ("runpool-function", &digest), ("runpool-kind", "later")],
                "header `runpool-kind` is `later`: expected `detached`, or no such header",
            ),
        ] {
            let error = read(uri, &pairs).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_head_makes_the_reader_panic(path in "/call/[a-z.?/%0-9]{0,20}", value in "[ -~]{0,30}") {
            for name in ["runpool-call", "runpool-function", "runpool-attempt", "runpool-timeout", "runpool-kind", "traceparent"] {
                let _ = read(&path, &[(name, &value), ("runpool-call", ID), ("runpool-function", &digest())]);
            }
        }
    }
}
