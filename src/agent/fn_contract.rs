//! The Fn FDK contract as pure mappings: environment of a worker, headers of a request, meaning of an answer.
//!
//! A worker listens on the unix socket named in `FN_LISTENER` and answers `POST /call`, one call at a time. Its status says how the run went,
//! not what the client gets: 200 the function answered, 502 it failed, 504 it ran out of time; anything else is no answer at all.
//!
//! | intent | request | answer |
//! |---|---|---|
//! | invoke | the client's headers as they are | the function's headers as they are, status 200 |
//! | httprequest | `Content-Type` as it is, every other header as `Fn-Http-H-…`, method and URL beside them | status from `Fn-Http-Status`, `Content-Type` and what stands in `Fn-Http-H-…` |

use std::path::Path;
use std::time::SystemTime;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::http1::{BodyLength, RequestWriter};
use crate::model::{CallId, Function, Intent, Rfc3339, TraceContext};
use crate::protocol::headers::{
    FN_CALL_ID, FN_DEADLINE, FN_HTTP_HEADER_PREFIX, FN_HTTP_METHOD, FN_HTTP_REQUEST_URL, FN_HTTP_STATUS, FN_INTENT, HTTP_REQUEST,
    TRACEPARENT, TRACESTATE,
};
use crate::protocol::{format_traceparent, remove_hop_by_hop, remove_internal};

/// The request as a function of either format is told of it.
#[derive(Clone, Debug)]
pub(crate) struct FunctionRequest {
    /// The call.
    pub(crate) call: CallId,
    /// What it means to a function of the Fn contract.
    pub(crate) intent: Intent,
    /// The client's method.
    pub(crate) method: Method,
    /// The client's path and query.
    pub(crate) target: String,
    /// The client's end-to-end headers.
    pub(crate) headers: HeaderMap,
    /// Under what the function's own spans belong.
    pub(crate) trace: TraceContext,
}

impl FunctionRequest {
    /// The client's URL, absolute as the contract wants it. A client that named no host has asked nobody in particular.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.host(), self.target)
    }

    fn host(&self) -> &str {
        self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")
    }
}

/// Variables that say which function this is, common to both formats, over those of its configuration.
pub(crate) fn common_environment(function: &Function) -> Vec<(String, String)> {
    let spec = &function.spec;
    let mut environment: Vec<(String, String)> = spec.config.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let memory_mb = spec.memory.bytes() >> 20;
    for (name, value) in [
        // There are no ids besides the names here; Fn's are opaque to functions, so that names serve.
        ("FN_APP_ID", spec.app.clone()),
        ("FN_APP_NAME", spec.app.clone()),
        ("FN_FN_ID", spec.name.to_string()),
        ("FN_FN_NAME", spec.name.to_string()),
        ("FN_MEMORY", memory_mb.to_string()),
        ("FN_TYPE", "sync".to_owned()),
    ] {
        environment.push((name.to_owned(), value));
    }
    environment
}

/// Variables of an `http-stream` worker that is to listen on `socket`.
pub(crate) fn worker_environment(function: &Function, socket: &Path) -> Vec<(String, String)> {
    let mut environment = common_environment(function);
    environment.push(("FN_FORMAT".to_owned(), "http-stream".to_owned()));
    environment.push(("FN_LISTENER".to_owned(), format!("unix:{}", socket.display())));
    environment
}

/// Writes the head of `POST /call` with a body of this length. Header fields of the client that are ours to tell are not passed on; in frames they are, as all are.
pub(crate) fn write_request(into: &mut BytesMut, request: &FunctionRequest, deadline: SystemTime, length: BodyLength) {
    let mut head = RequestWriter::begin_with(into, "POST /call HTTP/1.1");
    let is_framed = request.intent == Intent::HttpRequest;
    let mut has_host = false;
    for (name, value) in &request.headers {
        if *name == CONTENT_TYPE || *name == TRACESTATE {
            head.field(name, value);
        }
        if is_framed && *name != CONTENT_TYPE {
            head.prefixed_field(FN_HTTP_HEADER_PREFIX, name, value);
        } else if !is_framed && !is_told_by_us(name) {
            has_host |= *name == HOST;
            head.field(name, value);
        }
    }
    if !has_host {
        head.field(&HOST, &HeaderValue::from_static("localhost"));
    }
    let call = request.call;
    let deadline = Rfc3339::seconds(deadline);
    // All is text that we made, or that came in as text: it can be written.
    let _ = head.text(&FN_CALL_ID, call).and_then(|()| head.text(&FN_DEADLINE, deadline));
    let _ = head.bytes(&TRACEPARENT, &format_traceparent(&request.trace));
    if is_framed {
        let _ = head
            .bytes(&FN_INTENT, HTTP_REQUEST.as_bytes())
            .and_then(|()| head.bytes(&FN_HTTP_METHOD, request.method.as_str().as_bytes()));
        let _ = head.text(&FN_HTTP_REQUEST_URL, format_args!("http://{}{}", request.host(), request.target));
    }
    head.end(length);
}

