//! The way of a call through the front: head → place in the balancer → destination → body → placement → answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, UPGRADE, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body::Body;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::answer::FrontBody;
use super::body_memory::BodyMemory;
use super::catalog::{Catalog, NoDestination};
use super::config::FrontConfig;
use super::explain::ExplainedCalls;
use super::forwarding::{ClientHop, Forwarding, Hops};
use super::guard::Denied;
use super::held_body::{Fate, HoldError, Talk, held_size, hold};
use super::identity::{id_value, new_call_id, request_id};
use super::places::Places;
use super::record::{Books, FrontTelemetry, Record};
use crate::executions::Executions;
use crate::http1::MalformedHead;
use crate::model::{Call, CallHead, CallKind, Outcome, TraceContext, boxed};
use crate::placement::{Accounts, GaveUp, NotPlaced, PlacedResult, Placement};
use crate::protocol::{KnownField, KnownFields, Problem, headers, parse_traceparent, remove_internal, remove_known_hop_by_hop};
use crate::runner::{AnswerBody, AnswerFacts, CallError};
use crate::server::BodyStoodStill;
use crate::telemetry::trace::SpanKind;
use crate::telemetry::turn;
use crate::tls::PeerIdentity;

/// Takes calls from clients. Cheap to clone; a [`tower::Service`], so that it can stand behind a listener of ours or inside a program of
/// yours.
#[derive(Clone)]
pub struct Front {
    shared: Arc<Shared>,
}

struct Shared {
    config: FrontConfig,
    catalog: ArcSwap<Catalog>,
    placement: Placement,
    executions: Executions,
    books: Arc<Books>,
    forwarding: Forwarding,
    /// Memory for bodies that are held.
    memory: BodyMemory,
    /// What rates are counted from.
    began: Instant,
    options: Vec<CallOption>,
}

/// What an embedding program wants changed about calls before they are placed: the kind, the deadline, headers, another function.
/// An error ends the call with that outcome.
pub type CallOption = Arc<dyn Fn(&mut Call) -> Result<(), CallError> + Send + Sync>;

/// Who sent a request, if the listener knows: put it into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub SocketAddr);

/// Whose certificate the client showed, if the listener has verified one: put it into the request's extensions.
#[derive(Clone, Debug)]
pub struct ClientIdentity(pub Arc<PeerIdentity>);

/// An answer that the front makes itself.
struct Refuse {
    outcome: Outcome,
    detail: String,
    retry_after: Option<u64>,
    /// Where it is not the outcome's own.
    status: Option<StatusCode>,
    /// What to show instead.
    challenge: Option<&'static str>,
}

/// A request that has begun to be a call.
struct Arrived<B> {
    head: request::Parts,
    /// Taken when it is wanted.
    body: Option<B>,
    /// Fields of the head that mean something here.
    known: KnownFields,
    /// The call's id.
    id: HeaderValue,
    request_id: HeaderValue,
    record: Box<Record>,
    has_place: bool,
    is_head: bool,
    wants_explanation: bool,
}

/// What a head comes to.
enum Begun {
    /// A call.
    Call(Box<Call>, Talk),
    /// A question to the balancer itself.
    IsForUs,
}

/// A runner's answer and what it means, or one of our own.
type Answered = Result<(Response<AnswerBody>, Outcome), Refuse>;

impl<B> Arrived<B> {
    /// The answer, with what is ours in it.
    fn end(self, result: Answered) -> Response<FrontBody> {
        let Self { id, request_id, mut record, is_head, wants_explanation, .. } = self;
        let (mut answer, outcome) = match result {
            Ok((answer, outcome)) => (answer, outcome),
            Err(refuse) => (problem(&refuse, &record), refuse.outcome),
        };
        answer.headers_mut().insert(headers::FN_CALL_ID, id);
        answer.headers_mut().insert(headers::REQUEST_ID, request_id);
        // The version is that of our connection to the client, whatever the runner spoke (RFC 9112 section 2.3).
        *answer.version_mut() = Version::HTTP_11;
        if wants_explanation && let Some(explanation) = record.explanation(outcome) {
            answer.headers_mut().insert(headers::EXPLAINED, explanation);
        }
        record.remember(outcome);
        record.status = Some(answer.status());
        let is_bodiless = is_head || matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        answer.map(|body| FrontBody::new(body, record, outcome, is_bodiless))
    }
}

