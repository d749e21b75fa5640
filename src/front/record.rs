//! What is known about one call, from its head to the last byte of its answer, and its telling when it is over.
//!
//! A record tells exactly once: when its answer ended, or when it is dropped before, which means that the client went away. So nothing that
//! happens to a connection can leave a call uncounted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header, request};
use tokio::time::Instant;

use super::body_memory::HeldMemory;
use super::explain::{self, ExplainedCalls};
use super::held_body::Upload;
use super::metrics::{FrontMetrics, Handles};
use super::places::Places;
use super::routes::with_query;
use crate::model::{CallId, Function, Outcome, TraceContext};
use crate::placement::{Accounts, Report};
use crate::runner::http::AnswerFacts;
use crate::telemetry::access_log::{AccessLog, Entry};
use crate::telemetry::metrics::observe;
use crate::telemetry::trace::{Span, Tracer};
use crate::telemetry::turn;

/// Where the front tells what happened.
#[derive(Clone)]
pub struct FrontTelemetry {
    /// The front's families.
    pub metrics: Arc<FrontMetrics>,
    /// Makes the span of each call.
    pub tracer: Tracer,
    /// Gets a line for each call.
    pub access_log: AccessLog,
    /// Remembers why calls went where they went.
    pub explained: ExplainedCalls,
}

/// What calls are told to, and where they have their places.
pub(super) struct Books {
    pub(super) telemetry: FrontTelemetry,
    pub(super) places: Places,
}

/// The record of one call.
pub(super) struct Record {
    pub(super) call_id: CallId,
    pub(super) upload: Upload,
    pub(super) report: Report,
    /// Whether it is remembered even if it goes smoothly.
    pub(super) accounts: Accounts,
    pub(super) bytes_out: u64,
    pub(super) status: Option<StatusCode>,
    /// The line of the access log, as far as it is known; absent when nobody reads it.
    line: Option<Box<Entry>>,
    function: Option<Arc<Function>>,
    /// What the function itself took, if the runner said so.
    execution: Duration,
    books: Arc<Books>,
    /// Of its function, once that is known.
    handles: Option<Arc<Handles>>,
    span: Span,
    began: Instant,
    /// When the held body was complete.
    held: Option<Instant>,
    /// When the head of the answer was ready.
    answered: Option<Instant>,
    phase: Phase,
    /// The strategy, once the call is about to be placed.
    placer: Option<&'static str>,
    is_explained: bool,
    is_told: bool,
    /// The memory that its body takes.
    memory: Option<HeldMemory>,
    /// Its call has a place in the balancer, which is free again when the record goes.
    has_place: bool,
}

/// Which gauge the call stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Outside,
    Queued,
    Running,
}

impl Record {
    /// Begins with the head of the request. A call for which there is no place has none to free.
    pub(super) fn begin(call_id: CallId, books: &Arc<Books>, span: Span, has_place: bool, head: &request::Parts) -> Self {
        let telemetry = &books.telemetry;
        telemetry.metrics.in_flight().inc();
        let line = telemetry.access_log.is_on().then(|| Box::new(line(call_id, span.context(), head)));
        Self {
            call_id,
            upload: Upload::default(),
            report: Report::default(),
            accounts: Accounts::Unusual,
            bytes_out: 0,
            status: None,
            line,
            function: None,
            execution: Duration::ZERO,
            handles: None,
            books: Arc::clone(books),
            span,
            began: turn::now(),
            held: None,
            answered: None,
            phase: Phase::Outside,
            placer: None,
            is_explained: false,
            is_told: false,
            memory: None,
            has_place,
        }
    }

    /// The request's id, and who sent it, if the listener knows.
    pub(super) fn sent_by(&mut self, request_id: &HeaderValue, client: Option<SocketAddr>) {
        if let Some(line) = &mut self.line {
            line.request_id = request_id.to_str().ok().map(str::to_owned);
            line.client = client;
        }
    }

    /// Its body is held in this memory until the call is over.
    pub(super) fn holds(&mut self, memory: HeldMemory) {
        self.memory = Some(memory);
    }

    /// The call is for this function; its body is about to be received.
    pub(super) fn queued(&mut self, function: &Arc<Function>) {
        self.handles = Some(Arc::clone(self.books.telemetry.metrics.handles(function.name().as_str())));
        self.handles().calls.inc();
        self.span.text("runpool.function", function.name().as_str());
        self.function = Some(Arc::clone(function));
        self.enter(Phase::Queued);
    }

    /// The body is held, or will stream; the call is about to be placed.
    pub(super) fn running(&mut self) {
        self.held = Some(turn::now());
        self.enter(Phase::Running);
    }

    /// The call is about to be placed by this strategy.
    pub(super) const fn placed_by(&mut self, placer: &'static str) {
        self.placer = Some(placer);
    }

