//! The driver: gives the placing loop its events and does what it says. Thin and dull on purpose: what is decided, is decided in
//! [`super::placing_loop`] and in the placers.
//!
//! * [`Placement`] takes one call through: it asks the pool, tries runners, waits, counts.
//! * [`live`] holds a loop behind a short lock, wakes the calls it hands slots to, and tells it what the pool and the clock do.
//! * [`questions`] asks runners for room, for their load and for their state, when the loop wants it; [`kept`] is what is remembered for that.
//! * [`recorder`] writes events and steps down, when that is wanted.

mod account;
mod guard;
mod kept;
mod live;
mod questions;
mod recorder;
mod tally;
mod tasks;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use self::account::{Account, Accounts, Crowd};
use self::live::{LiveLoop, Next, Said};
use self::recorder::Recorder;
pub use self::recorder::{RecordHead, RecordLine};
pub use self::tally::Report;
use self::tally::Tally;
use super::config::{PlacementConfig, Times};
use super::event::{EndedHow, GaveUp, RefusedKind, StartKind};
use super::metrics::PlacementMetrics;
use super::not_placed::NotPlaced;
use super::placers::Placer;
use crate::model::{Call, CallKind, FunctionName, Outcome};
use crate::pool::{Evidence, Fault, PoolAnswer, PoolError, RunnerPool, Snapshot};
use crate::protocol::{RefusalReason, WorkerStart};
use crate::runner::http::AnswerFacts;
use crate::runner::{AnswerBody, Attempt, BodyEnd, CallBody, CallError, Refused, RefusedWhy, RunnerCall};
use crate::telemetry::trace::{SpanKind, Tracer};
use crate::telemetry::turn;

/// Places calls: one pool, and the strategies that the configuration names.
#[derive(Clone)]
pub struct Placement {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<dyn RunnerPool>,
    config: PlacementConfig,
    times: Times,
    placer: Option<MakePlacer>,
    /// What the strategy of one's own is called.
    custom_name: Option<&'static str>,
    metrics: Arc<PlacementMetrics>,
    tracer: Tracer,
    recorder: Option<Arc<Recorder>>,
    /// One loop for each lineage of snapshots; nearly always this is all of them.
    first: OnceLock<Arc<LiveLoop>>,
    /// Protects the list of the others, which changes when a lineage is first seen.
    others: Mutex<Vec<Arc<LiveLoop>>>,
}

/// Makes the placer of a loop: for strategies of one's own.
pub type MakePlacer = Arc<dyn Fn() -> Box<dyn Placer> + Send + Sync>;

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

/// How often a call may be lost on its way through runners before it is the call that breaks them.
const MOST_LOST: u32 = 2;

/// What an agent may take to kill a run whose time is over, and to free its slot.
const LONGEST_KILL: Duration = Duration::from_millis(500);

/// Lineages whose loops are kept although no call is in them, beside the first.
const KEPT_LOOPS: usize = 64;

impl Placement {
    /// Places calls onto `pool` by `config`.
    ///
    /// # Errors
    /// The file that is to be recorded to cannot be opened.
    pub fn new(
        pool: Arc<dyn RunnerPool>,
        config: &PlacementConfig,
        metrics: PlacementMetrics,
        tracer: Tracer,
    ) -> std::io::Result<Self> {
        Self::with_placer(pool, config, metrics, tracer, None)
    }

