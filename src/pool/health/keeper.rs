//! Drives the [`Health`] of a pool: asks, listens, writes into the snapshot. Thin on purpose; what is decided is decided in [`super::machine`].
//!
//! A runner that no connection can be made to is knocked at, whatever it is asked otherwise: often at first, as most are away for the moment of a restart, and
//! more seldom the longer it is away. When it opens, it is asked what runners of its kind are asked, if anything.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::config::{HealthConfig, PlainCheck};
use super::machine::{CheckAnswer, Checked, Health, HealthEvent, Start, Verdict};
use super::metrics::HealthMetrics;
use super::view::HealthState;
use crate::pool::snapshot_pool::Noted;
use crate::pool::{
    Admission, ClosedWhy, Member, RunnerPlace, RunnerPool as _, RunnerReport, Snapshot, SnapshotChange, SnapshotPool,
};
use crate::protocol::{AgentState, AgentStatus};
use crate::runner::http::Protocol;
use crate::runner::{HealthAnswer, HealthQuestion};

/// Keeps a pool's members as healthy as they are. Only one may keep a pool.
#[derive(Debug)]
pub struct HealthKeeper {
    pool: Arc<SnapshotPool>,
    rules: HealthConfig,
    question: Option<HealthQuestion>,
    metrics: HealthMetrics,
    health: Health,
    began: Instant,
    /// What was seen of the pool last.
    seen: Arc<Snapshot>,
    kept: HashMap<RunnerPlace, Kept>,
    /// When whom to ask next, with a ticket of which the runner's last one is good.
    due: BinaryHeap<Reverse<(Instant, RunnerPlace, u64)>>,
    asking: JoinSet<Asked>,
    next_life: u64,
    next_ticket: u64,
}

/// One runner that is kept.
#[derive(Debug)]
struct Kept {
    /// Tells it from others that had its place before.
    life: u64,
    ticket: u64,
    /// Since when no connection could be made to it, until it took a call again.
    away_since: Option<Instant>,
    state: HealthState,
    verdict: Verdict,
    member: Arc<Member>,
}

/// A question that was answered, or not.
#[derive(Debug)]
struct Asked {
    place: RunnerPlace,
    life: u64,
    at: Instant,
    /// It was only to find out whether a connection can be made.
    is_knock: bool,
    answer: HealthAnswer,
}

/// Questions under way at once.
const MAX_ASKING: usize = 256;
/// Questions in a second, at most, to those who are well and to those who are not each: beyond, the interval grows.
const MOST_PER_SECOND: usize = 1_000;
/// The shortest time between two knocks, and the share of its time away that a runner waits for the next one.
const KNOCK: Duration = Duration::from_millis(20);
const KNOCK_SHARE: u32 = 200;
/// How often time is looked at while something changes with time alone.
const TICK: Duration = Duration::from_millis(50);
/// How long nothing may happen before it is looked whether something is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

impl HealthKeeper {
    /// Keeps `pool`, whose runners speak `protocol`.
    pub fn new(pool: Arc<SnapshotPool>, protocol: Protocol, rules: HealthConfig, metrics: HealthMetrics) -> Self {
        let question = match (protocol, rules.plain_check) {
            _ if rules.interval.is_zero() => None,
            (Protocol::Agent, _) => Some(HealthQuestion::Status),
            (Protocol::Plain, PlainCheck::None) => None,
            (Protocol::Plain, PlainCheck::Connect) => Some(HealthQuestion::Connect),
            // The configuration was validated.
            (Protocol::Plain, PlainCheck::Get) => rules.path.parse().ok().map(HealthQuestion::Get),
        };
        Self {
            pool,
            question,
            metrics,
            health: Health::new(rules.clone()),
            rules,
            began: Instant::now(),
            seen: Arc::new(Snapshot::empty()),
            kept: HashMap::new(),
            due: BinaryHeap::new(),
            asking: JoinSet::new(),
            next_life: 0,
            next_ticket: 0,
        }
    }

