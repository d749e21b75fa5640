//! Admission of calls, in the order in which an agent may refuse them, and the way of an admitted one to its answer.
//!
//! Refused first is what is cheapest to know: draining, unknown function, impossible, busy, memory. All of it is decided without waiting
//! and before a byte of the body was asked for, so that a refusal costs a balancer no body (the server sends `100 Continue` when the
//! body is first asked for, and never before).

use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use tokio::time::Instant;

use super::accepted::{Accepted, Ended, Room};
use super::answer::{self, AnswerBody};
use super::call_request::CallRequest;
use super::calls::CallTable;
use super::detached;
use super::functions::Functions;
use super::gate::{Gate, Permit, PermitId};
use super::house::House;
use super::input::Input;
use super::metrics::AgentMetrics;
use super::routes::set_news;
use super::run::{Accounts, Held, RunFacts};
use super::status::StatusDesk;
use super::workers::WorkerId;
use crate::model::{ByteSize, CallId, CallKind, Digest, Function, FunctionName, IncarnationId, Outcome};
use crate::protocol::headers::{SERVER_TIMING, START};
use crate::protocol::{AgentStatus, LoadReport, Problem, Refusal, RefusalReason, ServerTiming};
use crate::server::RequestBody;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::{SpanKind, Tracer};

/// What answers requests.
pub(crate) struct Service {
    pub(crate) incarnation: IncarnationId,
    pub(crate) gate: Gate,
    pub(crate) functions: Functions,
    pub(crate) calls: Arc<CallTable>,
    pub(crate) house: House,
    pub(crate) status_function: Option<FunctionName>,
    pub(crate) status_desk: StatusDesk,
    pub(crate) memory: ByteSize,
    pub(crate) max_answer_body: ByteSize,
    pub(crate) metrics: Arc<AgentMetrics>,
    pub(crate) registry: Arc<Metrics>,
    pub(crate) tracer: Tracer,
}

/// The call that is answered, as far as its slot and its worker may be free already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    permit: Option<PermitId>,
    worker: Option<WorkerId>,
}

/// Why a call is not run.
enum Stop {
    /// Another runner may take it.
    Refused(Refusal),
    /// No runner would.
    Unacceptable(Outcome, String),
}

impl Service {
    /// Answers one call.
    pub(crate) async fn call(&self, request: Request<RequestBody>) -> Response<AnswerBody> {
        self.gate.receive();
        let (parts, body) = request.into_parts();
        let call = match CallRequest::read(parts) {
            Ok(call) => call,
            Err(error) => {
                let mut response = answer::bad_request(error.to_string());
                set_news(self, None, Answered::default(), &mut response);
                return response;
            }
        };
        let (id, digest, kind) = (call.request.call, call.digest.clone(), call.kind);
        let (mut response, answered) = match self.admit(call) {
            Ok((accepted, room)) => {
                let permit = accepted.held.permit.as_ref().map(Permit::id);
                let ended = match kind {
                    CallKind::Sync => room.run(accepted, &self.house, Input::streaming(body)).await,
                    // On the heap, as it is rare and large.
                    CallKind::Detached => Box::pin(detached::run(accepted, &self.house, room, body)).await,
                };
                self.ended(ended, permit, id)
            }
            Err(Stop::Refused(refusal)) => (self.refuse(&refusal), Answered::default()),
            Err(Stop::Unacceptable(outcome, detail)) => {
                (answer::problem(&Problem::new(outcome, detail).with_call_id(id)), Answered::default())
            }
        };
        set_news(self, Some(&digest), answered, &mut response);
        response
    }

    /// Every check, in order, and then the slot and the room.
    fn admit(&self, call: CallRequest) -> Result<(Accepted, Room), Stop> {
        self.gate.check_open().map_err(Stop::Refused)?;
        let function = self.functions.get(&call.digest).ok_or(Stop::Refused(Refusal::new(RefusalReason::UnknownFunction)))?;
        self.check(&call, &function)?;
        let permit = self.gate.enter(&function, call.room).map_err(Stop::Refused)?;
        let room = match Room::find(&self.house, &function) {
            Ok(room) => room,
            Err(_no_room) => {
                permit.refuse();
                return Err(Stop::Refused(self.no_memory()));
            }
        };
        let entry = self.calls.enter(call.request.call, function.name().clone(), call.attempt);
        let mut span = self.tracer.span("run", SpanKind::Server, &self.tracer.adopt(call.parent));
        if span.is_recording() {
            span.text("runpool.function", function.name().as_str());
            span.text("runpool.call", call.request.call.to_string());
            span.number("runpool.attempt", i64::from(call.attempt));
        }
        let mut request = call.request;
        request.trace = *span.context();
        let accounts = Accounts::open(request.call, Arc::clone(&function), Arc::clone(&self.metrics), span);
        let accepted = Accepted {
            function,
            request,
            deadline: call.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            max_answer_body: self.max_answer_body.bytes(),
            started: None,
            held: Held { permit: Some(permit), entry: Some(entry), claim: None },
            accounts,
        };
        Ok((accepted, room))
    }