/// Whether an unframed request says this by itself: what is between us and the worker, and what only we know. The client's length is that of the body we send, and
/// we have asked the client to go on. Content type and trace state were written already.
fn is_told_by_us(name: &HeaderName) -> bool {
    [CONTENT_LENGTH, EXPECT, CONTENT_TYPE, TRACESTATE, TRACEPARENT, FN_CALL_ID, FN_DEADLINE].contains(name)
}

/// What a worker's status says of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The function answered.
    Answered,
    /// The function failed; the worker can go on.
    Failed,
    /// The function ran out of time by its own account; the worker can go on.
    TimedOut,
    /// No answer of this contract: the worker cannot be trusted.
    Invalid,
}

/// The meaning of a worker's status.
pub(crate) const fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        200 => Verdict::Answered,
        502 => Verdict::Failed,
        504 => Verdict::TimedOut,
        _ => Verdict::Invalid,
    }
}

/// The client's status and headers, out of those of a worker that answered.
pub(crate) fn answer_head(intent: Intent, mut headers: HeaderMap) -> (StatusCode, HeaderMap) {
    remove_hop_by_hop(&mut headers);
    let (status, mut headers) = match intent {
        Intent::Invoke => (StatusCode::OK, headers),
        Intent::HttpRequest => (http_status(&headers), unframed(&headers)),
    };
    // Framed headers may have brought such names back.
    remove_hop_by_hop(&mut headers);
    remove_internal(&mut headers);
    // The server writes the length of the body it sends; one by the function's word could cut or join messages.
    headers.remove(CONTENT_LENGTH);
    (status, headers)
}

/// The function's own status, if it is one that can end an exchange; 200 otherwise, which the function's author finds in the log.
fn http_status(headers: &HeaderMap) -> StatusCode {
    let Some(wanted) = headers.get(FN_HTTP_STATUS) else { return StatusCode::OK };
    let code = wanted.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|code: &u16| (200..=599).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_else(|| {
        tracing::warn!(said = ?wanted, "Fn-Http-Status is no status that ends an exchange: expected 200 to 599; the client gets 200");
        StatusCode::OK
    })
}