impl Refuse {
    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), retry_after: None, status: None, challenge: None }
    }

    /// The body of a request did not come in time. The connection ends with this answer, as its framing is lost (RFC 9110 section 15.5.9).
    fn body_too_slow(detail: impl Into<String>) -> Self {
        Self { status: Some(StatusCode::REQUEST_TIMEOUT), ..Self::new(Outcome::BadRequest, detail) }
    }
}

impl From<Denied> for Refuse {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthorized { detail, challenge } => {
                Self { challenge: Some(challenge), ..Self::new(Outcome::Unauthorized, detail) }
            }
            Denied::Forbidden { detail, challenge } => Self { challenge, ..Self::new(Outcome::Forbidden, detail) },
            Denied::RateLimited { detail, wait } => {
                Self { retry_after: Some(whole_seconds(wait)), ..Self::new(Outcome::RateLimited, detail) }
            }
        }
    }
}

impl Front {
    /// A front that offers `catalog` and places by `placement`.
    pub fn new(config: FrontConfig, catalog: Catalog, placement: Placement, telemetry: FrontTelemetry) -> Self {
        Self::with_options(config, catalog, placement, telemetry, Vec::new())
    }

    /// The same, with options that are applied to every call, after those of the request ([`Front::handle_with`]).
    pub fn with_options(
        config: FrontConfig,
        catalog: Catalog,
        placement: Placement,
        telemetry: FrontTelemetry,
        options: Vec<CallOption>,
    ) -> Self {
        let places = Places::new(config.max_in_flight);
        let executions = Executions::new(placement.clone());
        let catalog = ArcSwap::from_pointee(catalog);
        let forwarding = Forwarding::new(&config.via, config.trusted_hops, config.forwarded);
        let memory = BodyMemory::new(config.max_buffered);
        let (books, began) = (Arc::new(Books { telemetry, places }), Instant::now());
        let shared = Shared { config, catalog, placement, executions, books, forwarding, memory, began, options };
        Self { shared: Arc::new(shared) }
    }

    /// What there is to call now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.shared.catalog.load_full()
    }

    /// Replaces what there is to call. Calls under way keep the version they began with.
    pub fn set_catalog(&self, mut catalog: Catalog) {
        catalog.go_on_from(&self.shared.catalog.load());
        self.shared.catalog.store(Arc::new(catalog));
    }

    /// Why the last calls went where they went.
    pub fn explained(&self) -> &ExplainedCalls {
        &self.shared.books.telemetry.explained
    }

    /// Waits for the detached calls that are being started.
    pub async fn close(&self) {
        self.shared.executions.close().await;
    }

    /// Answers one request. Dropping the future withdraws a synchronous call.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<FrontBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.handle_with(request, &[]).await
    }

    /// Answers one request whose call is changed by `options` first, and then by the front's own, which so have the last word.
    pub async fn handle_with<B>(&self, request: Request<B>, options: &[CallOption]) -> Response<FrontBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let hop = request.extensions().get::<ClientAddress>().map(|client| ClientHop::new(client.0, false));
        self.answer(self.arrive(request, hop.as_ref()), options, hop.as_ref()).await
    }
}

/// A front, as one connection has it.
pub(super) struct Visited {
    pub(super) front: Front,
    pub(super) hop: ClientHop,
    /// Whose certificate the client showed.
    pub(super) identity: Option<ClientIdentity>,
}

