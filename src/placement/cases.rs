//! The ancestor's acceptance cases for placers and the balancer's agent, under their own names, for every placer of this floor.
//!
//! Time is paused: a timeout of half a second passes when everything waits, and counts are exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Accounts, GaveUp, NotPlaced, Placed, Placement, PlacementConfig, PlacementMetrics, PlacerChoice, Report};
use crate::model::{
    Call, CallHead, CallId, CallKind, Function, FunctionSpec, HopFields, Idempotent, Intent, Outcome, RunnerId, TraceContext,
};
use crate::pool::{Fault, Member, PoolAnswer, PoolError, RunnerPool, Snapshot, SnapshotPool};
use crate::protocol::{AgentStatus, RefusalReason};
use crate::runner::{AnswerBody, Attempt, CallBody, CallError, Refused, RefusedWhy, Runner, RunnerCall, StatusError};
use crate::telemetry::metrics::{Metrics, MetricsConfig};
use crate::telemetry::trace::Tracer;

// === test doubles ===

/// A runner with so many slots, whose calls take so long; without slots it refuses always.
#[derive(Debug)]
struct Slots {
    address: String,
    slots: Semaphore,
    run: Duration,
    tried: AtomicU32,
}

impl Slots {
    fn new(address: &str, slots: usize, run: Duration) -> Arc<Self> {
        Arc::new(Self { address: address.into(), slots: Semaphore::new(slots), run, tried: AtomicU32::new(0) })
    }

    fn full(address: &str) -> Arc<Self> {
        Self::new(address, 0, Duration::ZERO)
    }

