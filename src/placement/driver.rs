//! The driver of the placing loop: asks the pool, tries runners, sleeps, counts. Thin and dull on purpose; what is decided, is decided
//! in [`super::placing`] and in the placer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::metrics::{Handles, PlacementMetrics};
use super::placer::{Placer, PlacerEvent};
use super::placing::{Action, NotPlaced, Placing, Rules};
use crate::model::{Call, RunnerId};
use crate::pool::{RunnerPlace, RunnerPool, Snapshot};
use crate::runner::{AnswerBody, Attempt, CallBody, CallError, RunnerCall};
use crate::telemetry::metrics::observe;
use crate::telemetry::trace::{Span, SpanKind, Tracer};

/// Places calls: one pool, one strategy.
#[derive(Clone)]
pub struct Placement {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<dyn RunnerPool>,
    placer: Arc<dyn Placer>,
    rules: Rules,
    metrics: PlacementMetrics,
    tracer: Tracer,
    /// The newest snapshot that the placer was told of.
    prepared_version: AtomicU64,
}

/// How a placement ended, and what it took.
#[derive(Debug)]
pub struct Placed {
    /// How it ended.
    pub result: PlacedResult,
    /// What it took.
    pub report: Report,
}

/// The answer or the call's error, if a runner took the call; why not, if none did.
pub type PlacedResult = Result<Result<http::Response<AnswerBody>, CallError>, NotPlaced>;

/// What a placement took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The runner that took the call, or was about to when the client went away.
    pub runner: Option<RunnerId>,
    /// Attempts, the committed one included.
    pub attempts: u32,
    /// Those of them that were refused.
    pub refusals: u32,
    /// Time spent waiting because everybody had refused, or nobody was there.
    pub waited: Duration,
    /// From the start to the last attempt, or to the end if not placed.
    pub latency: Duration,
    /// The length of the committed attempt, until the head of its answer.
    pub committed: Duration,
    /// The shortest time after which a runner that refused asked to be tried again.
    pub retry_after: Option<Duration>,
}

impl Placement {
    /// Places calls onto `pool` by `placer`.
    pub fn new(
        pool: Arc<dyn RunnerPool>,
        placer: Arc<dyn Placer>,
        rules: Rules,
        metrics: PlacementMetrics,
        tracer: Tracer,
    ) -> Self {
        let prepared_version = AtomicU64::new(0);
        Self { shared: Arc::new(Shared { pool, placer, rules, metrics, tracer, prepared_version }) }
    }

    /// The pool it places onto.
    pub fn pool(&self) -> &Arc<dyn RunnerPool> {
        &self.shared.pool
    }

