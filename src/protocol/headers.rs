//! Names of the headers that runpool reads and writes, all lower case as HTTP/2 wants them.

use http::HeaderName;

/// To the agent: the call id. On every answer to a client the same id is called [`FN_CALL_ID`].
pub const CALL: HeaderName = HeaderName::from_static("runpool-call");
/// To the agent: the attempt's number, from 1.
pub const ATTEMPT: HeaderName = HeaderName::from_static("runpool-attempt");
/// To the agent: the digest of the function's specification.
pub const FUNCTION: HeaderName = HeaderName::from_static("runpool-function");
/// To the agent: milliseconds left until the call's deadline; relative, so that clocks need not agree.
pub const TIMEOUT: HeaderName = HeaderName::from_static("runpool-timeout");
/// To the agent: `detached` when nobody waits for the answer.
pub const KIND: HeaderName = HeaderName::from_static("runpool-kind");
/// To the agent: the path and query as the client sent them, for `Fn-Http-Request-Url`.
pub const TARGET: HeaderName = HeaderName::from_static("runpool-target");
/// To the agent: `httprequest` when the request is to be framed for the function. Not Fn's own header: a gateway in front of us may
/// send that one itself on an invoke, and it then goes to the function as it is.
pub const INTENT: HeaderName = HeaderName::from_static("runpool-intent");
/// From the agent: this answer is a refusal, and why.
pub const REFUSED: HeaderName = HeaderName::from_static("runpool-refused");
/// From the agent, with a refusal: milliseconds after which a new attempt makes sense.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// From the agent, on everything: how full it is.
pub const LOAD: HeaderName = HeaderName::from_static("runpool-load");
/// From the agent, on the answer of a call that a process had: whether that was warm, or what its start cost.
pub const START: HeaderName = HeaderName::from_static("runpool-start");
/// From the agent, on everything: the warm workers that it lost last.
pub const LOST: HeaderName = HeaderName::from_static("runpool-lost");
/// From the agent: a slot that it lends, and for how long. To the agent: the token of the slot that was lent for this call.
pub const ROOM: HeaderName = HeaderName::from_static("runpool-room");
/// To the agent, when asking for room: which balancer asks.
pub const BALANCER: HeaderName = HeaderName::from_static("runpool-balancer");
/// From the agent, on `GET /load`: milliseconds that calls take which come when it is as full as it is now.
pub const LATENCY: HeaderName = HeaderName::from_static("runpool-latency");
/// On an answer that runpool made itself: the outcome's word. Its absence means that the function answered.
pub const OUTCOME: HeaderName = HeaderName::from_static("runpool-outcome");
/// From the agent: time spent before and in the function (W3C Server Timing).
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// To the client: the call id, under the name that Fn's clients know.
pub const FN_CALL_ID: HeaderName = HeaderName::from_static("fn-call-id");
/// From the client: exactly `detached` asks for a detached call (Fn).
pub const FN_INVOKE_TYPE: HeaderName = HeaderName::from_static("fn-invoke-type");
/// To the function: `httprequest` for a framed HTTP request (Fn).
pub const FN_INTENT: HeaderName = HeaderName::from_static("fn-intent");
/// To the function: when its call must end, RFC 3339 in whole seconds (Fn).
pub const FN_DEADLINE: HeaderName = HeaderName::from_static("fn-deadline");
/// To the function, of a framed request: the client's method (Fn).
pub const FN_HTTP_METHOD: HeaderName = HeaderName::from_static("fn-http-method");
/// To the function, of a framed request: the client's URL (Fn).
pub const FN_HTTP_REQUEST_URL: HeaderName = HeaderName::from_static("fn-http-request-url");
/// From the function, of a framed answer: its status (Fn).
pub const FN_HTTP_STATUS: HeaderName = HeaderName::from_static("fn-http-status");
/// Before the name of each framed header, both ways (Fn).
pub const FN_HTTP_HEADER_PREFIX: &str = "fn-http-h-";

/// The request's id, taken from the client or made, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// From the client: how many milliseconds it will wait for the answer.
pub const CLIENT_TIMEOUT: HeaderName = HeaderName::from_static("x-timeout-ms");
/// From the client: calls with the same hint should run where the others did.
pub const HINT: HeaderName = HeaderName::from_static("runpool-hint");
/// From the client: `1` asks for [`EXPLAINED`] on the answer.
pub const EXPLAIN: HeaderName = HeaderName::from_static("runpool-explain");
/// To the client that asked: why its call went where it went.
pub const EXPLAINED: HeaderName = HeaderName::from_static("runpool-explained");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C trace context, vendors' part; passed on untouched.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Before the name of each header that is for runpool alone.
pub const INTERNAL_PREFIX: &str = "runpool-";

/// The value of [`FN_INVOKE_TYPE`] and [`KIND`] that asks for a detached call.
pub const DETACHED: &str = "detached";
/// The value of [`INTENT`] and [`FN_INTENT`] that says the request is framed.
pub const HTTP_REQUEST: &str = "httprequest";
