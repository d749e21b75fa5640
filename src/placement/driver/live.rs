//! A placing loop that lives: behind a short lock, with a clock, and with tasks that tell it what the pool does.
//!
//! The lock is held for one step of the loop, a microsecond or so, and never across an await. Calls that wait are woken outside of it.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Until;
use super::account::{Account, Accounts, Course, Crowd};
use super::guard::CallGuard;
use super::kept::{At, Kept};
use super::questions::WeakLoop;
use super::recorder::{RecordHead, Recorder};
use super::tasks::{follow_pool, keep_time, listen};
use crate::model::{Call, Function, FunctionName};
use crate::placement::config::PlacementConfig;
use crate::placement::event::{Admission, CallNumber, Event, FunctionNumber, GaveUp, RunnerChange, RunnerFacts, Step};
use crate::placement::homes::HomeRing;
use crate::placement::metrics::PlacementMetrics;
use crate::placement::moment::Moment;
use crate::placement::placers::Placer;
use crate::placement::placing_loop::PlacingLoop;
use crate::placement::view::View;
use crate::pool::{self, Member, RunnerPlace, RunnerPool, Snapshot, SnapshotChange};
use crate::protocol::{LoadReport, LostWarm, RoomToken};
use crate::telemetry::turn;

/// A living loop.
pub(super) struct LiveLoop {
    lineage: u64,
    pub(super) epoch: Instant,
    /// Protects the loop and what belongs to its steps.
    inside: Mutex<Inside>,
    /// The newest snapshot that the loop was told of.
    told_version: AtomicU64,
    /// When the timer task means to wake, in nanoseconds after the epoch.
    pub(super) timer_at: AtomicU64,
    pub(super) timer_moved: Arc<Notify>,
    is_told_of_changes: bool,
    pub(super) pool: Arc<dyn RunnerPool>,
    metrics: Arc<PlacementMetrics>,
    recorder: Option<Arc<Recorder>>,
    /// Whether calls wait, for those who ask runners on their behalf.
    is_waiting: watch::Sender<bool>,
    /// Ends the tasks when the loop goes.
    end: CancellationToken,
    /// Where the tasks run: an answer that is dropped, and so tells of its end, may be dropped anywhere.
    runtime: Handle,
    /// Runners that are asked for their whole state at once.
    pub(super) asked_for_status: Arc<Semaphore>,
    this: WeakLoop,
}

/// The loop, and what belongs to its steps.
pub(super) struct Inside {
    machine: PlacingLoop,
    snapshot: Snapshot,
    runners: Vec<Option<Kept>>,
    /// Runners that ever were.
    lives: u64,
    /// Agents that joined and have not said how many slots they have.
    newcomers: Vec<RunnerPlace>,
    functions: FxHashMap<FunctionName, Told>,
    /// Runners in the pool that say how full they are, and which workers are warm there.
    tellers: usize,
    waiting: FxHashMap<CallNumber, oneshot::Sender<Next>>,
    next_call: u64,
    /// Memory that is used again.
    steps: Vec<Step>,
    /// When the last step was.
    pub(super) latest: Moment,
    /// Grows whenever other runners are listed: whenever a ring has to be made.
    listings: u64,
    /// How many calls wait, as the metrics and those who ask runners were told last.
    waiting_told: usize,
}

/// A function as the loop was told of it.
struct Told {
    number: FunctionNumber,
    function: Arc<Function>,
    /// Whether anybody was there who tells of warm workers.
    by_tellers: bool,
}

/// What a call is to do next.
pub(super) enum Next {
    /// Try this runner.
    Try {
        /// Which.
        runner: Arc<Member>,
        /// Where it stands.
        at: At,
        /// The attempt's number.
        attempt: u32,
        /// The slot that it lends for this.
        room: Option<RoomToken>,
    },
    /// Wait for this.
    Wait(Woken),
    /// It is not placed.
    GiveUp(GaveUp, Option<Duration>, Crowd),
}

