//! The agent's HTTP surface.
//!
//! | request | answer |
//! |---|---|
//! | `ANY /call/{function}…` | the function's answer, a refusal, or a problem |
//! | `GET /room?wait_ms=N` | 200 and a slot that is lent, 204 if there is none in time, or a refusal: for a balancer that was refused |
//! | `GET /load` | 204: how full the agent is and how fast, in two headers |
//! | `GET /calls/{call id}` | the call in hand, or 404: a sign of life |
//! | `PUT /functions/{digest}` | 204: the version is known now |
//! | `GET /functions` | the known versions |
//! | `GET /status` | an [`AgentStatus`](crate::protocol::AgentStatus) |
//! | `POST /drain` | the same, after the gate was closed |
//! | `GET /livez`, `GET /readyz`, `GET /metrics` | for whoever watches |
//!
//! Every answer carries `runpool-load` and `runpool-lost`.

use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::answer::{self, AnswerBody};
use super::asking::RoomEnd;
use super::call_request::CallRequest;
use super::service::{Answered, Service};
use crate::model::{CallId, Digest, FunctionSpec, Outcome};
use crate::protocol::headers::{BALANCER, LATENCY, LOAD, LOST, ROOM};
use crate::protocol::{AgentState, BalancerId, Problem};
use crate::server::RequestBody;
use crate::telemetry::exposition::expose;

/// The longest specification of a function.
const MAX_SPECIFICATION: usize = 1024 * 1024;

/// Answers one request.
pub(crate) async fn answer(service: &Service, request: Request<RequestBody>) -> Response<AnswerBody> {
    if request.uri().path().starts_with(CallRequest::PREFIX) {
        return service.call(request).await;
    }
    let mut response = route(service, request).await;
    set_news(service, None, Answered::default(), &mut response);
    response
}

/// Writes the load report and the lost workers; `function` is the one whose warm workers matter, `answered` the call that is answered.
pub(crate) fn set_news(service: &Service, function: Option<&Digest>, answered: Answered, response: &mut Response<AnswerBody>) {
    let (load, lost) = service.news(function, answered);
    // Names and numbers: always a valid value.
    if let Ok(value) = HeaderValue::try_from(load.to_string()) {
        response.headers_mut().insert(LOAD, value);
    }
    if let Some(lost) = lost {
        response.headers_mut().insert(LOST, lost);
    }
}

async fn route(service: &Service, request: Request<RequestBody>) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let allowed = match *segments.as_slice() {
        ["functions", _] => Method::PUT,
        ["drain"] => Method::POST,
        ["calls", _] | ["functions" | "status" | "room" | "load" | "livez" | "readyz" | "metrics"] => Method::GET,
        _ => return not_found(&path),
    };
    let is_allowed = *request.method() == allowed || (allowed == Method::GET && *request.method() == Method::HEAD);
    if !is_allowed {
        return method_not_allowed(request.method(), &path, &allowed);
    }
    match *segments.as_slice() {
        ["calls", id] => call(service, id),
        ["room"] => room(service, request.uri().query().unwrap_or_default(), request.headers()).await,
        ["load"] => load(service),
        ["functions", digest] => put_function(service, digest, request.into_body()).await,
        ["functions"] => answer::json(StatusCode::OK, &service.functions.list()),
        ["status"] => answer::json(StatusCode::OK, &service.status().await),
        ["drain"] => {
            service.drain();
            answer::json(StatusCode::OK, &service.status().await)
        }
        ["livez"] => answer::text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
        ["readyz"] => ready(service),
        ["metrics"] => metrics(service, request.headers()),
        _ => not_found(&path),
    }
}

/// The longest wait for room; a longer one is cut to this, and the balancer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