    /// Keeps the pool until the future is dropped, which takes questions under way with it.
    pub async fn run(mut self) {
        let Some(mut evidence) = self.pool.take_evidence() else {
            tracing::error!("the pool is kept already");
            return;
        };
        let mut changes = self.pool.changes().unwrap_or_else(|| watch::channel(0).1);
        self.follow(Start::Whole);
        let mut noted = Vec::new();
        loop {
            let wakes_at = self.wakes_at();
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    changes.mark_unchanged();
                    self.follow(Start::Slow);
                }
                _ = receive(&mut evidence, &mut noted) => {
                    for Noted { place, evidence, taken } in noted.drain(..) {
                        self.step(HealthEvent::Noted { place, evidence, taken });
                    }
                }
                Some(asked) = self.asking.join_next() => {
                    // A question that panicked was told already; its runner is asked no more.
                    if let Ok(asked) = asked {
                        self.asked(asked);
                    }
                }
                () = sleep_until(wakes_at) => self.time_passed(),
            }
        }
    }

    fn wakes_at(&self) -> Instant {
        let now = Instant::now();
        let is_room = self.asking.len() < MAX_ASKING;
        let due = self.due.peek().filter(|_| is_room).map(|Reverse((at, ..))| *at);
        let tick = self.health.is_restless().then(|| now + TICK);
        [due, tick].into_iter().flatten().min().unwrap_or(now + LONGEST_SLEEP)
    }

    /// Takes over what changed in the pool.
    fn follow(&mut self, start: Start) {
        let newest = self.pool.snapshot();
        let mut corrections = Vec::new();
        for change in newest.diff(&self.seen) {
            match change {
                SnapshotChange::Joined(place, member) => self.joined(place, member, start),
                SnapshotChange::Left(place, _) => {
                    self.step(HealthEvent::Left(place));
                    if let Some(kept) = self.kept.remove(&place) {
                        self.metrics.gone(&kept.member, kept.state);
                    }
                }
                SnapshotChange::Changed(place, member) => {
                    if let Some(kept) = self.kept.get_mut(&place) {
                        // Its source may have another word for its weight; what it is let in for is for us to say.
                        corrections.push(kept.verdict);
                        kept.member = member;
                    }
                }
            }
        }
        self.seen = newest;
        self.apply(&corrections);
    }

    fn joined(&mut self, place: RunnerPlace, member: Arc<Member>, start: Start) {
        self.next_life += 1;
        let life = self.next_life;
        let verdict = Verdict { place, admission: Admission::Open, weight_percent: 100 };
        self.metrics.joined(&member);
        self.kept.insert(place, Kept { life, ticket: 0, away_since: None, state: HealthState::Open, verdict, member });
        let is_checked = match &self.question {
            Some(_) => Checked::Regularly,
            None if self.rules.interval.is_zero() => Checked::Never,
            None => Checked::WhenAway,
        };
        self.step(HealthEvent::Joined { place, is_checked, start });
        if self.question.is_some() {
            // Spread, so that those who joined together are not asked together.
            let wait = self.rules.interval.mul_f64(rand::random::<f64>());
            self.ask_after(place, wait);
        }
    }

    /// Has a runner asked so much later, and not at the time that was meant before.
    fn ask_after(&mut self, place: RunnerPlace, wait: Duration) {
        let Some(kept) = self.kept.get_mut(&place) else { return };
        self.next_ticket += 1;
        kept.ticket = self.next_ticket;
        self.due.push(Reverse((Instant::now() + wait, place, kept.ticket)));
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        while self.asking.len() < MAX_ASKING && self.due.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, place, ticket))) = self.due.pop() else { break };
            let Some(kept) = self.kept.get(&place).filter(|kept| kept.ticket == ticket) else { continue };
            let is_knock = kept.is_away();
            let question = if is_knock { Some(HealthQuestion::Connect) } else { self.question.clone() };
            self.ask(place, question, is_knock);
        }
        if self.health.is_restless() {
            self.step(HealthEvent::Tick);
        }
    }

    fn ask(&mut self, place: RunnerPlace, question: Option<HealthQuestion>, is_knock: bool) {
        let (Some(question), Some(kept)) = (question, self.kept.get(&place)) else { return };
        let (runner, life, limit) = (Arc::clone(&kept.member.runner), kept.life, self.rules.timeout);
        let at = Instant::now();
        self.asking.spawn(async move { Asked { place, life, at, is_knock, answer: runner.ask_health(&question, limit).await } });
    }

    fn asked(&mut self, asked: Asked) {
        let Asked { place, life, at: asked_at, is_knock, answer } = asked;
        let Some(kept) = self.kept.get(&place).filter(|kept| kept.life == life) else { return };
        if is_knock && self.question.is_some() && matches!(answer, HealthAnswer::Well(_)) {
            // Somebody opens: now it can say how it is.
            return self.ask(place, self.question.clone(), false);
        }
        let (answer, detail) = match answer {
            HealthAnswer::Well(status) => {
                let answer = status.as_deref().map_or(CheckAnswer::Well, verdict_of);
                if let Some(status) = status {
                    self.pool.report(RunnerReport::of(place, asked_at, *status));
                }
                (answer, String::new())
            }
            HealthAnswer::Unwell(detail) => (CheckAnswer::Unwell, detail),
            HealthAnswer::Unreachable(detail) => (CheckAnswer::Unreachable, detail),
        };
        tracing::trace!(runner = %kept.member.id, ?answer, detail, "asked");
        self.step(HealthEvent::Asked { place, answer });
        let away = self.kept.get(&place).and_then(Kept::away_for);
        if away.is_none() && self.question.is_none() {
            return;
        }
        let (interval, among) = if let Some(away) = away {
            ((away / KNOCK_SHARE).max(KNOCK).min(self.rules.return_interval), self.health.ejected())
        } else if self.health.may_return(place) {
            (self.rules.return_interval, self.health.ejected())
        } else {
            (self.rules.interval, self.kept.len())
        };
        let wait = interval.max(Duration::from_secs(1).mul_f64(among as f64 / MOST_PER_SECOND as f64));
        let jittered = wait.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        self.ask_after(place, jittered);
    }

    fn step(&mut self, event: HealthEvent) {
        let mut verdicts = Vec::new();
        self.health.step(event, self.began.elapsed(), &mut verdicts);
        for verdict in &verdicts {
            self.tell(verdict);
            if !self.rules.interval.is_zero() && self.kept.get(&verdict.place).is_some_and(Kept::is_away) {
                self.ask_after(verdict.place, KNOCK.min(self.rules.return_interval));
            }
        }
        self.apply(&verdicts);
    }

    /// Writes verdicts into the pool.
    fn apply(&self, verdicts: &[Verdict]) {
        if verdicts.is_empty() {
            return;
        }
        self.pool.change(|edit| {
            for verdict in verdicts {
                let kept = self.kept.get(&verdict.place);
                let member = edit.so_far().get(verdict.place);
                let Some((_, member)) = kept.zip(member).filter(|(kept, member)| kept.member.is_same_runner(member)) else {
                    // Somebody else by now: the change is on its way to us.
                    continue;
                };
                let weight = weight(member.terms.weight, verdict.weight_percent);
                let next = Member { admission: verdict.admission, weight, ..Member::clone(member) };
                edit.put(next);
            }
        });
    }

    fn tell(&mut self, verdict: &Verdict) {
        let Some(kept) = self.kept.get_mut(&verdict.place) else { return };
        let former = std::mem::replace(&mut kept.verdict, *verdict);
        if former.admission == verdict.admission {
            return;
        }
        match verdict.admission {
            Admission::Closed(ClosedWhy::Unreachable) => _ = kept.away_since.get_or_insert_with(Instant::now),
            Admission::Closed(_) | Admission::Open => kept.away_since = None,
            Admission::OneProbe => {}
        }
        let (state, runner) = (HealthState::from(verdict.admission), &kept.member.id);
        match verdict.admission {
            Admission::Closed(ClosedWhy::Draining) => tracing::info!(%runner, "runner drains"),
            Admission::Closed(why) => {
                self.metrics.ejected(&kept.member, why);
                tracing::warn!(%runner, reason = %why, ejected = self.health.ejected(), "runner ejected");
            }
            Admission::OneProbe => tracing::info!(%runner, "runner may be back: one call will tell"),
            Admission::Open => tracing::info!(%runner, "runner is back"),
        }
        self.metrics.left(&kept.member, kept.state);
        self.metrics.entered(&kept.member, state);
        kept.state = state;
    }
}

