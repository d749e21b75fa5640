//! What is known about one call, from its head to the last byte of its answer, and its telling when it is over.
//!
//! A record tells exactly once: when its answer ended, or when it is dropped before, which means that the client went away. So nothing that
//! happens to a connection can leave a call uncounted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held_body::Upload;
use super::metrics::{FrontMetrics, Handles};
use crate::model::{CallId, Outcome};
use crate::placement::Report;
use crate::telemetry::metrics::observe;
use crate::telemetry::trace::Span;

/// The record of one call.
pub(super) struct Record {
    pub(super) call_id: CallId,
    pub(super) function: Option<Arc<crate::model::Function>>,
    pub(super) upload: Arc<Upload>,
    pub(super) report: Report,
    /// What the function itself took, if the runner said so.
    pub(super) execution: Duration,
    pub(super) bytes_out: u64,
    metrics: Arc<FrontMetrics>,
    handles: Arc<Handles>,
    span: Span,
    began: Instant,
    /// When the held body was complete.
    held: Option<Instant>,
    /// When the head of the answer was ready.
    answered: Option<Instant>,
    phase: Phase,
    is_told: bool,
    /// Frees the call's place in the balancer when the record goes.
    _place: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// Which gauge the call stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Outside,
    Queued,
    Running,
}

impl Record {
    pub(super) fn begin(
        call_id: CallId,
        metrics: Arc<FrontMetrics>,
        span: Span,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Self {
        metrics.in_flight().inc();
        Self {
            call_id,
            function: None,
            upload: Arc::default(),
            report: Report::default(),
            execution: Duration::ZERO,
            bytes_out: 0,
            handles: metrics.handles(""),
            metrics,
            span,
            began: Instant::now(),
            held: None,
            answered: None,
            phase: Phase::Outside,
            is_told: false,
            _place: place,
        }
    }

    /// The call is for this function; its body is about to be received.
    pub(super) fn queued(&mut self, function: &Arc<crate::model::Function>) {
        self.handles = self.metrics.handles(function.name().as_str());
        self.handles.calls.inc();
        self.span.text("runpool.function", function.name().as_str());
        self.function = Some(Arc::clone(function));
        self.enter(Phase::Queued);
    }

    /// The body is held, or will stream; the call is about to be placed.
    pub(super) fn running(&mut self) {
        self.held = Some(Instant::now());
        self.enter(Phase::Running);
    }

    /// The head of the answer is ready.
    pub(super) fn answered(&mut self, timing: Option<crate::protocol::ServerTiming>) {
        self.answered = Some(Instant::now());
        self.enter(Phase::Outside);
        if let Some(timing) = timing {
            self.execution = timing.execution;
            observe(&self.handles.sched_latency, timing.scheduling);
            observe(&self.handles.exec_latency, timing.execution);
        }
    }

    /// The trace context of work below this call.
    pub(super) const fn trace(&self) -> &crate::model::TraceContext {
        self.span.context()
    }

    /// The call is over. The first telling counts.
    pub(super) fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        self.enter(Phase::Outside);
        self.metrics.in_flight().dec();
        let now = Instant::now();
        let function = self.function.as_ref().map_or("", |function| function.name().as_str());
        self.handles.ended(outcome).inc();
        self.handles.request_bytes.inc_by(self.upload.received());
        self.handles.answer_bytes.inc_by(self.bytes_out);
        if let Some(by_outcome) = self.metrics.by_outcome(&self.handles, function, outcome) {
            observe(&by_outcome.call_seconds, now.saturating_duration_since(self.began));
            let placed = self.held.map(|held| self.answered.unwrap_or(now).saturating_duration_since(held));
            if let Some(placed) = placed {
                observe(&by_outcome.call_latency, placed.saturating_sub(self.execution));
            }
        }
        self.span.text("runpool.outcome", outcome.as_str());
        if !matches!(outcome, Outcome::Ok | Outcome::Accepted) {
            self.span.fail(outcome.as_str());
        }
    }

    fn enter(&mut self, next: Phase) {
        match self.phase {
            Phase::Outside => {}
            Phase::Queued => {
                self.handles.queued.dec();
            }
            Phase::Running => {
                self.handles.running.dec();
            }
        }
        match next {
            Phase::Outside => {}
            Phase::Queued => {
                self.handles.queued.inc();
            }
            Phase::Running => {
                self.handles.running.inc();
            }
        }
        self.phase = next;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.tell(Outcome::ClientGone);
    }
}
