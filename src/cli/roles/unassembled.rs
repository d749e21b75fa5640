//! SEAM (assembly): stands where `agent::Agent` will, so that the life of a runner's process can be seen already.
//! Nothing of this file stays.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::model::{IncarnationId, Outcome};
use crate::protocol::{AgentState, AgentStatus, Problem};

/// Whether the process is ready.
#[derive(Clone, Debug)]
pub(super) struct Ready(Arc<AtomicBool>);

impl Ready {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers `/livez`, `/readyz` and `/status`; everything else is 503.
pub(super) fn answer(
    request: &Request<Incoming>,
    ready: &Ready,
    incarnation: IncarnationId,
    slots: u32,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    };
    Ok(match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if ready.is_ready() => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: ending\n"),
        "/status" => {
            let state = if ready.is_ready() { AgentState::Ready } else { AgentState::Draining };
            let status = AgentStatus { incarnation: Some(incarnation), state, slots, ..AgentStatus::default() };
            Response::new(Full::new(serde_json::to_vec(&status).unwrap_or_default().into()))
        }
        _ => {
            let (headers, body) = Problem::new(Outcome::Internal, "this part is not assembled yet").to_parts();
            let mut response = Response::new(Full::new(body));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            *response.headers_mut() = headers;
            response
        }
    })
}