impl Kept {
    /// Whether it is left out because no connection can be made to it.
    fn is_away(&self) -> bool {
        self.verdict.admission == Admission::Closed(ClosedWhy::Unreachable)
    }

    /// For how long, if it is.
    fn away_for(&self) -> Option<Duration> {
        self.away_since.filter(|_| self.is_away()).map(|since| since.elapsed())
    }
}

/// Waits for evidence and takes all there is, up to a bound.
async fn receive(evidence: &mut mpsc::Receiver<Noted>, noted: &mut Vec<Noted>) {
    const MOST: usize = 256;
    if evidence.recv_many(noted, MOST).await == 0 {
        // The pool is gone, and with it whoever could change it; the changes say so.
        std::future::pending::<()>().await;
    }
}

/// So many percent of a weight, but something of something.
fn weight(whole: u32, percent: u32) -> u32 {
    if whole == 0 { 0 } else { (whole.saturating_mul(percent) / 100).max(1) }
}

fn verdict_of(status: &AgentStatus) -> CheckAnswer {
    match status.state {
        AgentState::Draining => CheckAnswer::Draining,
        AgentState::Ready if !status.status_failed => CheckAnswer::Well,
        AgentState::Ready | AgentState::Starting => CheckAnswer::Unwell,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::pool::{Evidence, Terms};
    use crate::protocol::LoadReport;
    use crate::runner::{Attempt, Refused, RefusedWhy, Runner, RunnerCall, StatusError};
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    /// A runner whose health is what the test says.
    #[derive(Debug)]
    struct Patient {
        name: String,
        answer: Mutex<HealthAnswer>,
    }

    impl Patient {
        fn new(name: &str) -> Arc<Self> {
            let answer = Mutex::new(HealthAnswer::Well(Some(Box::new(status(AgentState::Ready)))));
            Arc::new(Self { name: name.to_owned(), answer })
        }

        fn is(&self, answer: HealthAnswer) {
            *self.answer.lock().unwrap() = answer;
        }
    }

    #[async_trait]
    impl Runner for Patient {
        async fn try_exec(&self, _call: RunnerCall<'_>) -> Attempt {
            Attempt::Refused(Refused::new(RefusedWhy::Closed))
        }

        async fn status(&self) -> Result<AgentStatus, StatusError> {
            Err(StatusError::Unsupported { address: self.name.clone() })
        }

        async fn ask_health(&self, _question: &HealthQuestion, _limit: Duration) -> HealthAnswer {
            self.answer.lock().unwrap().clone()
        }

        async fn close(&self) {}

        fn address(&self) -> &str {
            &self.name
        }
    }

    fn status(state: AgentState) -> AgentStatus {
        let warm_workers = BTreeMap::from([("f".to_owned(), 2)]);
        AgentStatus { state, slots: 8, active_request_count: 3, warm_workers, ..AgentStatus::default() }
    }

    fn kept(runners: &[&Arc<Patient>], rules: HealthConfig) -> (Arc<SnapshotPool>, tokio::task::JoinHandle<()>) {
        kept_by(Protocol::Agent, runners, rules)
    }

    fn kept_by(
        protocol: Protocol,
        runners: &[&Arc<Patient>],
        rules: HealthConfig,
    ) -> (Arc<SnapshotPool>, tokio::task::JoinHandle<()>) {
        let members = runners.iter().map(|runner| Member::new(Arc::clone(runner) as Arc<dyn Runner>)).collect();
        let pool = Arc::new(SnapshotPool::new(members).unwrap());
        let metrics = HealthMetrics::declare(&mut Metrics::new(&MetricsConfig::default()));
        let keeper = HealthKeeper::new(Arc::clone(&pool), protocol, rules, metrics);
        (Arc::clone(&pool), tokio::spawn(keeper.run()))
    }

    async fn admission(pool: &SnapshotPool, place: u32, wanted: Admission) {
        let mut changes = pool.changes().unwrap();
        while pool.snapshot().get(RunnerPlace(place)).unwrap().admission != wanted {
            changes.changed().await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_runners_say_about_themselves_is_handed_on_and_obeyed() {
        let (one, other) = (Patient::new("a:1"), Patient::new("b:1"));
        let (pool, task) = kept(&[&one, &other], HealthConfig::default());
        let mut reports = pool.reports().unwrap();
        let report = reports.recv().await.unwrap();
        assert_eq!(report.load, LoadReport { in_flight: 3, slots: 8, warm: 0 });
        assert_eq!(report.warm_workers, BTreeMap::from([("f".to_owned(), 2)]));

        one.is(HealthAnswer::Well(Some(Box::new(status(AgentState::Draining)))));
        admission(&pool, 0, Admission::Closed(ClosedWhy::Draining)).await;
        one.is(HealthAnswer::Well(Some(Box::new(status(AgentState::Ready)))));
        admission(&pool, 0, Admission::Open).await;
        other.is(HealthAnswer::Unwell("it is silent".into()));
        admission(&pool, 1, Admission::Closed(ClosedWhy::Unhealthy)).await;
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_calls_show_is_obeyed_and_is_not_forgotten_when_the_list_is_told_again() {
        let (one, other) = (Patient::new("a:1"), Patient::new("b:1"));
        one.is(HealthAnswer::Unreachable("nobody listens".into()));
        let rules = HealthConfig { interval: Duration::from_secs(1_000), ..HealthConfig::default() };
        let (pool, task) = kept(&[&one, &other], rules);
        tokio::task::yield_now().await;
        let member = Arc::clone(pool.snapshot().get(RunnerPlace(0)).unwrap());
        pool.note(&member, Evidence::Unreachable);
        let unreachable = Admission::Closed(ClosedWhy::Unreachable);
        admission(&pool, 0, unreachable).await;

        // The source tells its list again, with another weight.
        let terms = Arc::new(Terms { weight: 7, ..Terms::default() });
        let again = [&one, &other].map(|runner| {
            Member::with_terms(
                crate::model::RunnerId::new(runner.address()),
                Arc::clone(runner) as Arc<dyn Runner>,
                Arc::clone(&terms),
            )
        });
        assert!(pool.replace(again.into()).unwrap().is_empty());
        let now = Arc::clone(pool.snapshot().get(RunnerPlace(0)).unwrap());
        assert_eq!((now.admission, now.weight), (unreachable, 7));
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_runner_that_was_away_is_let_in_as_soon_as_it_opens_again() {
        let (one, other) = (Patient::new("a:1"), Patient::new("b:1"));
        let (pool, task) = kept_by(Protocol::Plain, &[&one, &other], HealthConfig::default());
        tokio::task::yield_now().await;
        for (away, noticed) in [(3_000, 30), (20_000, 150), (400_000, 300)] {
            one.is(HealthAnswer::Unreachable("nobody listens".into()));
            let member = Arc::clone(pool.snapshot().get(RunnerPlace(0)).unwrap());
            pool.note(&member, Evidence::Unreachable);
            admission(&pool, 0, Admission::Closed(ClosedWhy::Unreachable)).await;
            tokio::time::sleep(Duration::from_millis(away)).await;
            let now = pool.snapshot().get(RunnerPlace(0)).unwrap().admission;
            assert_eq!(now, Admission::Closed(ClosedWhy::Unreachable), "time alone lets nobody in");
            let opened = Instant::now();
            one.is(HealthAnswer::Well(None));
            admission(&pool, 0, Admission::OneProbe).await;
            assert!(opened.elapsed() <= Duration::from_millis(noticed), "{away}: {:?}", opened.elapsed());
            let member = Arc::clone(pool.snapshot().get(RunnerPlace(0)).unwrap());
            member.tally.took();
            pool.note(&member, Evidence::Took);
            admission(&pool, 0, Admission::Open).await;
        }
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn another_life_at_an_address_starts_open() {
        let (one, other) = (Patient::new("a:1"), Patient::new("b:1"));
        one.is(HealthAnswer::Unreachable("nobody listens".into()));
        let (pool, task) = kept(&[&one, &other], HealthConfig::default());
        admission(&pool, 0, Admission::Closed(ClosedWhy::Unreachable)).await;
        let reborn = Patient::new("a:1");
        pool.change(|edit| edit.put(Member::new(reborn as Arc<dyn Runner>)));
        let mut reports = pool.reports().unwrap();
        while reports.recv().await.unwrap().place != RunnerPlace(0) {}
        assert_eq!(pool.snapshot().get(RunnerPlace(0)).unwrap().admission, Admission::Open);
        task.abort();
    }
}