impl Visited {
    /// Answers one request. The call begins with this, not with the first look at the future.
    pub(super) fn handle<B>(
        self: &Arc<Self>,
        mut request: Request<B>,
    ) -> impl Future<Output = Result<Response<FrontBody>, Infallible>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(identity) = &self.identity {
            request.extensions_mut().insert(identity.clone());
        }
        let arrived = self.front.arrive(request, Some(&self.hop));
        let visited = Arc::clone(self);
        async move { Ok(visited.front.answer(arrived, &[], Some(&visited.hop)).await) }
    }
}

impl Front {
    /// Answers a head that is no request, and counts it as a call of no function.
    pub(super) fn refuse(&self, client: SocketAddr, malformed: &MalformedHead) -> Response<Bytes> {
        let books = &self.shared.books;
        let telemetry = &books.telemetry;
        let (head, ()) = Request::new(()).into_parts();
        let call_id = new_call_id();
        let request_id = id_value(call_id);
        let span = telemetry.tracer.span("call", SpanKind::Server, &telemetry.tracer.adopt(None));
        let mut record = Record::begin(call_id, books, span, false, &head);
        record.sent_by(&request_id, Some(client));
        let problem = Problem::new(Outcome::BadRequest, malformed.detail()).with_call_id(call_id).with_status(malformed.status());
        let (headers, body) = problem.to_parts();
        let mut answer = Response::new(body);
        *answer.status_mut() = problem.status();
        *answer.headers_mut() = headers;
        answer.headers_mut().insert(headers::FN_CALL_ID, request_id.clone());
        answer.headers_mut().insert(headers::REQUEST_ID, request_id);
        record.status = Some(answer.status());
        record.tell(Outcome::BadRequest);
        answer
    }

    /// Begins a call: with this it is counted, and has its place in the balancer or none.
    fn arrive<B>(&self, request: Request<B>, hop: Option<&ClientHop>) -> Box<Arrived<B>> {
        let shared = &*self.shared;
        let (head, body) = request.into_parts();
        let known = KnownFields::of(&head.headers);
        let call_id = new_call_id();
        let id = id_value(call_id);
        let request_id = if known.has(KnownField::RequestId) { request_id(&head.headers, &id) } else { id.clone() };
        let client_trace = if known.has(KnownField::Traceparent) { trace_of(&head.headers) } else { None };
        let Books { telemetry, places } = &*shared.books;
        let tracer = &telemetry.tracer;
        let span = tracer.span("call", SpanKind::Server, &tracer.adopt(client_trace));
        let has_place = places.take();
        let mut record = boxed(|| Record::begin(call_id, &shared.books, span, has_place, &head));
        record.sent_by(&request_id, hop.map(|hop| hop.address));
        let wants_explanation =
            known.has(KnownField::Runpool) && head.headers.get(headers::EXPLAIN).is_some_and(|value| value == "1");
        if wants_explanation {
            record.accounts = Accounts::All;
        }
        let is_head = head.method == Method::HEAD;
        boxed(|| Arrived { head, body: Some(body), known, id, request_id, record, has_place, is_head, wants_explanation })
    }