/// What a runner says of itself beside an answer or a refusal.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) load: Option<LoadReport>,
    pub(super) lost: Option<LostWarm>,
}

/// Comes when a waiting call has its turn. Dropping it does not withdraw the call: its guard does.
pub(super) struct Woken(oneshot::Receiver<Next>);

impl Future for Woken {
    type Output = Next;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        // The loop lives longer than the call's guard, and answers every call that it has parked.
        Pin::new(&mut self.0).poll(cx).map(|next| next.unwrap_or(REJECTED))
    }
}

/// The most runners that are asked for their whole state at once.
const MOST_ASKED: usize = 64;

/// For what cannot happen: a call that the loop does not answer.
pub(super) const REJECTED: Next = Next::GiveUp(GaveUp::Rejected, None, Crowd::NONE);

impl LiveLoop {
    /// Begins a loop for the snapshots of one lineage, and tells it of this one.
    pub(super) fn begin(
        config: &PlacementConfig,
        placer: Option<Box<dyn Placer>>,
        pool: Arc<dyn RunnerPool>,
        snapshot: &Snapshot,
        metrics: Arc<PlacementMetrics>,
        recorder: Option<Arc<Recorder>>,
    ) -> Arc<Self> {
        let lineage = snapshot.lineage();
        let (rules, seed) = (config.loop_rules(), rand::random());
        if let Some(recorder) = &recorder {
            recorder.begin(&RecordHead { lineage, seed, rules: rules.clone() });
        }
        let mut machine = PlacingLoop::new(rules, seed);
        if let Some(placer) = placer {
            machine = machine.with_placer(placer);
        }
        let is_told_of_changes = pool.current().is_some_and(|current| current.lineage() == lineage) && pool.changes().is_some();
        let live = Arc::new_cyclic(|this| Self {
            lineage,
            epoch: Instant::now(),
            inside: Mutex::new(Inside {
                machine,
                snapshot: Snapshot::empty_of(lineage),
                runners: Vec::new(),
                lives: 0,
                newcomers: Vec::new(),
                functions: FxHashMap::default(),
                tellers: 0,
                waiting: FxHashMap::default(),
                next_call: 0,
                steps: Vec::new(),
                latest: Moment::from_nanos(0),
                listings: 0,
                waiting_told: 0,
            }),
            told_version: AtomicU64::new(0),
            timer_at: AtomicU64::new(u64::MAX),
            timer_moved: Arc::default(),
            is_told_of_changes,
            pool,
            metrics,
            recorder,
            is_waiting: watch::Sender::new(false),
            end: CancellationToken::new(),
            runtime: Handle::current(),
            asked_for_status: Arc::new(Semaphore::new(MOST_ASKED)),
            this: Weak::clone(this),
        });
        // Before anybody else can tell it, so that the first call finds the homes made.
        live.follow(snapshot);
        // Each ends when the loop goes, which cancels the token.
        live.spawn(keep_time(live.weak()));
        if is_told_of_changes {
            live.spawn(follow_pool(live.weak()));
        }
        if let Some(reports) = live.pool.reports() {
            live.spawn(listen(live.weak(), reports));
        }
        live
    }

    pub(super) const fn lineage(&self) -> u64 {
        self.lineage
    }

    /// Whether the pool tells when it changes.
    pub(super) const fn is_told_of_changes(&self) -> bool {
        self.is_told_of_changes
    }

    pub(super) fn weak(&self) -> WeakLoop {
        Weak::clone(&self.this)
    }

    pub(super) fn metrics(&self) -> &PlacementMetrics {
        &self.metrics
    }

    /// Whether calls wait, and whenever that changes.
    pub(super) fn is_waiting(&self) -> watch::Receiver<bool> {
        self.is_waiting.subscribe()
    }

