//! One invocation of a function.

use std::sync::Arc;
use std::time::Instant;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

use super::function::Function;
use super::hop_text::HopText;
use super::ids::CallId;

/// Whether somebody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// The client waits for the answer.
    Sync,
    /// The client is answered 202 when the function has started; the answer is not sent to it.
    Detached,
}

/// What the call means to a function of the Fn contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Fn's *invoke*: the client's headers reach the function as they are, success is always 200.
    Invoke,
    /// Fn's *HTTP trigger*: the request is framed in `Fn-Http-*` headers, and the function chooses status and headers.
    HttpRequest,
}

/// W3C trace context of a call (W3C Trace Context, Recommendation of 2021, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// The span under which the receiver's work belongs; 8 bytes, not all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

/// What a runner is told of the hop from the client to us. It stands behind the client's own headers, which hold nothing of it but what is believed of earlier hops.
#[derive(Clone, Debug, Default)]
pub struct HopFields {
    /// `Via` (RFC 9110 section 7.6.3): one more line of it.
    pub via: Option<HopText>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<HopText>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<HopText>,
    /// `X-Forwarded-Host`.
    pub forwarded_host: Option<HopText>,
    /// `Forwarded` (RFC 7239).
    pub forwarded: Option<HopText>,
}

impl HopFields {
    /// The name of [`Self::forwarded_for`].
    pub const FOR: &str = "x-forwarded-for";
    /// The name of [`Self::forwarded_proto`].
    pub const PROTO: &str = "x-forwarded-proto";
    /// The name of [`Self::forwarded_host`].
    pub const HOST: &str = "x-forwarded-host";

    /// Those that are there, each with its name in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &HopText)> {
        let Self { via, forwarded_for, forwarded_proto, forwarded_host, forwarded } = self;
        let fields = [
            ("via", via),
            (Self::FOR, forwarded_for),
            (Self::PROTO, forwarded_proto),
            (Self::HOST, forwarded_host),
            ("forwarded", forwarded),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}

/// The part of a request that is small and known at once: all but the body.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// The client's method.
    pub method: Method,
    /// Path below the function, with its query: empty, or starting with `/` or `?`. Forwarded byte for byte.
    pub rest: String,
    /// The path and query as the client sent them.
    pub original_target: PathAndQuery,
    /// The authority the client asked for, if it named one.
    pub authority: Option<String>,
    /// The client's end-to-end headers; hop-by-hop headers are gone already.
    pub headers: HeaderMap,
    /// What is said of the hop to us.
    pub hop: HopFields,
    /// The protocol that the client wants to switch to (the value of its `Upgrade`), if its route allows that one.
    pub upgrade: Option<HeaderValue>,
}

/// One invocation: which function, for whom, until when.
#[derive(Clone, Debug)]
pub struct Call {
    /// Never used twice.
    pub id: CallId,
    /// The exact version to run.
    pub function: Arc<Function>,
    /// Whether somebody waits.
    pub kind: CallKind,
    /// What the call means to a function of the Fn contract.
    pub intent: Intent,
    /// The request without its body.
    pub head: CallHead,
    /// When the client wants to have given up, if it said so.
    pub deadline: Option<Instant>,
    /// What the call has in common with others that should run where they did: the hash of the client's stickiness hint. It joins the
    /// function in the choice of homes.
    pub hint: Option<u64>,
    /// The trace it belongs to; the span is that of the call.
    pub trace: TraceContext,
}