    /// The same, with a strategy of one's own for all functions.
    ///
    /// # Errors
    /// The file that is to be recorded to cannot be opened.
    pub fn with_placer(
        pool: Arc<dyn RunnerPool>,
        config: &PlacementConfig,
        metrics: PlacementMetrics,
        tracer: Tracer,
        placer: Option<MakePlacer>,
    ) -> std::io::Result<Self> {
        let recorder = config.record.as_deref().map(Recorder::open).transpose()?.map(Arc::new);
        let shared = Shared {
            pool,
            times: config.times(),
            config: config.clone(),
            custom_name: placer.as_ref().map(|make| make().name()),
            placer,
            metrics: Arc::new(metrics),
            tracer,
            recorder,
            first: OnceLock::new(),
            others: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The pool it places onto.
    pub fn pool(&self) -> &Arc<dyn RunnerPool> {
        &self.shared.pool
    }

    /// The name of a function's strategy.
    pub fn placer_name(&self, function: &FunctionName) -> &'static str {
        self.shared.custom_name.unwrap_or_else(|| self.shared.config.placer_of(function).as_str())
    }

    /// Begins the loop of a pool that gives every call the same runners, so that their agents are asked how they are before the first call
    /// comes. Without this the first call begins it. Must be called within a runtime.
    pub fn prepare(&self) {
        if let Some(snapshot) = self.shared.pool.current() {
            self.live(&snapshot);
        }
    }

    /// How many calls wait for a runner.
    pub fn waiting(&self) -> usize {
        self.shared.first.get().into_iter().chain(self.others().iter()).map(|live| live.waiting()).sum()
    }

    /// Places one call: blocks until it ran (to the head of its answer) or could not be placed.
    ///
    /// Dropping the future withdraws the call at once, during an attempt too: it is counted as cancelled by its client.
    pub async fn place(&self, call: &Call, body: &CallBody) -> Placed {
        let mut report = Report::default();
        let result = self.place_into(call, body, Accounts::All, &mut report).await;
        Placed { result, report }
    }

    /// The same, with the report where it is also there when the future was dropped, and an account of those calls only that are to have one.
    pub async fn place_into(&self, call: &Call, body: &CallBody, mut accounts: Accounts, report: &mut Report) -> PlacedResult {
        let shared = &*self.shared;
        let timeout = match call.kind {
            CallKind::Sync => shared.times.placer_timeout,
            CallKind::Detached => shared.times.detached_placer_timeout,
        };
        let began = turn::now();
        let until = Until { placer_timeout: began + timeout, deadline: call.deadline.map(Instant::from_std) };
        let mut tally = Tally::begin(&shared.metrics, call, self.placer_name(call.function.name()), &shared.tracer, report);
        let (live, mut pool_error) = match self.live_now() {
            // Nearly always. What a pool says beside its runners, it says only if it has none.
            Some(live) => (Cow::Borrowed(live), None),
            None => {
                let answer = match shared.pool.current() {
                    Some(snapshot) if !snapshot.is_empty() => PoolAnswer::ok(snapshot),
                    // On the heap, as it is rare and large.
                    _ => match Box::pin(self.runners(call, &until, &mut tally)).await {
                        Ok(answer) => {
                            // It may have waited, of which the loop knows nothing.
                            accounts = Accounts::All;
                            answer
                        }
                        Err(end) => return tally.not_placed(end),
                    },
                };
                (self.live(&answer.snapshot), answer.error)
            }
        };
        let mut lost = 0;
        let (guard, mut next) = LiveLoop::arrive(&live, &shared.config, call, &until, body.length().unwrap_or(0));
        loop {
            next = match next {
                Next::Try { runner, at, attempt, room } => {
                    tally.attempt_begins(&runner.id, attempt);
                    let mut span = shared.tracer.span("attempt", SpanKind::Client, tally.trace());
                    span.text("runpool.runner", runner.id.as_str());
                    span.number("runpool.attempt", i64::from(attempt));
                    let attempt = RunnerCall { call, body, attempt, room, trace: *span.context() };
                    let tried = runner.runner.try_exec(attempt).await;
                    if let Some(evidence) = Evidence::of(&tried) {
                        shared.pool.note(&runner, evidence);
                    }
                    match tried {
                        Attempt::Committed(Ok(answer)) => {
                            let facts = answer.extensions().get::<AnswerFacts>();
                            let is_of_agent = facts.is_some_and(|facts| facts.load.is_some());
                            // An agent answers when the function has started: its slot stays taken.
                            let runs_on = call.kind == CallKind::Detached && is_of_agent;
                            if answer.body().is_there() && !runs_on {
                                tally.explained(guard.answered(at, start_of(facts), said_of(facts), accounts));
                                return tally.placed(Ok(answer));
                            }
                            let is_limited = is_of_agent && !runs_on;
                            let runs_until = is_limited.then(|| turn::now() + call.function.spec.timeout + LONGEST_KILL);
                            tally.explained(guard.committed(at, start_of(facts), runs_until, said_of(facts), accounts));
                            let guard = guard.into_owned();
                            let ends = move |end| match end {
                                BodyEnd::Complete | BodyEnd::Dropped if runs_on => guard.ended(at, EndedHow::RunsOn),
                                BodyEnd::Complete => guard.ended(at, EndedHow::Ok),
                                BodyEnd::Broken => guard.ended(at, EndedHow::Failed),
                                BodyEnd::Dropped => guard.ended(at, EndedHow::Withdrawn),
                            };
                            return tally.placed(Ok(answer.map(|body| body.at_end(ends))));
                        }
                        Attempt::Committed(Err(error)) if lost < MOST_LOST && may_run_again(&error, call, body) => {
                            // Nobody knows whether it ran, and it was declared that this does not matter.
                            lost += 1;
                            span.fail(&error.detail);
                            tracing::debug!(call = %call.id, runner = %runner.id, error = %error.detail, "lost, and tried again");
                            let why = Refused::new(RefusedWhy::Unreachable(error.detail));
                            tally.refused(&why);
                            guard.refused(at, RefusedKind::Unreachable, None, Said::default())
                        }
                        Attempt::Committed(Err(error)) => {
                            span.fail(&error.detail);
                            let facts = error.facts.as_deref();
                            let how = match error.outcome {
                                Outcome::ClientGone | Outcome::BodyTooLarge => EndedHow::Withdrawn,
                                _ => EndedHow::Failed,
                            };
                            // Who answers that the call failed has taken it.
                            let committed =
                                facts.map(|_| guard.committed(at, start_of(facts), None, said_of(facts), Accounts::All));
                            let ended = guard.failed(at, how, Said::default());
                            tally.explained(committed.unwrap_or_default().or(ended));
                            return tally.placed(Err(error));
                        }
                        Attempt::Refused(refused) => {
                            span.text("runpool.refused", refused.why.as_str());
                            tally.refused(&refused);
                            tracing::debug!(call = %call.id, runner = %runner.id, why = %refused.why, "refused");
                            let said = Said { load: refused.load, lost: refused.lost };
                            let next = guard.refused(at, refused_kind(&refused.why), refused.retry_after, said);
                            if !body.is_replayable() {
                                return tally.not_placed(NotPlaced::BodyGone);
                            }
                            next
                        }
                    }
                }
                Next::Wait(woken) => {
                    let waiting = Instant::now();
                    // On the heap, as it is large, and a call that waits has time for it.
                    let next = Box::pin(self.wait(call, &live, woken, &mut pool_error)).await;
                    tally.waited(waiting.elapsed());
                    match next {
                        Ok(next) => next,
                        Err(end) => return tally.not_placed(end),
                    }
                }
                Next::GiveUp(why, retry_after, crowd) => {
                    tally.gave_up(retry_after, crowd);
                    let end = match (why, &pool_error) {
                        (GaveUp::PlacerTimeout | GaveUp::NoRunner, Some(error)) => NotPlaced::PoolError(error.clone()),
                        _ => why.into(),
                    };
                    return tally.not_placed(end);
                }
            };
        }
    }

    /// The runners for a call; waits while there are none, unless that is the user's fault.
    async fn runners(&self, call: &Call, until: &Until, tally: &mut Tally<'_>) -> Result<PoolAnswer, NotPlaced> {
        let pool = &self.shared.pool;
        let mut pause = Pause::new(self.shared.times.retry_all_delay);
        let mut changes = None;
        let mut is_subscribed = false;
        loop {
            let answer = pool.runners(call).await;
            if !answer.snapshot.is_empty() {
                tally.pool_was_filled();
                return Ok(answer);
            }
            if !std::mem::replace(&mut is_subscribed, true) {
                changes = pool.changes();
                if changes.is_some() {
                    // What changed between the answer and this is seen by asking again.
                    continue;
                }
            }
            tally.pool_was_empty();
            if let Some(error) = &answer.error
                && error.fault == Fault::User
            {
                return Err(NotPlaced::PoolFault(error.clone()));
            }
            let now = Instant::now();
            if until.deadline.is_some_and(|deadline| deadline <= now) {
                return Err(GaveUp::DeadlineExceeded.into());
            }
            if until.placer_timeout <= now {
                return Err(answer.error.map_or(GaveUp::NoRunner.into(), NotPlaced::PoolError));
            }
            let next = (now + pause.next()).min(until.placer_timeout).min(until.deadline.unwrap_or(until.placer_timeout));
            match &mut changes {
                Some(told) => {
                    if let Ok(Err(_)) = tokio::time::timeout_at(until.end(), told.changed()).await {
                        changes = None;
                    }
                }
                None => tokio::time::sleep_until(next).await,
            }
            tally.waited(now.elapsed());
        }
    }

    /// Waits for the loop's next word. A pool that does not tell when it changes is asked again meanwhile.
    async fn wait(
        &self,
        call: &Call,
        live: &Arc<LiveLoop>,
        woken: live::Woken,
        pool_error: &mut Option<PoolError>,
    ) -> Result<Next, NotPlaced> {
        if live.is_told_of_changes() {
            return Ok(woken.await);
        }
        let mut woken = std::pin::pin!(woken);
        let mut pause = Pause::new(self.shared.times.retry_all_delay);
        loop {
            tokio::select! {
                next = &mut woken => return Ok(next),
                () = tokio::time::sleep(pause.next()) => {
                    let answer = self.shared.pool.runners(call).await;
                    if answer.snapshot.is_empty()
                        && let Some(error) = &answer.error
                        && error.fault == Fault::User
                    {
                        return Err(NotPlaced::PoolFault(error.clone()));
                    }
                    *pool_error = answer.error;
                    // Another lineage is another set of runners: the call stays with the one it waits for.
                    if answer.snapshot.lineage() == live.lineage() {
                        live.follow(&answer.snapshot);
                    }
                }
            }
        }
    }

    /// The loop that a call joins at once: the only one, if it knows the newest runners of a pool that has some.
    fn live_now(&self) -> Option<&Arc<LiveLoop>> {
        let (lineage, version) = self.shared.pool.newest()?;
        self.shared.first.get().filter(|live| live.lineage() == lineage && live.knows(version))
    }

    /// The loop of a snapshot's lineage, told of the snapshot.
    fn live(&self, snapshot: &Arc<Snapshot>) -> Cow<'_, Arc<LiveLoop>> {
        let is_its = |live: &&Arc<LiveLoop>| live.lineage() == snapshot.lineage();
        let live = match self.shared.first.get().filter(is_its) {
            Some(first) => Cow::Borrowed(first),
            None => {
                let known = self.others().iter().find(is_its).cloned();
                Cow::Owned(known.unwrap_or_else(|| self.begin_loop(snapshot)))
            }
        };
        live.follow(snapshot);
        live
    }