    /// Remembers why the call went where it went, once, and has forgotten it then; calls that were never to be placed have nothing to explain.
    pub(super) fn remember(&mut self, outcome: Outcome) {
        if let Some(placer) = self.placer
            && !std::mem::replace(&mut self.is_explained, true)
        {
            self.books.telemetry.explained.remember(
                self.call_id,
                self.function.as_ref(),
                outcome,
                placer,
                self.accounts,
                &mut self.report,
            );
        }
    }

    /// Why the call went where it went, for the client.
    pub(super) fn explanation(&self, outcome: Outcome) -> Option<HeaderValue> {
        explain::header(self.call_id, outcome, self.placer?, &self.report)
    }

    /// The head of the answer is ready.
    pub(super) fn answered(&mut self, facts: Option<&AnswerFacts>) {
        self.answered = Some(turn::now());
        self.enter(Phase::Outside);
        if let (Some(line), Some(facts)) = (&mut self.line, facts) {
            line.connect = Some(facts.connecting);
        }
        if let Some(timing) = facts.and_then(|facts| facts.timing) {
            self.execution = timing.execution;
            observe(&self.handles().sched_latency, timing.scheduling);
            observe(&self.handles().exec_latency, timing.execution);
        }
    }

    /// The trace context of work below this call.
    pub(super) const fn trace(&self) -> &TraceContext {
        self.span.context()
    }

    /// The call is over. The first telling counts.
    pub(super) fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        self.remember(outcome);
        self.memory = None;
        self.enter(Phase::Outside);
        if self.function.is_none() {
            // It never was queued: it is counted as received here, so that what ended never exceeds what came.
            self.handles().calls.inc();
        }
        let metrics = &self.books.telemetry.metrics;
        metrics.in_flight().dec();
        let now = turn::now();
        let total = now.saturating_duration_since(self.began);
        let function = self.function.as_ref().map_or("", |function| function.name().as_str());
        self.handles().ended(outcome).inc();
        if outcome == Outcome::RateLimited {
            self.handles().rate_limited.inc();
        }
        self.handles().request_bytes.inc_by(self.upload.received());
        self.handles().answer_bytes.inc_by(self.bytes_out);
        if let Some(by_outcome) = metrics.by_outcome(self.handles(), function, outcome) {
            observe(&by_outcome.call_seconds, total);
            if let Some(held) = self.held {
                let head = self.answered.unwrap_or(now).saturating_duration_since(held);
                observe(&by_outcome.call_latency, head.saturating_sub(self.execution));
            }
        }
        self.span.text("runpool.outcome", outcome.as_str());
        if let Some(status) = self.status {
            self.span.status(status);
        }
        if !matches!(outcome, Outcome::Ok | Outcome::Accepted) {
            self.span.fail(outcome.as_str());
        }
        self.write_line(outcome, total);
    }

    fn write_line(&mut self, outcome: Outcome, total: Duration) {
        let Some(line) = self.line.take() else { return };
        let report = std::mem::take(&mut self.report);
        let was_placed = self.held.is_some();
        self.books.telemetry.access_log.record(Entry {
            function: self.function.as_ref().map(|function| function.name().clone()),
            status: self.status.map(|status| status.as_u16()),
            outcome,
            attempts: report.attempts,
            refusals: report.refusals,
            runner: report.runner,
            bytes_in: Some(self.upload.received()),
            bytes_out: Some(self.bytes_out),
            total: Some(total),
            queue: was_placed.then_some(report.waited),
            place: was_placed.then_some(report.latency),
            first_byte: self.answered.map(|answered| answered.saturating_duration_since(self.began)),
            ..*line
        });
    }

    fn handles(&self) -> &Handles {
        self.handles.as_deref().unwrap_or_else(|| self.books.telemetry.metrics.handles_of_none())
    }

    fn enter(&mut self, next: Phase) {
        match self.phase {
            Phase::Outside => {}
            Phase::Queued => {
                self.handles().queued.dec();
            }
            Phase::Running => {
                self.handles().running.dec();
            }
        }
        match next {
            Phase::Outside => {}
            Phase::Queued => {
                self.handles().queued.inc();
            }
            Phase::Running => {
                self.handles().running.inc();
            }
        }
        self.phase = next;
    }
}

/// The line as far as the head tells it.
fn line(call_id: CallId, trace: &TraceContext, head: &request::Parts) -> Entry {
    let user_agent = head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let target = with_query(head.uri.path(), &head.uri);
    let entry = Entry::new(turn::wall_clock(), head.method.clone(), target, Outcome::ClientGone);
    Entry { call_id: Some(call_id), trace_id: Some(trace.trace_id), version: head.version, user_agent, ..entry }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.has_place {
            self.books.places.give_back();
        }
        self.tell(Outcome::ClientGone);
    }
}