    fn tried(&self) -> u32 {
        self.tried.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Runner for Slots {
    async fn try_exec(&self, _call: RunnerCall<'_>) -> Attempt {
        self.tried.fetch_add(1, Ordering::Relaxed);
        match self.slots.try_acquire() {
            Ok(_slot) => {
                tokio::time::sleep(self.run).await;
                Attempt::Committed(Ok(http::Response::new(AnswerBody::full(self.address.clone()))))
            }
            Err(_) => Attempt::Refused(Refused::new(RefusedWhy::Agent(RefusalReason::Busy))),
        }
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        Err(StatusError::Unsupported { address: self.address.clone() })
    }

    async fn close(&self) {}

    fn address(&self) -> &str {
        &self.address
    }
}

/// A pool that counts how often it was asked, and answers by the number of the question, from 1.
struct Asked<F> {
    asked: AtomicU32,
    answer: F,
}

impl<F: Fn(u32) -> PoolAnswer> Asked<F> {
    fn new(answer: F) -> Arc<Self> {
        Arc::new(Self { asked: AtomicU32::new(0), answer })
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl<F: Fn(u32) -> PoolAnswer + Send + Sync> RunnerPool for Asked<F> {
    async fn runners(&self, _call: &Call) -> PoolAnswer {
        (self.answer)(self.asked.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn shutdown(&self) -> Result<(), PoolError> {
        Ok(())
    }
}

fn error(fault: Fault) -> PoolError {
    PoolError { fault, detail: "the pool's own words".into() }
}

fn empty(error: Option<PoolError>) -> PoolAnswer {
    PoolAnswer { snapshot: Arc::new(Snapshot::empty()), error }
}

fn list(runners: &[Arc<Slots>]) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(members(runners)).unwrap())
}

fn members(runners: &[Arc<Slots>]) -> Vec<Member> {
    runners.iter().map(|runner| Member::new(Arc::clone(runner) as Arc<dyn Runner>)).collect()
}

const PLACER_TIMEOUT: Duration = Duration::from_millis(500);
const DETACHED_PLACER_TIMEOUT: Duration = Duration::from_millis(300);

fn config(placer: PlacerChoice) -> PlacementConfig {
    PlacementConfig {
        placer,
        retry_all_delay: Duration::from_millis(10),
        placer_timeout: PLACER_TIMEOUT,
        detached_placer_timeout: DETACHED_PLACER_TIMEOUT,
        ..PlacementConfig::default()
    }
}

fn placement(choice: PlacerChoice, pool: Arc<dyn RunnerPool>) -> Placement {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    Placement::new(pool, &config(choice), PlacementMetrics::declare(&mut metrics), Tracer::disabled()).unwrap()
}

fn call() -> Call {
    named_call("f")
}

fn named_call(name: &str) -> Call {
    Call {
        id: CallId::from_parts(1, 1),
        function: Arc::new(Function::new(FunctionSpec::named(name.parse().unwrap()))),
        kind: CallKind::Sync,
        intent: Intent::Invoke,
        head: CallHead {
            method: http::Method::POST,
            rest: String::new(),
            original_target: "/invoke/f".parse().unwrap(),
            authority: None,
            headers: http::HeaderMap::new(),
            hop: HopFields::default(),
            upgrade: None,
        },
        deadline: None,
        hint: None,
        trace: TraceContext { trace_id: [1; 16], span_id: [1; 8], is_sampled: false },
    }
}

async fn place(placement: &Placement, call: &Call) -> Placed {
    let mut placed = placement.place(call, &CallBody::empty()).await;
    // A slot is held until the answer was read.
    if let Ok(Ok(answer)) = &mut placed.result {
        std::mem::replace(answer.body_mut(), AnswerBody::empty()).collect_bytes().await.unwrap();
    }
    placed
}

/// Runs a case once for each placer, each time under a paused clock of its own.
fn for_every_placer<F: Future<Output = ()>>(case: impl Fn(PlacerChoice) -> F) {
    for choice in PlacerChoice::ALL {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case(choice));
    }
}

// === runner pool and placer, cases 1 to 5 ===

#[test]
fn case_1_empty_list_user_error() {
    for_every_placer(|choice| async move {
        let pool = Asked::new(|_| empty(Some(error(Fault::User))));
        let began = Instant::now();
        let placed = place(&placement(choice, pool.clone()), &call()).await;
        assert_eq!(placed.result.unwrap_err(), NotPlaced::PoolFault(error(Fault::User)));
        assert_eq!((placed.report.not_placed, placed.report.crowd.map(|crowd| crowd.runners)), (Some("pool-fault"), Some(0)));
        assert_eq!((pool.asked(), began.elapsed()), (1, Duration::ZERO));
    });
}

#[test]
fn case_2_empty_list_no_error() {
    for_every_placer(|choice| async move {
        let pool = Asked::new(|_| empty(None));
        let began = Instant::now();
        let placed = place(&placement(choice, pool.clone()), &call()).await;
        let end = placed.result.unwrap_err();
        assert_eq!((end.outcome(), end.outcome().status().as_u16()), (Outcome::NoRunner, 503));
        assert_eq!(began.elapsed(), PLACER_TIMEOUT);
        assert!(pool.asked() > 1, "asked {} times", pool.asked());
    });
}

#[test]
fn case_3_empty_list_with_service_error() {
    for_every_placer(|choice| async move {
        let pool = Asked::new(|_| empty(Some(error(Fault::Service))));
        let began = Instant::now();
        let placed = place(&placement(choice, pool.clone()), &call()).await;
        assert_eq!(placed.result.unwrap_err(), NotPlaced::PoolError(error(Fault::Service)));
        assert_eq!(began.elapsed(), PLACER_TIMEOUT);
        assert!(pool.asked() > 1);
    });
}

#[test]
fn case_4_simple_list_user_error() {
    for_every_placer(|choice| async move {
        let runners = [Slots::full("a:1"), Slots::full("b:1")];
        let snapshot = list(&runners);
        let pool = Asked::new(move |question| match question {
            1 | 2 => PoolAnswer::ok(Arc::clone(&snapshot)),
            _ => empty(Some(error(Fault::User))),
        });
        let placed = place(&placement(choice, pool.clone()), &call()).await;
        assert_eq!(placed.result.unwrap_err(), NotPlaced::PoolFault(error(Fault::User)));
        assert_eq!(pool.asked(), 3);
        assert!(runners.iter().all(|runner| (1..=3).contains(&runner.tried())));
    });
}

#[test]
fn case_5_simple_list_no_error() {
    for_every_placer(|choice| async move {
        let runners = [Slots::full("a:1"), Slots::full("b:1")];
        let pool = Arc::new(SnapshotPool::new(members(&runners)).unwrap());
        let placed = place(&placement(choice, pool), &call()).await;
        let end = placed.result.unwrap_err();
        assert_eq!((end.outcome(), end.outcome().status().as_u16()), (Outcome::PlacerTimeout, 503));
        // They tell nothing: each is tried again after pauses that grow, and never by polling.
        for runner in &runners {
            assert!((2..=20).contains(&runner.tried()), "tried {} times", runner.tried());
        }
        assert_eq!(placed.report.attempts, runners[0].tried() + runners[1].tried());
    });
}

// === the balancer's agent, cases 6 to 9 ===

#[test]
fn case_6_one_runner() {
    for_every_placer(|choice| async move {
        let runner = Slots::new("a:1", 1, Duration::from_millis(10));
        let pool = Arc::new(SnapshotPool::new(members(&[runner])).unwrap());
        let placed = place(&placement(choice, pool), &call()).await;
        assert!(placed.result.unwrap().is_ok());
        assert_eq!(placed.report.runner, Some(RunnerId::new("a:1")));
        assert_eq!((placed.report.attempts, placed.report.latency), (1, Duration::ZERO));
    });
}

#[test]
fn case_7_enforce_timeout_from_context() {
    for_every_placer(|choice| async move {
        let runner = Slots::new("a:1", 1, Duration::ZERO);
        let pool = Arc::new(SnapshotPool::new(members(std::slice::from_ref(&runner))).unwrap());
        let late = Call { deadline: Some(Instant::now().into_std()), ..call() };
        let placed = place(&placement(choice, pool), &late).await;
        assert_eq!(placed.result.unwrap_err(), NotPlaced::GaveUp(GaveUp::DeadlineExceeded));
        assert_eq!(runner.tried(), 0);
    });
}

#[test]
fn case_8_detached_placer_timeout() {
    for_every_placer(|choice| async move {
        let pool = Arc::new(SnapshotPool::new(members(&[Slots::full("a:1")])).unwrap());
        let detached = Call { kind: CallKind::Detached, ..call() };
        let began = Instant::now();
        let placed = place(&placement(choice, pool), &detached).await;
        assert_eq!(placed.result.unwrap_err(), NotPlaced::GaveUp(GaveUp::PlacerTimeout));
        assert_eq!(began.elapsed(), DETACHED_PLACER_TIMEOUT);
    });
}

#[test]
fn case_9_enforce_lb_timeout() {
    for_every_placer(|choice| async move {
        let run = Duration::from_millis(10);
        let pool = Arc::new(SnapshotPool::new(members(&[Slots::new("a:1", 1, run), Slots::new("b:1", 1, run)])).unwrap());
        let placement = placement(choice, pool);
        let deadline = Some((Instant::now() + run).into_std());
        let calls: Vec<Call> = (0..5).map(|_| Call { deadline, ..call() }).collect();
        let ended = futures_util::future::join_all(calls.iter().map(|call| place(&placement, call))).await;
        let failed =
            ended.iter().filter(|placed| matches!(placed.result, Err(NotPlaced::GaveUp(GaveUp::DeadlineExceeded)))).count();
        assert_eq!(failed, 3, "two slots, five calls, no time for a second turn");
    });
}

// === static pool, cases 12 and 13 (with runners that nobody can reach: see the runner floor) ===

#[test]
fn case_13_empty_pool() {
    for_every_placer(|choice| async move {
        let pool = Arc::new(SnapshotPool::new(Vec::new()).unwrap());
        assert!(pool.snapshot().is_empty());
        let placed = place(&placement(choice, pool.clone()), &call()).await;
        assert_eq!(placed.result.unwrap_err(), NotPlaced::GaveUp(GaveUp::NoRunner));
        let against = placed.report.crowd.map(|crowd| (crowd.runners, crowd.with_room, crowd.waiting));
        assert_eq!((placed.report.not_placed, against), (Some("no-runner"), Some((0, 0, 0))), "told as any other");
        assert_eq!(pool.shutdown().await, Ok(()));
    });
}

// === what the ancestor does worse ===

/// A runner that takes calls and loses them.
#[derive(Debug)]
struct Loses {
    name: String,
    taken: AtomicU32,
}

impl Loses {
    fn named(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), taken: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Runner for Loses {
    async fn try_exec(&self, _call: RunnerCall<'_>) -> Attempt {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Attempt::Committed(Err(CallError::new(Outcome::RunnerReset, "lost")))
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        Err(StatusError::Unsupported { address: self.name.clone() })
    }

    async fn close(&self) {}

    fn address(&self) -> &str {
        &self.name
    }
}

#[test]
fn a_committed_attempt_is_never_followed_by_another_whatever_its_result() {
    for_every_placer(|choice| async move {
        let loses = Loses::named("a:1");
        let other = Slots::full("b:1");
        let mut both = members(std::slice::from_ref(&other));
        both.push(Member::new(loses.clone()));
        let placed = place(&placement(choice, Arc::new(SnapshotPool::new(both).unwrap())), &call()).await;
        assert_eq!(placed.result.unwrap().unwrap_err().outcome, Outcome::RunnerReset);
        assert_eq!(loses.taken.load(Ordering::Relaxed), 1);
        assert!(other.tried() <= 1);
    });
}

/// P1: only what was declared idempotent runs again, and not without end: a call that breaks every runner it meets breaks three.
#[test]
fn a_lost_call_that_may_run_twice_goes_on_to_three_runners_and_no_further() {
    for_every_placer(|choice| async move {
        let runners: Vec<_> = (0..6).map(|number| Loses::named(&format!("r{number}:1"))).collect();
        let taken = || runners.iter().map(|runner| runner.taken.load(Ordering::Relaxed)).sum::<u32>();
        let pool = || {
            let members = runners.iter().map(|runner| Member::new(Arc::clone(runner) as Arc<dyn Runner>)).collect();
            Arc::new(SnapshotPool::new(members).unwrap())
        };
        let declared = |idempotent, method| {
            let call = call();
            let spec = FunctionSpec { idempotent, ..call.function.spec.clone() };
            let head = CallHead { method, ..call.head.clone() };
            Call { function: Arc::new(Function::new(spec)), head, ..call }
        };
        for (idempotent, method, attempts) in [
            (Idempotent::Never, Method::GET, 1),
            (Idempotent::ByMethod, Method::POST, 1),
            (Idempotent::ByMethod, Method::GET, 3),
            (Idempotent::Always, Method::POST, 3),
        ] {
            let before = taken();
            let placed = place(&placement(choice, pool()), &declared(idempotent, method)).await;
            assert_eq!(placed.result.unwrap().unwrap_err().outcome, Outcome::RunnerReset);
            assert_eq!((taken() - before, placed.report.attempts), (attempts, attempts), "{choice:?} {idempotent:?}");
        }
        let detached = Call { kind: CallKind::Detached, ..declared(Idempotent::Always, Method::POST) };
        let before = taken();
        assert!(place(&placement(choice, pool()), &detached).await.result.unwrap().is_err());
        assert_eq!(taken() - before, 1, "nobody waits for it: its own life decides what becomes of it");
    });
}

/// To say why a call went where it went costs as much as to decide it.
#[test]
fn only_what_did_not_go_smoothly_has_an_account_where_those_are_wanted() {
    for_every_placer(|choice| async move {
        let runners = [Slots::new("a:1", 3, Duration::ZERO)];
        let (full, filled) = (Slots::full("b:1"), list(&runners));
        let place = async |pool: Arc<dyn RunnerPool>, accounts| {
            let (call, body, mut report) = (call(), CallBody::empty(), Report::default());
            let placed = placement(choice, pool).place_into(&call, &body, accounts, &mut report).await;
            assert!(placed.unwrap().is_ok());
            report
        };
        let smooth = || Arc::new(SnapshotPool::new(members(&runners)).unwrap());
        assert!(place(smooth(), Accounts::All).await.account.is_some());
        assert!(place(smooth(), Accounts::Unusual).await.account.is_none());
        // It waits where no loop sees it.
        let late = Asked::new(move |question| if question == 1 { empty(None) } else { PoolAnswer::ok(Arc::clone(&filled)) });
        let waited = place(late, Accounts::Unusual).await;
        assert!(!waited.waited.is_zero() && waited.account.is_some());
        let refused =
            place(Arc::new(SnapshotPool::new(members(&[full, Arc::clone(&runners[0])])).unwrap()), Accounts::Unusual).await;
        assert_eq!(refused.account.is_some(), refused.refusals > 0);
    });
}

/// Fn counts a client that leaves while its call waits as `server_busy`.
#[test]
fn a_client_that_leaves_is_counted_as_such_and_frees_its_attempt_at_once() {
    for_every_placer(|choice| async move {
        let mut metrics = Metrics::new(&MetricsConfig::default());
        let declared = PlacementMetrics::declare(&mut metrics);
        let runner = Slots::new("a:1", 1, Duration::from_secs(3_600));
        let pool = Arc::new(SnapshotPool::new(members(std::slice::from_ref(&runner))).unwrap());
        let placement = Placement::new(pool, &config(choice), declared, Tracer::disabled()).unwrap();
        let call = call();
        let (body, mut report) = (CallBody::empty(), Report::default());
        let left =
            tokio::time::timeout(Duration::from_secs(1), placement.place_into(&call, &body, Accounts::All, &mut report)).await;
        assert!(left.is_err());
        assert_eq!((report.attempts, report.refusals), (1, 0), "what it took is known all the same");
        assert_eq!(report.runner, Some(RunnerId::new("a:1")));
        assert_eq!(runner.slots.available_permits(), 1, "the attempt was withdrawn");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, metrics.registry()).unwrap();
        let value = |name: &str| {
            text.lines().find(|line| line.starts_with(name)).and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        assert_eq!(value("lb_placer_client_cancelled_total").as_deref(), Some("1"));
        assert_eq!(value("lb_placer_placed_abort_total").as_deref(), Some("1"));
        assert_eq!(value("lb_placer_timeout_total").as_deref(), Some("0"));
        assert_eq!(value("lb_placer_attempts_count").as_deref(), Some("1"));
    });
}

#[test]
fn the_latency_includes_every_refusal_and_wait_and_not_the_committed_attempt() {
    for_every_placer(|choice| async move {
        let run = Duration::from_millis(100);
        let pool = Arc::new(SnapshotPool::new(members(&[Slots::new("a:1", 1, run)])).unwrap());
        let placement = placement(choice, pool);
        let (first, second) = (call(), call());
        let (first, second) = tokio::join!(place(&placement, &first), place(&placement, &second));
        assert_eq!((first.report.latency, first.report.committed), (Duration::ZERO, run));
        assert_eq!((second.report.latency, second.report.committed), (run, run));
        assert!(
            second.report.attempts <= 9,
            "tried beyond the one slot after pauses that grow, then woken by the end of the first"
        );
    });
}

/// A runner that joins while a call waits gets it at once.
#[test]
fn a_runner_that_joins_is_offered_to_the_calls_that_wait() {
    for_every_placer(|choice| async move {
        let pool = Arc::new(SnapshotPool::new(members(&[Slots::full("a:1")])).unwrap());
        let placement = placement(choice, pool.clone());
        let call = call();
        let (placed, ()) = tokio::join!(place(&placement, &call), async {
            tokio::time::sleep(Duration::from_millis(95)).await;
            let gone = pool.replace(members(&[Slots::new("b:1", 1, Duration::ZERO)])).unwrap();
            assert_eq!(gone.len(), 1);
        });
        assert_eq!(placed.report.runner, Some(RunnerId::new("b:1")));
        assert_eq!(placed.report.latency, Duration::from_millis(95));
    });
}

/// Three runners of one slot, thirty calls: waiting costs no attempts (P4).
#[test]
fn thirty_calls_on_three_slots_are_all_placed() {
    for_every_placer(|choice| async move {
        let run = Duration::from_millis(20);
        let runners: Vec<_> = ["a:1", "b:1", "c:1"].map(|address| Slots::new(address, 1, run)).into();
        let placement = placement(choice, Arc::new(SnapshotPool::new(members(&runners)).unwrap()));
        let calls: Vec<Call> = (0..30).map(|_| call()).collect();
        let ended = futures_util::future::join_all(calls.iter().map(|call| place(&placement, call))).await;
        assert!(ended.iter().all(|placed| matches!(placed.result, Ok(Ok(_)))));
        let attempts: u32 = ended.iter().map(|placed| placed.report.attempts).sum();
        assert!(attempts <= 60, "{attempts} attempts for thirty calls, on runners that tell nothing");
    });
}