    fn begin_loop(&self, snapshot: &Arc<Snapshot>) -> Arc<LiveLoop> {
        let shared = &*self.shared;
        let mut others = self.others();
        // Somebody may have been faster.
        if let Some(live) = shared.first.get().into_iter().chain(others.iter()).find(|live| live.lineage() == snapshot.lineage())
        {
            return Arc::clone(live);
        }
        if others.len() >= KEPT_LOOPS {
            others.retain(|live| Arc::strong_count(live) > 1);
        }
        let placer = shared.placer.as_ref().map(|make| make());
        let live = LiveLoop::begin(
            &shared.config,
            placer,
            Arc::clone(&shared.pool),
            snapshot,
            Arc::clone(&shared.metrics),
            shared.recorder.clone(),
        );
        if let Err(other) = shared.first.set(Arc::clone(&live)) {
            others.push(other);
        }
        live
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Vec<Arc<LiveLoop>>> {
        self.shared.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When placing a call ends.
#[derive(Clone, Copy, Debug)]
struct Until {
    placer_timeout: Instant,
    deadline: Option<Instant>,
}

impl Until {
    fn end(&self) -> Instant {
        self.deadline.map_or(self.placer_timeout, |deadline| deadline.min(self.placer_timeout))
    }
}

/// Pauses between two questions to a pool that does not tell when it changes: longer and longer, up to a hundred times the first.
struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    fn new(first: Duration) -> Self {
        Self { next: first, longest: (first * 100).min(Duration::from_secs(1)).max(first) }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

/// Whether a call whose connection was lost before an answer may be given to another runner: only if its function says so, somebody waits for it, and its body
/// is still there (RFC 9110 section 9.2.2).
fn may_run_again(error: &CallError, call: &Call, body: &CallBody) -> bool {
    error.outcome == Outcome::RunnerReset
        && call.kind == CallKind::Sync
        && call.function.spec.idempotent.allows(&call.head.method)
        && body.is_replayable()
}

fn start_of(facts: Option<&AnswerFacts>) -> StartKind {
    match facts.and_then(|facts| facts.start) {
        Some(WorkerStart::Warm) => StartKind::Warm,
        Some(WorkerStart::Cold(took)) => StartKind::Cold(took),
        None => StartKind::Unknown,
    }
}

fn said_of(facts: Option<&AnswerFacts>) -> Said {
    facts.map_or_else(Said::default, |facts| Said { load: facts.load, lost: facts.lost.clone() })
}

const fn refused_kind(why: &RefusedWhy) -> RefusedKind {
    match why {
        RefusedWhy::Agent(RefusalReason::Busy) => RefusedKind::Busy,
        RefusedWhy::Agent(RefusalReason::FunctionBusy) => RefusedKind::FunctionBusy,
        RefusedWhy::Agent(RefusalReason::Memory) => RefusedKind::Memory,
        RefusedWhy::Agent(RefusalReason::Draining) => RefusedKind::Draining,
        RefusedWhy::Agent(RefusalReason::Starting | RefusalReason::UnknownFunction) => RefusedKind::Starting,
        RefusedWhy::Status(_) => RefusedKind::Status,
        RefusedWhy::Unreachable(_) => RefusedKind::Unreachable,
        RefusedWhy::Closed => RefusedKind::Closed,
    }
}