    /// Begins a task that ends when the loop goes.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(self.end.clone().run_until_cancelled_owned(task));
    }

    /// How many calls wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().machine.queue().len()
    }

    /// Whether it was told of this version of its lineage, or a later one.
    pub(super) fn knows(&self, version: u64) -> bool {
        self.told_version.load(Ordering::Acquire) >= version
    }

    /// Tells the loop of a snapshot of its lineage, if it does not know it yet.
    pub(super) fn follow(&self, snapshot: &Snapshot) {
        if self.knows(snapshot.version()) {
            return;
        }
        let mut inside = self.lock();
        if self.knows(snapshot.version()) {
            return;
        }
        let listings = inside.listings;
        let changes: Vec<RunnerChange> = snapshot.diff(&inside.snapshot).iter().map(|change| inside.note(change)).collect();
        inside.snapshot = snapshot.clone();
        self.told_version.store(snapshot.version(), Ordering::Release);
        let is_first = inside.machine.view().homes_version() == 0;
        let woken = self.step(&mut inside, &Event::RunnersChanged { changes }, None).woken;
        let makes_ring = inside.listings != listings;
        self.ask_newcomers(&mut inside);
        drop(inside);
        wake(woken);
        if makes_ring {
            self.make_ring(is_first);
        }
    }

    /// A call comes.
    pub(super) fn arrive<'a>(
        this: &'a Arc<Self>,
        config: &PlacementConfig,
        call: &Call,
        until: &Until,
        bytes: u64,
    ) -> (CallGuard<'a>, Next) {
        let mut inside = this.lock();
        let mut woken = Vec::new();
        let by_tellers = inside.tellers > 0;
        let function = match inside.functions.get(call.function.name()) {
            Some(told) if Arc::ptr_eq(&told.function, &call.function) && told.by_tellers == by_tellers => told.number,
            told => {
                let next = || FunctionNumber(u32::try_from(inside.functions.len()).unwrap_or(u32::MAX));
                let number = told.map_or_else(next, |told| told.number);
                let told = Told { number, function: Arc::clone(&call.function), by_tellers };
                inside.functions.insert(call.function.name().clone(), told);
                let mut facts = config.facts(&call.function);
                // Where nobody tells of workers nothing is ever known to be warm, and waiting for it would be in vain.
                facts.keeps_workers &= by_tellers;
                woken = this.step(&mut inside, &Event::Function { function: number, facts }, None).woken;
                number
            }
        };
        let number = CallNumber(inside.next_call);
        inside.next_call += 1;
        let event = Event::Arrived {
            call: number,
            function,
            hint: call.hint,
            give_up_at: this.moment(until.placer_timeout),
            deadline: until.deadline.map(|deadline| this.moment(deadline)),
            bytes,
        };
        let stepped = this.step(&mut inside, &event, Some(number));
        drop(inside);
        wake(woken);
        wake(stepped.woken);
        let guard = CallGuard::new(Cow::Borrowed(this), number, function);
        // Every call that arrives is answered at once, if only with the word to wait.
        (guard, stepped.mine.unwrap_or(REJECTED))
    }

    // === telling the loop ===

    pub(super) fn tell(&self, event: &Event) {
        let mut inside = self.lock();
        let woken = self.step(&mut inside, event, None).woken;
        drop(inside);
        wake(woken);
    }

    /// Tells what is made under the lock, if anything is.
    pub(super) fn tell_made(&self, make: impl FnOnce(&Self, &mut Inside) -> Option<Event>) {
        let mut inside = self.lock();
        let Some(event) = make(self, &mut inside) else { return };
        let woken = self.step(&mut inside, &event, None).woken;
        drop(inside);
        wake(woken);
    }

    /// One step of the loop. What is to be done for `mine` is returned; the other calls are to be woken.
    pub(super) fn step(&self, inside: &mut Inside, event: &Event, mine: Option<CallNumber>) -> Stepped {
        // A turn of another worker may have begun before the last step.
        let now = self.now().max(inside.latest);
        inside.latest = now;
        let mut steps = std::mem::take(&mut inside.steps);
        steps.clear();
        inside.machine.step(event, now, &mut steps);
        if let Some(recorder) = &self.recorder {
            recorder.note(self.lineage, now, event, &steps);
        }
        let mut stepped = Stepped::default();
        for step in &steps {
            let (call, next) = match step {
                Step::Try { call, runner, attempt } => {
                    let known = inside.runners.get_mut(runner.index()).and_then(Option::as_mut);
                    // The loop tries members only, and is told of changes under the same lock.
                    let Some(kept) = known else { continue };
                    let at = At { place: *runner, life: kept.life };
                    let began = turn::now();
                    kept.begins(began);
                    let room = kept.take_lent(began);
                    (*call, Next::Try { runner: Arc::clone(&kept.member), at, attempt: *attempt, room })
                }
                Step::GiveUp { call, why, retry_after } => (*call, Next::GiveUp(*why, *retry_after, Crowd::of(&inside.machine))),
                Step::Wait { call } => {
                    let (sender, receiver) = oneshot::channel();
                    inside.waiting.insert(*call, sender);
                    (*call, Next::Wait(Woken(receiver)))
                }
                Step::AskRoom { runner } => {
                    self.ask_room(inside, *runner);
                    continue;
                }
                Step::Probe { runner } => {
                    self.probe(inside, *runner);
                    continue;
                }
            };
            let sender = if matches!(step, Step::Wait { .. }) { None } else { inside.waiting.remove(&call) };
            if mine == Some(call) {
                stepped.mine = Some(next);
            } else if let Some(sender) = sender {
                stepped.woken.push((sender, next));
            }
        }
        if let Event::ClientGone { call } = event {
            inside.waiting.remove(call);
        }
        inside.steps = steps;
        let next_timer = inside.machine.next_timer().map_or(u64::MAX, Moment::as_nanos);
        if next_timer < self.timer_at.load(Ordering::Relaxed) {
            self.timer_moved.notify_one();
        }
        let waiting = inside.machine.queue().len();
        let former = std::mem::replace(&mut inside.waiting_told, waiting);
        if former != waiting {
            self.metrics.waiting(waiting);
        }
        if (former > 0) != (waiting > 0) {
            self.is_waiting.send_replace(waiting > 0);
        }
        stepped
    }

    // === homes ===

    /// Makes the ring of the runners as they are: at once if they are few and calls wait for it, else off the request path. Until it is done the
    /// former one decides.
    fn make_ring(&self, is_first: bool) {
        const FEW: usize = 64;
        let (members, former, listings, places) = {
            let inside = self.lock();
            let (members, former) = inside.machine.ring_members();
            (members, former, inside.listings, inside.runners.len())
        };
        let this = Weak::clone(&self.this);
        let make = move || {
            let ring = Arc::new(HomeRing::make(&members, former.as_deref()));
            let Some(live) = this.upgrade() else { return };
            // Whoever listed others meanwhile makes their own.
            live.tell_made(|_, inside| {
                (inside.listings == listings).then(|| {
                    inside.machine.hand_over(ring);
                    Event::HomesMade
                })
            });
        };
        if is_first && places <= FEW {
            make();
        } else {
            // Not waited for: it ends by itself.
            tokio::task::spawn_blocking(make);
        }
    }

    // === time ===

    /// When the loop's next timer is due.
    pub(super) fn next_timer(&self) -> Option<Moment> {
        self.lock().machine.next_timer()
    }

    /// Sees to it that what is recorded so far can be read.
    pub(super) fn flush_record(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.flush();
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.moment(turn::now())
    }

    pub(super) fn moment(&self, at: Instant) -> Moment {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LiveLoop {
    fn drop(&mut self) {
        self.end.cancel();
        self.flush_record();
    }
}

/// What one step brought.
#[derive(Default)]
pub(super) struct Stepped {
    pub(super) mine: Option<Next>,
    pub(super) woken: Vec<(oneshot::Sender<Next>, Next)>,
}

pub(super) fn wake(woken: Vec<(oneshot::Sender<Next>, Next)>) {
    for (sender, next) in woken {
        // Who does not listen any more is about to say that it is gone.
        let _ = sender.send(next);
    }
}

impl Inside {
    /// The runner that has this place now.
    pub(super) fn kept(&self, place: RunnerPlace) -> Option<(At, Arc<Member>)> {
        let kept = self.runners.get(place.index())?.as_ref()?;
        Some((At { place, life: kept.life }, Arc::clone(&kept.member)))
    }

    /// What is kept of this runner, if it is still there.
    pub(super) fn kept_mut(&mut self, at: At) -> Option<&mut Kept> {
        self.runners.get_mut(at.place.index())?.as_mut().filter(|kept| kept.life == at.life)
    }

    pub(super) fn ended(&mut self, at: At, function: FunctionNumber) {
        if let Some(kept) = self.kept_mut(at) {
            kept.ends(function, turn::now());
        }
    }

    pub(super) fn take_newcomers(&mut self) -> Vec<RunnerPlace> {
        std::mem::take(&mut self.newcomers)
    }

    pub(super) fn number(&self, function: &str) -> Option<FunctionNumber> {
        self.functions.get(function).map(|told| told.number)
    }

    pub(super) const fn view(&self) -> &View {
        self.machine.view()
    }

    pub(super) fn course(&self, call: CallNumber, now: Moment, accounts: Accounts) -> Course {
        let Some((reason, is_smooth)) = self.machine.course(call) else { return Course::default() };
        let is_wanted = accounts == Accounts::All || !is_smooth;
        Course { reason, account: if is_wanted { self.account(call, now) } else { None } }
    }

    fn account(&self, call: CallNumber, now: Moment) -> Option<Arc<Account>> {
        let explanation = self.machine.explanation(call, now)?;
        let name = |place: RunnerPlace| Some(self.runners.get(place.index())?.as_ref()?.member.id.clone());
        let names = explanation.candidates.map(|candidate| name(candidate?.runner));
        Some(Arc::new(Account { explanation, names }))
    }

    /// Takes over one change of the pool, and tells it as the loop knows it.
    fn note(&mut self, change: &SnapshotChange) -> RunnerChange {
        let (place, member) = match change {
            SnapshotChange::Joined(place, member) | SnapshotChange::Changed(place, member) => (*place, Some(member)),
            SnapshotChange::Left(place, _) => (*place, None),
        };
        if self.runners.len() <= place.index() {
            self.runners.resize_with(place.index() + 1, || None);
        }
        let is_change = matches!(change, SnapshotChange::Changed(..));
        let former = self.runners[place.index()].take();
        let is_listed = |member: &Arc<Member>| member.weight > 0;
        let is_other = former.as_ref().map(|kept| is_listed(&kept.member)) != member.map(is_listed) || !is_change;
        self.listings += u64::from(is_other);
        let tells = |member: &Arc<Member>| usize::from(member.runner.reports_load());
        self.tellers += member.map_or(0, tells);
        self.tellers -= former.as_ref().map_or(0, |kept| tells(&kept.member));
        self.runners[place.index()] = match (member, former) {
            (None, _) => None,
            (Some(member), Some(kept)) if is_change => Some(kept.now(Arc::clone(member))),
            (Some(member), _) => {
                self.lives += 1;
                if member.terms.slots.is_none() && member.runner.reports_load() {
                    self.newcomers.push(place);
                }
                Some(Kept::new(Arc::clone(member), self.lives))
            }
        };
        match member {
            None => RunnerChange::Left { runner: place },
            Some(member) => RunnerChange::Set {
                runner: place,
                facts: RunnerFacts {
                    name: member.id.as_str().to_owned(),
                    weight: member.weight,
                    admission: match member.admission {
                        pool::Admission::Open => Admission::Open,
                        pool::Admission::OneProbe => Admission::OneProbe,
                        pool::Admission::Closed(_) => Admission::Closed,
                    },
                    max_in_flight: member.terms.call_limit(),
                    // Until an agent has said how many slots it has, it is taken to have one: as many calls as wait would be sent there otherwise.
                    slots: member.terms.slots.or_else(|| member.runner.reports_load().then_some(1)),
                },
            },
        }
    }
}