fn unframed(headers: &HeaderMap) -> HeaderMap {
    let mut unframed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if name == CONTENT_TYPE {
            unframed.append(CONTENT_TYPE, value.clone());
        } else if let Some(name) = name.as_str().strip_prefix(FN_HTTP_HEADER_PREFIX)
            && let Ok(name) = HeaderName::try_from(name)
            && (name != CONTENT_TYPE || !headers.contains_key(CONTENT_TYPE))
        {
            unframed.append(name, value.clone());
        }
    }
    unframed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, parse_request};
    use crate::model::FunctionSpec;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn request(intent: Intent, headers: &[(&str, &str)]) -> FunctionRequest {
        FunctionRequest {
            call: CallId::from_parts(1, 2),
            intent,
            method: Method::PUT,
            target: "/shop/a%20b?q=1".to_owned(),
            headers: map(headers),
            trace: TraceContext { trace_id: [1; 16], span_id: [2; 8], is_sampled: true },
        }
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The fields of a request as a worker reads them.
    fn told(request: &FunctionRequest, deadline: SystemTime) -> HeaderMap {
        let mut written = BytesMut::new();
        write_request(&mut written, request, deadline, BodyLength::Known(3));
        let read = parse_request(&mut written, &HeadLimits::default()).unwrap().unwrap();
        assert_eq!(
            (read.request.method(), read.request.uri().path(), read.length),
            (&Method::POST, "/call", BodyLength::Known(3))
        );
        read.request.into_parts().0.headers
    }

    const CLIENT: &[(&str, &str)] = &[
        ("host", "example.org"),
        ("content-type", "text/x"),
        ("content-length", "3"),
        ("expect", "100-continue"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("tracestate", "v=1"),
        ("fn-call-id", "forged"),
    ];

    // Case 32.
    #[test]
    fn an_invoked_function_gets_the_clients_headers_as_they_are() {
        let deadline = UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        let headers = told(&request(Intent::Invoke, CLIENT), deadline);
        assert_eq!(all(&headers, "x-many"), ["1", "2"]);
        assert_eq!(all(&headers, "content-type"), ["text/x"]);
        assert_eq!(all(&headers, "host"), ["example.org"]);
        assert_eq!(all(&headers, "fn-call-id"), [CallId::from_parts(1, 2).to_string()]);
        assert_eq!(all(&headers, "fn-deadline"), ["2024-02-29T12:34:56Z"]);
        assert_eq!(all(&headers, "traceparent"), ["00-01010101010101010101010101010101-0202020202020202-01"]);
        assert_eq!(all(&headers, "tracestate"), ["v=1"]);
        for absent in ["expect", "fn-intent", "fn-http-method"] {
            assert!(!headers.contains_key(absent), "{absent}");
        }
    }

    // Case 40.
    #[test]
    fn a_framed_request_hides_every_header_but_the_content_type() {
        let headers = told(&request(Intent::HttpRequest, CLIENT), UNIX_EPOCH);
        assert_eq!(all(&headers, "fn-http-h-x-many"), ["1", "2"]);
        assert_eq!(all(&headers, "content-type"), ["text/x"]);
        assert!(!headers.contains_key("fn-http-h-content-type") && !headers.contains_key("x-many"));
        assert_eq!(all(&headers, "fn-http-h-fn-call-id"), ["forged"]);
        assert_eq!(all(&headers, "fn-http-method"), ["PUT"]);
        assert_eq!(all(&headers, "fn-http-request-url"), ["http://example.org/shop/a%20b?q=1"]);
        assert_eq!(all(&headers, "fn-intent"), ["httprequest"]);
    }

    // Case 40.
    #[test]
    fn a_framed_answer_chooses_status_and_headers_and_nothing_else_survives() {
        let (status, headers) = answer_head(
            Intent::HttpRequest,
            map(&[
                ("fn-http-status", "202"),
                ("content-type", "text/y"),
                ("fn-http-h-x-many", "1"),
                ("fn-http-h-x-many", "2"),
                ("fn-http-h-keep-alive", "timeout=1"),
                ("fn-http-h-content-length", "999"),
                ("fn-http-h-runpool-refused", "busy"),
                ("x-raw", "1"),
                ("fn-fdk-version", "x"),
                ("content-length", "3"),
            ]),
        );
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(all(&headers, "x-many"), ["1", "2"]);
        assert_eq!(all(&headers, "content-type"), ["text/y"]);
        assert_eq!(headers.len(), 3, "{headers:?}");
    }

    // Section 5: for invoke the function's status is not applied, its headers stay.
    #[test]
    fn an_invoked_functions_headers_stay_and_its_status_is_200() {
        let (status, headers) = answer_head(
            Intent::Invoke,
            map(&[
                ("fn-http-status", "404"),
                ("fn-http-h-x", "1"),
                ("x-raw", "1"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=1"),
                ("runpool-refused", "busy"),
                ("runpool-load", "inflight=0, slots=9, warm=9"),
            ]),
        );
        assert_eq!(status, StatusCode::OK);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["fn-http-h-x", "fn-http-status", "x-raw"]);
    }

    #[test]
    fn a_status_that_cannot_end_an_exchange_is_200() {
        for text in ["", "x", "0", "99", "100", "101", "199", "600", "99999", "-200"] {
            assert_eq!(http_status(&map(&[("fn-http-status", text)])), StatusCode::OK, "{text}");
        }
        assert_eq!(http_status(&map(&[("fn-http-status", " 404 ")])), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_workers_status_says_how_the_run_went() {
        for (code, expected) in [
            (200, Verdict::Answered),
            (502, Verdict::Failed),
            (504, Verdict::TimedOut),
            (201, Verdict::Invalid),
            (500, Verdict::Invalid),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(code).unwrap()), expected);
        }
    }

    // Case 32.
    #[test]
    fn a_worker_is_told_who_it_is_and_its_configuration_cannot_say_otherwise() {
        let mut spec = FunctionSpec::named("greet".parse().unwrap());
        spec.config = [("APP_VAR", "1"), ("FN_LISTENER", "unix:/evil")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let environment = worker_environment(&Function::new(spec), Path::new("/s/lsnr.sock"));
        let last = |name: &str| environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        for (name, value) in [
            ("APP_VAR", "1"),
            ("FN_LISTENER", "unix:/s/lsnr.sock"),
            ("FN_FORMAT", "http-stream"),
            ("FN_MEMORY", "128"),
            ("FN_TYPE", "sync"),
            ("FN_APP_NAME", "default"),
            ("FN_FN_NAME", "greet"),
        ] {
            assert_eq!(last(name), Some(value), "{name}");
        }
    }

    proptest! {
        /// What a function echoes in frames comes out as it went in.
        #[test]
        fn framing_and_unframing_agree(pairs in proptest::collection::vec(("x-[a-z]{1,8}", "[a-z0-9]{0,8}"), 0..12)) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let framed = told(&request(Intent::HttpRequest, &pairs), UNIX_EPOCH);
            let (_, back) = answer_head(Intent::HttpRequest, framed);
            prop_assert_eq!(back, map(&pairs));
        }
    }
}
