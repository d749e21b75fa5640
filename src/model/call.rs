//! One invocation of a function.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method};

use super::function::Function;
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

/// The part of a request that is small and known at once: all but the body.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// The client's method.
    pub method: Method,
    /// Path below the function, with its query: empty, or starting with `/` or `?`. Forwarded byte for byte.
    pub rest: String,
    /// The path and query as the client sent them.
    pub original_target: String,
    /// The authority the client asked for, if it named one.
    pub authority: Option<String>,
    /// The client's end-to-end headers; hop-by-hop headers are gone already.
    pub headers: HeaderMap,
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
