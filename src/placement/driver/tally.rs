//! Counts one placement; when dropped before its end, as cancelled.
//!
//! What a placement takes is measured within the turn in which it is made, so that the clock of turns would say that it takes nothing: for that, the clock itself is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Call, RunnerId, TraceContext};
use crate::placement::event::GaveUp;
use crate::placement::metrics::{Handles, PlacementMetrics};
use crate::placement::not_placed::NotPlaced;
use crate::runner::{AnswerBody, CallError, Refused};
use crate::telemetry::metrics::observe;
use crate::telemetry::trace::{Span, SpanKind, Tracer};
use crate::telemetry::turn;

use super::account::Course;
use super::{Account, Crowd, PlacedResult};

/// What a placement took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The runner that took the call, or was about to when the client went away.
    pub runner: Option<RunnerId>,
    /// Attempts, the committed one included.
    pub attempts: u32,
    /// Those of them that were refused.
    pub refusals: u32,
    /// Time spent waiting because nobody had room, or nobody was there.
    pub waited: Duration,
    /// From the start to the last attempt, or to the end if not placed.
    pub latency: Duration,
    /// The length of the committed attempt, until the head of its answer.
    pub committed: Duration,
    /// After which time a new call makes sense: worked out of how fast waiting calls leave, or else the shortest that a runner which refused
    /// had asked for.
    pub retry_after: Option<Duration>,
    /// Why the call went where it went, if it was placed and is one of those that have an account ([`Accounts`](super::Accounts)).
    pub account: Option<Arc<Account>>,
    /// The word for why it was not placed ([`NotPlaced::as_str`]), if it was not.
    pub not_placed: Option<&'static str>,
    /// What it was up against, if it was not placed: no runner at all, if the pool was empty.
    pub crowd: Option<Crowd>,
}

pub(super) struct Tally<'a> {
    metrics: &'a PlacementMetrics,
    handles: &'a Handles,
    span: Span,
    began: Instant,
    /// Where the attempt that is under way is made, and when it began.
    under_way: Option<(RunnerId, Instant)>,
    report: &'a mut Report,
    is_finished: bool,
}

impl<'a> Tally<'a> {
    pub(super) fn begin(
        metrics: &'a PlacementMetrics,
        call: &Call,
        placer: &'static str,
        tracer: &Tracer,
        report: &'a mut Report,
    ) -> Self {
        *report = Report::default();
        Self {
            metrics,
            handles: metrics.handles(call.function.name(), placer),
            span: tracer.span("placement", SpanKind::Internal, &call.trace),
            began: Instant::now(),
            under_way: None,
            report,
            is_finished: false,
        }
    }

    pub(super) const fn trace(&self) -> &TraceContext {
        self.span.context()
    }

    pub(super) fn pool_was_empty(&mut self) {
        self.handles.pool_empty.inc();
        self.report.crowd = Some(Crowd::NONE);
    }

    pub(super) fn pool_was_filled(&mut self) {
        self.report.crowd = None;
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.report.waited += time;
    }

    pub(super) fn gave_up(&mut self, come_back_after: Option<Duration>, crowd: Crowd) {
        self.report.retry_after = come_back_after.or(self.report.retry_after);
        self.report.crowd = Some(crowd);
    }

    pub(super) fn attempt_begins(&mut self, runner: &RunnerId, attempt: u32) {
        let began = Instant::now();
        self.under_way = Some((runner.clone(), began));
        self.report.attempts = attempt;
        self.report.latency = began - self.began;
    }

    pub(super) fn refused(&mut self, refused: &Refused) {
        self.under_way = None;
        self.report.refusals = self.report.refusals.saturating_add(1);
        self.report.retry_after = [self.report.retry_after, refused.retry_after].into_iter().flatten().min();
        let counter = if refused.why.is_busy() { &self.handles.retry_busy } else { &self.handles.retry_error };
        counter.inc();
    }

    pub(super) fn explained(&mut self, course: Course) {
        if let Some(reason) = course.reason {
            self.metrics.decided(self.handles, reason);
        }
        self.report.account = course.account;
    }

    pub(super) fn placed(mut self, result: Result<http::Response<AnswerBody>, CallError>) -> PlacedResult {
        let counter = if result.is_ok() { &self.handles.placed_ok } else { &self.handles.placed_error };
        counter.inc();
        if let Some((runner, began)) = self.under_way.take() {
            self.report.committed = turn::now().saturating_duration_since(began);
            self.report.runner = Some(runner);
        }
        self.finish();
        Ok(result)
    }

    pub(super) fn not_placed(mut self, end: NotPlaced) -> PlacedResult {
        match &end {
            NotPlaced::PoolFault(_) => {
                self.report.crowd.get_or_insert(Crowd::NONE);
                self.handles.pool_error.inc();
            }
            NotPlaced::PoolError(_) => {
                self.handles.pool_error.inc();
                self.handles.timeout.inc();
            }
            NotPlaced::GaveUp(GaveUp::NoRunner | GaveUp::PlacerTimeout) => {
                self.handles.timeout.inc();
            }
            NotPlaced::GaveUp(GaveUp::DeadlineExceeded) => {
                self.handles.client_timeout.inc();
            }
            NotPlaced::GaveUp(GaveUp::QueueFull | GaveUp::DeadlineUnreachable) => {
                self.handles.overloaded.inc();
            }
            NotPlaced::GaveUp(GaveUp::Rejected) | NotPlaced::BodyGone => {}
        }
        self.report.not_placed = Some(end.as_str());
        self.span.fail(end.outcome().as_str());
        self.report.latency = self.began.elapsed();
        self.finish();
        Err(end)
    }

    fn finish(&mut self) {
        self.is_finished = true;
        self.handles.attempts.observe(f64::from(self.report.attempts));
        observe(&self.handles.latency, self.report.latency);
        if !self.report.waited.is_zero() {
            observe(&self.handles.waited, self.report.waited);
        }
        self.span.number("runpool.attempts", i64::from(self.report.attempts));
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.handles.client_cancelled.inc();
        if let Some((runner, _)) = self.under_way.take() {
            self.handles.placed_abort.inc();
            self.report.runner = Some(runner);
        } else {
            self.report.latency = self.began.elapsed();
        }
        self.span.fail("client_gone");
        self.finish();
    }
}