    /// Answers a call that has begun.
    async fn answer<B>(
        &self,
        mut arrived: Box<Arrived<B>>,
        options: &[CallOption],
        hop: Option<&ClientHop>,
    ) -> Response<FrontBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let result = if arrived.has_place {
            self.run(&mut arrived, options, hop).await
        } else {
            let most = self.shared.config.max_in_flight;
            let detail = format!("the balancer has {most} calls in hand, as many as it may");
            Err(Refuse { retry_after: Some(1), ..Refuse::new(Outcome::Overloaded, detail) })
        };
        arrived.end(result)
    }

    async fn run<B>(&self, arrived: &mut Arrived<B>, options: &[CallOption], hop: Option<&ClientHop>) -> Answered
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shared = &*self.shared;
        let (call, talk) = match self.call(arrived, options, hop)? {
            Begun::Call(call, talk) => (call, talk),
            Begun::IsForUs => return Ok((nothing_to_say(), Outcome::Ok)),
        };
        let body = self.body(arrived, talk)?;
        let record = &mut *arrived.record;
        let body = hold(body, talk, &shared.config, &mut record.upload).await.map_err(|error| match error {
            HoldError::TooLarge { .. } => Refuse::new(Outcome::BodyTooLarge, error.to_string()),
            HoldError::TooSlow(_) | HoldError::StoodStill(_) => Refuse::body_too_slow(error.to_string()),
            HoldError::Broken(_) => Refuse::new(Outcome::BadRequest, error.to_string()),
        })?;
        record.running();
        record.placed_by(shared.placement.placer_name(call.function.name()));
        let kind = call.kind;
        let result = match kind {
            CallKind::Sync => {
                if record.accounts == Accounts::Unusual && shared.books.telemetry.explained.wants_next(turn::now()) {
                    record.accounts = Accounts::All;
                }
                shared.placement.place_into(&call, &body, record.accounts, &mut record.report).await
            }
            CallKind::Detached => {
                // On the heap, as it is rare and large.
                let placed = Box::pin(shared.executions.start(*call, body)).await;
                record.report = placed.report;
                placed.result
            }
        };
        self.placed(kind, result, record)
    }

    /// Takes the body, with the memory that it may need.
    fn body<B: Body>(&self, arrived: &mut Arrived<B>, talk: Talk) -> Result<B, Refuse> {
        let Some(body) = arrived.body.take() else { return Err(Refuse::new(Outcome::Internal, "the body was taken before")) };
        let config = &self.shared.config;
        let Some(memory) = self.shared.memory.take(held_size(&body, talk, config)) else {
            let detail = format!("the balancer holds {} of bodies, as much as it may", config.max_buffered);
            return Err(Refuse { retry_after: Some(1), ..Refuse::new(Outcome::Overloaded, detail) });
        };
        arrived.record.holds(memory);
        Ok(body)
    }

    /// The call that a request is: what it is for, who may make it, and what a runner is to be told. Nothing of the body is needed for that: who may not call
    /// costs no more than a head.
    fn call<B>(&self, arrived: &mut Arrived<B>, options: &[CallOption], hop: Option<&ClientHop>) -> Result<Begun, Refuse> {
        let shared = &*self.shared;
        let Arrived { head, known, record, .. } = arrived;
        let known = *known;
        match shared.forwarding.look(&head.method, head.uri.path(), &mut head.headers, known) {
            Hops::GoOn => {}
            Hops::ForUs => return Ok(Begun::IsForUs),
            Hops::Loop => {
                let detail = format!("the request has passed `{}` already: it goes in circles", shared.config.via);
                return Err(Refuse { status: Some(StatusCode::LOOP_DETECTED), ..Refuse::new(Outcome::BadRequest, detail) });
            }
            Hops::Malformed => return Err(Refuse::new(Outcome::BadRequest, "max-forwards is not a number")),
        }
        let authority = authority(head);
        let catalog = shared.catalog.load();
        let destination = catalog.destination(&head.method, authority.as_deref(), &head.uri).map_err(not_found)?;
        record.queued(&destination.function);
        let identity = head.extensions.get::<ClientIdentity>().map(|client| &*client.0);
        catalog.guard().admit(&destination.function, &mut head.headers, identity, || turn::now() - shared.began)?;
        let is_detached = known.has(KnownField::FnInvokeType)
            && head.headers.get(headers::FN_INVOKE_TYPE).is_some_and(|value| value == headers::DETACHED);
        let timeout = if known.has(KnownField::TimeoutMs) { client_timeout(&head.headers)? } else { None };
        let deadline = timeout.map(|timeout| turn::now().into_std() + timeout);
        let upgrade = wanted_protocol(head, destination.upgrade.as_deref());
        let talk = if known.has(KnownField::ContentType) { Talk::of(&head.headers) } else { Talk::InTurn };
        let mut end_to_end = std::mem::take(&mut head.headers);
        let mut known = known;
        if known.has_any(KnownFields::HOP_BY_HOP) {
            remove_known_hop_by_hop(&mut end_to_end, known);
            // A client can take away with `Connection` what it sent.
            known = KnownFields::of(&end_to_end);
        }
        let hint = if known.has_any(KnownFields::INTERNAL) { take_hint(&mut end_to_end) } else { None };
        // Host and length are written anew for the runner; an expectation was for us.
        let host = end_to_end.remove(HOST);
        for (field, name) in [(KnownField::ContentLength, CONTENT_LENGTH), (KnownField::Expect, EXPECT)] {
            if known.has(field) {
                end_to_end.remove(name);
            }
        }
        let told = shared.forwarding.tell(&mut end_to_end, known, head.version, hop, host);
        let mut call = boxed(|| Call {
            id: record.call_id,
            function: destination.function,
            kind: if is_detached { CallKind::Detached } else { CallKind::Sync },
            intent: destination.intent,
            head: CallHead {
                method: head.method.clone(),
                rest: destination.rest,
                original_target: head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
                authority,
                headers: end_to_end,
                hop: told,
                upgrade,
            },
            deadline,
            hint,
            trace: *record.trace(),
        });
        for option in options.iter().chain(&shared.options) {
            option(&mut call).map_err(|error| Refuse::new(error.outcome, error.detail))?;
        }
        Ok(Begun::Call(call, talk))
    }

    /// What a placement means for the client.
    fn placed(&self, kind: CallKind, result: PlacedResult, record: &mut Record) -> Answered {
        let answer = match result {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                record.answered(None);
                return Err(self.blame_upload(error, record));
            }
            Err(end) => {
                record.answered(None);
                return Err(self.not_placed(&end, record.report.retry_after));
            }
        };
        let nothing = AnswerFacts::default();
        record.answered(Some(answer.extensions().get().unwrap_or(&nothing)));
        match kind {
            CallKind::Sync => Ok((answer, Outcome::Ok)),
            CallKind::Detached => {
                let mut accepted = Response::new(AnswerBody::empty());
                *accepted.status_mut() = StatusCode::ACCEPTED;
                accepted.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                Ok((accepted, Outcome::Accepted))
            }
        }
    }

    /// An attempt whose body broke on the client's side failed by the client's doing.
    fn blame_upload(&self, error: CallError, record: &Record) -> Refuse {
        match record.upload.fate() {
            Fate::Fine => Refuse::new(error.outcome, error.detail),
            Fate::TooLarge => {
                let limit = self.shared.config.max_body.bytes();
                Refuse::new(Outcome::BodyTooLarge, format!("the body is longer than the {limit} bytes allowed"))
            }
            Fate::Broken => Refuse::new(Outcome::ClientGone, "the body broke off"),
            Fate::StoodStill => Refuse::body_too_slow(BodyStoodStill.to_string()),
            Fate::Malformed => Refuse::new(Outcome::BadRequest, "the body is not framed as it was announced"),
        }
    }

    fn not_placed(&self, end: &NotPlaced, retry_after: Option<Duration>) -> Refuse {
        let detail = match end {
            NotPlaced::PoolFault(error) | NotPlaced::PoolError(error) => error.detail.clone(),
            NotPlaced::GaveUp(GaveUp::NoRunner) => "there was no runner until the time to place the call was up".to_owned(),
            NotPlaced::GaveUp(GaveUp::PlacerTimeout) => "no runner took the call until the time to place it was up".to_owned(),
            NotPlaced::GaveUp(GaveUp::DeadlineExceeded) => "the call's deadline passed before a runner took it".to_owned(),
            NotPlaced::GaveUp(GaveUp::DeadlineUnreachable) => "the call's deadline would pass before its turn comes".to_owned(),
            NotPlaced::GaveUp(GaveUp::QueueFull) => "as many calls wait for a runner as may".to_owned(),
            NotPlaced::GaveUp(GaveUp::Rejected) => "the placer rejected the call".to_owned(),
            NotPlaced::BodyGone => "a runner refused after it had read the beginning of the body".to_owned(),
        };
        let outcome = end.outcome();
        let retry_after = (outcome.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| retry_after.map_or(1, whole_seconds));
        Refuse { retry_after, ..Refuse::new(outcome, detail) }
    }
}