async fn room(service: &Service, query: &str, headers: &HeaderMap) -> Response<AnswerBody> {
    let wait = query.split('&').find_map(|pair| pair.strip_prefix("wait_ms=")).and_then(|millis| millis.parse().ok());
    let Some(wait) = wait.map(Duration::from_millis) else {
        return answer::bad_request(format!("the query is `{query}`: expected wait_ms=MILLISECONDS"));
    };
    let balancer = headers.get(BALANCER).and_then(|value| value.to_str().ok()).unwrap_or_default().parse::<BalancerId>();
    let end = match balancer.map(|balancer| service.gate.ask(balancer)) {
        Ok(Ok(asking)) => asking.wait(wait.min(LONGEST_WAIT)).await,
        Ok(Err(refusal)) => RoomEnd::Refused(refusal),
        Err(error) => return answer::bad_request(format!("header `{BALANCER}`: {error}")),
    };
    service.metrics.asked(&end);
    match end {
        RoomEnd::Granted(grant) => {
            let mut response = answer::empty(StatusCode::OK);
            // Digits and a word: always a valid value.
            if let Ok(value) = HeaderValue::try_from(grant.to_string()) {
                response.headers_mut().insert(ROOM, value);
            }
            response
        }
        RoomEnd::NoneInTime => answer::empty(StatusCode::NO_CONTENT),
        RoomEnd::Refused(refusal) => answer::refusal(&refusal),
    }
}

fn load(service: &Service) -> Response<AnswerBody> {
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    if let Some(latency) = service.gate.latency()
        && let Ok(value) = HeaderValue::try_from(format!("{:.3}", latency.as_secs_f64() * 1e3))
    {
        response.headers_mut().insert(LATENCY, value);
    }
    response
}

fn call(service: &Service, id: &str) -> Response<AnswerBody> {
    match id.parse::<CallId>() {
        Ok(id) => match service.calls.view(id) {
            Some(view) => answer::json(StatusCode::OK, &view),
            None => answer::problem(&Problem::new(Outcome::NotFound, format!("call {id} is not in hand here"))),
        },
        Err(error) => answer::bad_request(error.to_string()),
    }
}

async fn put_function(service: &Service, digest: &str, body: RequestBody) -> Response<AnswerBody> {
    let digest: Digest = match digest.parse() {
        Ok(digest) => digest,
        Err(error) => return answer::bad_request(error),
    };
    let bytes = match Limited::new(body, MAX_SPECIFICATION).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let detail = format!("could not read the specification: {error}; expected at most 1MiB of JSON");
            return answer::problem(&Problem::new(Outcome::BodyTooLarge, detail));
        }
    };
    let spec: FunctionSpec = match serde_json::from_slice(&bytes) {
        Ok(spec) => spec,
        Err(error) => return answer::bad_request(format!("the body is not a function's specification: {error}")),
    };
    match service.functions.learn(&digest, spec) {
        Ok(()) => answer::empty(StatusCode::NO_CONTENT),
        Err(error) => answer::bad_request(error.to_string()),
    }
}

fn ready(service: &Service) -> Response<AnswerBody> {
    let (status, text) = match service.gate.view().state {
        AgentState::Ready => (StatusCode::OK, "ready\n"),
        AgentState::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        AgentState::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    answer::text(status, "text/plain; charset=utf-8", text)
}

/// In the format that the scraper asks for.
fn metrics(service: &Service, request: &HeaderMap) -> Response<AnswerBody> {
    match expose(&service.registry, request) {
        Ok(exposition) => answer::text(StatusCode::OK, exposition.content_type, exposition.body),
        Err(error) => answer::problem(&Problem::new(Outcome::Internal, error.to_string())),
    }
}

fn not_found(path: &str) -> Response<AnswerBody> {
    answer::problem(&Problem::new(Outcome::NotFound, format!("an agent has nothing at {path}")))
}

fn method_not_allowed(method: &Method, path: &str, allowed: &Method) -> Response<AnswerBody> {
    let detail = format!("{method} is not possible at {path}: expected {allowed}");
    let mut response = answer::problem(&Problem::new(Outcome::MethodNotAllowed, detail));
    if let Ok(value) = HeaderValue::from_str(allowed.as_str()) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}