    /// The name of the strategy.
    pub fn placer_name(&self) -> &'static str {
        self.shared.placer.name()
    }

    /// Tells the placer of a snapshot before calls meet it, so that the first of them finds it prepared. May take long for a large
    /// pool: call it off the request path.
    pub fn prepare(&self, snapshot: &Snapshot) {
        self.shared.prepared_version.fetch_max(snapshot.version(), Ordering::AcqRel);
        self.shared.placer.observe(PlacerEvent::PoolChanged(snapshot));
    }

    /// Places one call: blocks until it ran (to the head of its answer) or could not be placed.
    ///
    /// Dropping the future withdraws the call at once, during an attempt too: it is counted as cancelled by its client.
    pub async fn place(&self, call: &Call, body: &CallBody) -> Placed {
        let mut report = Report::default();
        let result = self.place_into(call, body, &mut report).await;
        Placed { result, report }
    }

    /// The same, with the report where it is also there when the future was dropped.
    pub async fn place_into(&self, call: &Call, body: &CallBody, report: &mut Report) -> PlacedResult {
        *report = Report::default();
        let shared = &*self.shared;
        let began = now();
        let mut tally = Tally {
            handles: shared.metrics.handles(call.function.name(), shared.placer.name()),
            span: shared.tracer.span("placement", SpanKind::Internal, &call.trace),
            began,
            under_way: None,
            report,
            is_finished: false,
        };
        let mut placing = Placing::new(call, &*shared.placer, &shared.rules, began, rand::random());
        loop {
            match placing.next(now()) {
                Action::AskPool => {
                    let answer = shared.pool.runners(call).await;
                    if answer.snapshot.is_empty() {
                        tally.handles.pool_empty.inc();
                    }
                    self.prepare_in_background(&answer.snapshot);
                    placing.pool_answered(answer, now());
                }
                Action::Try(position) => {
                    let Some(snapshot) = placing.snapshot().map(Arc::clone) else { continue };
                    let Some(member) = snapshot.get(RunnerPlace(position)) else { continue };
                    tally.attempt_begins(&member.id);
                    let mut span = shared.tracer.span("attempt", SpanKind::Client, tally.span.context());
                    span.text("runpool.runner", member.id.as_str());
                    span.number("runpool.attempt", i64::from(tally.report.attempts));
                    let attempt = RunnerCall { call, body, attempt: tally.report.attempts, trace: *span.context() };
                    match member.runner.try_exec(attempt).await {
                        Attempt::Committed(result) => {
                            if let Err(error) = &result {
                                span.fail(&error.detail);
                            }
                            return tally.placed(result);
                        }
                        Attempt::Refused(refused) => {
                            tally.under_way = None;
                            tally.report.refusals = tally.report.refusals.saturating_add(1);
                            tally.report.retry_after =
                                [tally.report.retry_after, refused.retry_after].into_iter().flatten().min();
                            span.text("runpool.refused", refused.why.as_str());
                            let counter =
                                if refused.why.is_busy() { &tally.handles.retry_busy } else { &tally.handles.retry_error };
                            counter.inc();
                            tracing::debug!(call = %call.id, runner = %member.id, attempt = tally.report.attempts, why = %refused.why, "refused");
                            placing.refused(body.is_replayable());
                        }
                    }
                }
                Action::Wait(until) => {
                    let waiting = now();
                    tokio::time::sleep_until(until.into()).await;
                    tally.report.waited += now().saturating_duration_since(waiting);
                }
                Action::End(end) => return tally.not_placed(end),
            }
        }
    }

    /// Tells the placer of a snapshot that it has not seen, once, off the request path.
    fn prepare_in_background(&self, snapshot: &Arc<Snapshot>) {
        let version = snapshot.version();
        let prepared = &self.shared.prepared_version;
        if version <= prepared.load(Ordering::Acquire) || prepared.fetch_max(version, Ordering::AcqRel) >= version {
            return;
        }
        let (shared, snapshot) = (Arc::clone(&self.shared), Arc::clone(snapshot));
        // Not waited for: it only fills a cache, and ends by itself.
        tokio::task::spawn_blocking(move || shared.placer.observe(PlacerEvent::PoolChanged(&snapshot)));
    }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Counts one placement; when dropped before its end, as cancelled.
struct Tally<'a> {
    handles: Arc<Handles>,
    span: Span,
    began: Instant,
    /// Where the attempt that is under way is made, and when it began.
    under_way: Option<(RunnerId, Instant)>,
    report: &'a mut Report,
    is_finished: bool,
}

impl Tally<'_> {
    fn attempt_begins(&mut self, runner: &RunnerId) {
        let began = now();
        self.under_way = Some((runner.clone(), began));
        self.report.attempts = self.report.attempts.saturating_add(1);
        self.report.latency = began.saturating_duration_since(self.began);
    }

    fn placed(mut self, result: Result<http::Response<AnswerBody>, CallError>) -> PlacedResult {
        let counter = if result.is_ok() { &self.handles.placed_ok } else { &self.handles.placed_error };
        counter.inc();
        if let Some((runner, began)) = self.under_way.take() {
            self.report.committed = now().saturating_duration_since(began);
            self.report.runner = Some(runner);
        }
        self.finish();
        Ok(result)
    }

    fn not_placed(mut self, end: NotPlaced) -> PlacedResult {
        match &end {
            NotPlaced::PoolFault(_) => {
                self.handles.pool_error.inc();
            }
            NotPlaced::PoolError(_) => {
                self.handles.pool_error.inc();
                self.handles.timeout.inc();
            }
            NotPlaced::NoRunner | NotPlaced::PlacerTimeout => {
                self.handles.timeout.inc();
            }
            NotPlaced::DeadlineExceeded => {
                self.handles.client_timeout.inc();
            }
            NotPlaced::Rejected | NotPlaced::BodyGone => {}
        }
        self.span.fail(end.outcome().as_str());
        self.report.latency = now().saturating_duration_since(self.began);
        self.finish();
        Err(end)
    }

    fn finish(&mut self) {
        self.is_finished = true;
        self.handles.attempts.observe(f64::from(self.report.attempts));
        observe(&self.handles.latency, self.report.latency);
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
            self.report.latency = now().saturating_duration_since(self.began);
        }
        self.span.fail("client_gone");
        self.finish();
    }
}