impl<B> tower::Service<Request<B>> for Front
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<FrontBody>, Infallible>>;

    /// Always ready: a call that there is no place for is answered so.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.handle(request).await) })
    }
}

/// The authority that the client asked for: of the target if it has one (RFC 9112 section 3.2.2), else `Host`.
fn authority(head: &request::Parts) -> Option<String> {
    let of_target = head.uri.authority().map(|authority| authority.as_str());
    let of_header = || head.headers.get(HOST).and_then(|value| value.to_str().ok());
    of_target.or_else(of_header).map(str::to_owned)
}

/// An answer of our own that says nothing more than that somebody is here.
fn nothing_to_say() -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// The client's trace, if it sent one that can be read.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(headers::TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse_traceparent)
}

/// The hash of the client's stickiness hint; with it goes everything that only runpool may say.
fn take_hint(headers: &mut HeaderMap) -> Option<u64> {
    let hint = headers.get(headers::HINT).map(|value| xxh3_64(value.as_bytes()));
    remove_internal(headers);
    hint
}

/// The protocol that the client wants to switch to, if its route allows that (RFC 9110 section 7.8): HTTP/1.1 only, and only if `Connection` says so.
fn wanted_protocol(head: &request::Parts, allowed: Option<&[String]>) -> Option<HeaderValue> {
    let allowed = allowed?;
    let lists = |name| head.headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let is_meant = lists(CONNECTION).flat_map(|list| list.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    if head.version != Version::HTTP_11 || !is_meant {
        return None;
    }
    let mut wanted = lists(UPGRADE).flat_map(|list| list.split(',')).map(str::trim);
    let chosen = wanted.find(|wanted| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(wanted)))?;
    HeaderValue::from_str(chosen).ok()
}