    /// What no other runner of this kind would take either.
    fn check(&self, call: &CallRequest, function: &Function) -> Result<(), Stop> {
        let name = function.name();
        if call.name != *name {
            let detail =
                format!("the path names function `{}`, and the digest is that of `{name}`: expected the same", call.name);
            return Err(Stop::Unacceptable(Outcome::BadRequest, detail));
        }
        if self.status_function.as_ref() == Some(name) {
            return Err(Stop::Unacceptable(
                Outcome::BadRequest,
                format!("function `{name}` is the status function: it cannot be called"),
            ));
        }
        let (wanted, all) = (function.spec.memory, self.memory);
        if wanted > all {
            let detail =
                format!("function `{name}` wants {wanted} of memory for a worker, and this runner has {all} for all of them");
            return Err(Stop::Unacceptable(Outcome::Impossible, detail));
        }
        Ok(())
    }

    fn ended(&self, ended: Ended, permit: Option<PermitId>, id: CallId) -> (Response<AnswerBody>, Answered) {
        match ended {
            Ended::Answered(mut response, facts) => {
                set_facts(&mut response, facts);
                (response, Answered { permit, worker: facts.worker })
            }
            Ended::Failed(error, facts) => {
                let mut response = answer::problem(&error.problem().with_call_id(id));
                set_facts(&mut response, facts);
                // Nobody can tell from an error whether its worker lives: if it does, it counts.
                (response, Answered { permit, worker: None })
            }
            Ended::Refused => (self.refuse(&self.no_memory()), Answered::default()),
        }
    }

    /// Memory comes free when a worker becomes idle, which can then be evicted.
    fn no_memory(&self) -> Refusal {
        Refusal { reason: RefusalReason::Memory, retry_after: self.gate.expected_free() }
    }

    fn refuse(&self, refusal: &Refusal) -> Response<AnswerBody> {
        self.metrics.refused(refusal.reason);
        answer::refusal(refusal)
    }

    /// How full the agent is, and which warm workers it has lost.
    pub(crate) fn news(&self, function: Option<&Digest>, answered: Answered) -> (LoadReport, Option<HeaderValue>) {
        let (warm, lost) = self.house.news(function, answered.worker);
        let load = LoadReport {
            in_flight: self.gate.load(answered.permit),
            slots: self.gate.slots(),
            warm: u32::try_from(warm).unwrap_or(u32::MAX),
        };
        (load, lost)
    }

    /// Closes the gate for good.
    pub(crate) fn drain(&self) {
        self.gate.drain();
    }

    /// The status: counts that are fresh always, and what the last look found.
    pub(crate) async fn status(&self) -> AgentStatus {
        let look = self.status_desk.look().await;
        let view = self.gate.view();
        let (warm_workers, memory_used, lost_seq) = self.house.view();
        AgentStatus {
            incarnation: Some(self.incarnation),
            state: view.state,
            slots: self.gate.slots(),
            memory: self.memory,
            memory_used: ByteSize(memory_used),
            warm_workers,
            lost_seq,
            active_request_count: u64::from(view.in_flight),
            requests_received: view.received,
            requests_handled: view.handled,
            ..look
        }
    }
}

/// Writes what is told of the run beside its answer.
fn set_facts(response: &mut Response<AnswerBody>, facts: RunFacts) {
    // A word and a number: always a valid value.
    if let Some(start) = facts.start.and_then(|start| HeaderValue::try_from(start.to_string()).ok()) {
        response.headers_mut().insert(START, start);
    }
    set_timing(response, facts.timing);
}

/// Writes where the time went, before any timings of the function's own: whoever wants ours reads the first.
fn set_timing(response: &mut Response<AnswerBody>, timing: ServerTiming) {
    // Numbers: always a valid value.
    let Ok(ours) = HeaderValue::try_from(timing.to_string()) else { return };
    let headers = response.headers_mut();
    let theirs: Vec<_> = headers.get_all(SERVER_TIMING).iter().cloned().collect();
    headers.insert(SERVER_TIMING, ours);
    for value in theirs {
        headers.append(SERVER_TIMING, value);
    }
}