/// How long the client says it will wait.
fn client_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refuse> {
    let Some(value) = headers.get(headers::CLIENT_TIMEOUT) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u32>().ok()).filter(|millis| *millis > 0);
    millis.map(|millis| Some(Duration::from_millis(millis.into()))).ok_or_else(|| {
        let name = headers::CLIENT_TIMEOUT;
        Refuse::new(
            Outcome::BadRequest,
            format!("header {name} is {value:?}: expected whole milliseconds from 1 to {}", u32::MAX),
        )
    })
}

fn not_found(why: NoDestination) -> Refuse {
    let detail = match why {
        NoDestination::UnknownFunction(name) => format!("there is no function `{name}`"),
        NoDestination::NoRoute(path) => format!("no route matches {path}"),
        NoDestination::Disguised(other) => {
            let detail = format!(
                "the path could be read as one of `{other}`, which asks who is calling: expected it as that route has it"
            );
            return Refuse::new(Outcome::BadRequest, detail);
        }
    };
    Refuse::new(Outcome::NotFound, detail)
}

/// `Retry-After` counts whole seconds, and 0 would invite a storm.
fn whole_seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1_000).clamp(1, 3_600) as u64
}

fn problem(refuse: &Refuse, record: &Record) -> Response<AnswerBody> {
    let mut problem = Problem::new(refuse.outcome, refuse.detail.clone()).with_call_id(record.call_id);
    if let Some(seconds) = refuse.retry_after {
        problem = problem.with_retry_after(seconds);
    }
    if let Some(status) = refuse.status {
        problem = problem.with_status(status);
    }
    let (headers, body) = problem.to_parts();
    let mut response = Response::new(AnswerBody::full(body));
    *response.status_mut() = problem.status();
    *response.headers_mut() = headers;
    if let Some(challenge) = refuse.challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
