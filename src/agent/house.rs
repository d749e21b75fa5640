//! The house of the workers: performs what the machine in [`workers`](super::workers) decides.
//!
//! One short lock around the machine, the idle workers and whoever waits. One task for each worker, for its whole life: it waits for the
//! memory, starts the process, notices its death and its idle timeout, and says at the end, when the process is really dead, that its memory is
//! free. A call gets a [`Lease`] on a worker through its [`Ticket`], and gives it back or loses it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::memory::NoRoom;
use super::metrics::AgentMetrics;
use super::run_error::RunError;
use super::worker::{Worker, Workshop};
use super::workers::{Admission, Next, Start, TicketId, WorkerId, Workers};
use crate::model::{Digest, Function};
use crate::protocol::LostWarm;
use crate::telemetry::metrics::observe;

/// The workers of one agent. Cheap to clone.
#[derive(Clone)]
pub(crate) struct House {
    shared: Arc<Shared>,
}

struct Shared {
    workshop: Workshop,
    metrics: Arc<AgentMetrics>,
    ending: CancellationToken,
    /// Protects machine, idle workers and those who wait, which must agree. Held for a few look-ups; whatever is sent or dropped because of a
    /// decision is sent or dropped after it.
    state: Mutex<State>,
}

struct State {
    machine: Workers,
    next_ticket: u64,
    waiting: FxHashMap<TicketId, oneshot::Sender<Result<Lease, RunError>>>,
    idle: FxHashMap<WorkerId, Idle>,
    /// Claims whose victims are not dead yet.
    unready: FxHashMap<WorkerId, oneshot::Sender<()>>,
    /// Idle workers that are no more.
    lost: LostWarm,
    /// The same as it is told; absent when there is news.
    lost_header: Option<HeaderValue>,
}

struct Idle {
    worker: Worker,
    function: Arc<Function>,
    since: Instant,
}

/// An admitted call's right to a worker. Dropping it gives the right up.
pub(crate) struct Ticket {
    house: House,
    id: TicketId,
    function: Arc<Function>,
    is: TicketIs,
}

enum TicketIs {
    Served(Lease),
    Waiting(oneshot::Receiver<Result<Lease, RunError>>),
    Spent,
}

/// A worker for one call.
///
/// Dropped before [`use_it`](Self::use_it) it goes back; dropped after it, its process is killed, unless it was
/// [given back](Self::give_back).
pub(crate) struct Lease {
    house: House,
    pub(crate) worker: Worker,
    function: Arc<Function>,
    /// Whether another call had the worker before.
    pub(crate) age: LeaseAge,
    state: LeaseState,
}

/// Whether a leased worker was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAge {
    /// It has just been started, for a call that waits.
    Fresh,
    /// It has run a call, or was idle.
    Used,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LeaseState {
    Unused,
    Used,
    Over,
}

/// A lost worker that balancers will be told of when this is dropped.
pub(crate) struct UntoldLoss {
    house: House,
    function: Arc<Function>,
}

/// Memory held for a job. Must be dropped only when the job's process is dead.
pub(crate) struct JobClaim {
    house: House,
    id: WorkerId,
}

/// A [`JobClaim`] whose victims may still be dying.
pub(crate) struct PendingClaim {
    claim: JobClaim,
    ready: Option<oneshot::Receiver<()>>,
}

// === impl House ===

impl House {
    /// An empty house with `memory` bytes for workers. Starts nothing more when `ending` is cancelled.
    pub(crate) fn new(workshop: Workshop, memory: u64, metrics: Arc<AgentMetrics>, ending: CancellationToken) -> Self {
        let state = State {
            machine: Workers::new(memory),
            next_ticket: 0,
            waiting: FxHashMap::default(),
            idle: FxHashMap::default(),
            unready: FxHashMap::default(),
            lost: LostWarm::none(first_loss()),
            lost_header: None,
        };
        Self { shared: Arc::new(Shared { workshop, metrics, ending, state: Mutex::new(state) }) }
    }

    /// Admits a call of `function`: a warm worker, or the promise of one that starts, or that becomes idle first.
    ///
    /// # Errors
    /// There is no memory for the worker that would have to be started.
    pub(crate) fn admit(&self, function: &Arc<Function>) -> Result<Ticket, NoRoom> {
        let (ticket, start, evicted) = {
            let mut state = self.lock();
            let id = TicketId(state.next_ticket);
            state.next_ticket += 1;
            let admission = state.machine.admit(id, &function.digest, function.spec.memory.bytes())?;
            let (is, start, evicted) = match admission {
                Admission::Taken(worker) => match state.idle.remove(&worker) {
                    Some(idle) => {
                        let lease = self.lease(idle.worker, idle.function, LeaseAge::Used);
                        (TicketIs::Served(lease), None, Vec::new())
                    }
                    // Machine and map agree under one lock; should they not, the call waits for nothing and is told so.
                    None => (TicketIs::Spent, None, Vec::new()),
                },
                Admission::Starting(start) => {
                    let (evicted, ready) = state.begin(&start);
                    (state.wait(id), Some((start, ready)), evicted)
                }
                Admission::Waiting => (state.wait(id), None, Vec::new()),
            };
            self.publish(&state);
            (Ticket { house: self.clone(), id, function: Arc::clone(function), is }, start, evicted)
        };
        self.kill_evicted(evicted);
        if let Some((start, ready)) = start {
            let (house, function) = (self.clone(), Arc::clone(function));
            self.shared.workshop.tasks.spawn(async move { house.live(start.worker, &function, ready).await });
        }
        Ok(ticket)
    }

    /// Claims the memory of one job of `function`.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn claim_job(&self, function: &Function) -> Result<PendingClaim, NoRoom> {
        let (claim, evicted) = {
            let mut state = self.lock();
            let start = state.machine.claim(&function.digest, function.spec.memory.bytes())?;
            let (evicted, ready) = state.begin(&start);
            self.publish(&state);
            (PendingClaim { claim: JobClaim { house: self.clone(), id: start.worker }, ready }, evicted)
        };
        self.kill_evicted(evicted);
        Ok(claim)
    }

    /// Idle workers of this version without the one that `answers`, and what is told of idle workers that were lost.
    pub(crate) fn news(&self, function: Option<&Digest>, answers: Option<WorkerId>) -> (usize, Option<HeaderValue>) {
        let mut state = self.lock();
        let idle = function.map_or(0, |function| state.machine.warm(function));
        let is_idle_again = answers.is_some_and(|worker| state.idle.contains_key(&worker));
        (idle.saturating_sub(usize::from(is_idle_again)), state.lost_header())
    }

    /// Idle workers by name of function, the memory held by all workers, and the number of the newest loss.
    pub(crate) fn view(&self) -> (BTreeMap<String, u32>, u64, u64) {
        let state = self.lock();
        let mut warm = BTreeMap::new();
        for idle in state.idle.values() {
            *warm.entry(idle.function.name().to_string()).or_insert(0) += 1;
        }
        (warm, state.machine.memory_held(), state.lost.newest())
    }

    /// What processes are started with.
    pub(crate) fn workshop(&self) -> &Workshop {
        &self.shared.workshop
    }

    /// One worker's life.
    async fn live(&self, id: WorkerId, function: &Arc<Function>, ready: Option<oneshot::Receiver<()>>) {
        let began = Instant::now();
        let (process, result) = self.start(id, function, ready).await;
        match (&process, result) {
            (Some(process), Ok(worker)) => {
                let handles = self.shared.metrics.handles(function.name());
                handles.cold_starts.inc();
                observe(&handles.init, began.elapsed());
                self.started(worker, function);
                self.outlive_idleness(id, process, function.spec.idle_timeout).await;
            }
            (_, Err(error)) => self.start_failed(id, error),
            (None, Ok(_)) => {}
        }
        if let Some(process) = process {
            process.exited().await;
        }
        self.dead(id);
    }

    async fn start(
        &self,
        id: WorkerId,
        function: &Arc<Function>,
        ready: Option<oneshot::Receiver<()>>,
    ) -> (Option<super::process::Process>, Result<Worker, RunError>) {
        let shared = &self.shared;
        let start = async {
            if let Some(ready) = ready {
                // The sender is dropped only with the house.
                let _ = ready.await;
            }
            shared.workshop.start_worker(id, function).await
        };
        tokio::select! {
            biased;
            () = shared.ending.cancelled() => (None, Err(RunError::AgentEnds)),
            result = start => result,
        }
    }

    /// Returns when the worker is dead, or was idle for too long and is dying.
    async fn outlive_idleness(&self, id: WorkerId, process: &super::process::Process, idle_timeout: Duration) {
        /// A busy worker is looked at again after its idle timeout, which must not be a spin.
        const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
        loop {
            let idle_for = self.lock().idle.get(&id).map(|idle| idle.since.elapsed());
            // A busy worker cannot reach its timeout before a whole one is over: calls need not tell this task of anything.
            let pause = match idle_for {
                Some(idle_for) => idle_timeout.saturating_sub(idle_for),
                None => idle_timeout.max(SHORTEST_PAUSE),
            };
            tokio::select! {
                _ = process.exited() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Some(worker) = self.expire(id, idle_timeout) {
                worker.process.kill();
                return;
            }
        }
    }

    fn expire(&self, id: WorkerId, idle_timeout: Duration) -> Option<Worker> {
        let mut state = self.lock();
        let is_due = state.idle.get(&id).is_some_and(|idle| idle.since.elapsed() >= idle_timeout);
        if !is_due || !state.machine.expire(id) {
            return None;
        }
        let idle = state.idle.remove(&id)?;
        state.lose(&idle.function);
        self.publish(&state);
        Some(idle.worker)
    }

    fn started(&self, worker: Worker, function: &Arc<Function>) {
        let handover = {
            let mut state = self.lock();
            let next = state.machine.start_succeeded(worker.id);
            self.place(&mut state, worker, function, next, LeaseAge::Fresh)
        };
        hand_over(handover);
    }

    fn start_failed(&self, id: WorkerId, error: RunError) {
        tracing::warn!(%error, "a worker could not be started");
        let waiting = {
            let mut state = self.lock();
            let failed = state.machine.start_failed(id);
            self.publish(&state);
            failed.and_then(|ticket| state.waiting.remove(&ticket))
        };
        if let Some(waiting) = waiting {
            // Nobody waits any more: then nobody has to know.
            let _ = waiting.send(Err(error));
        }
    }

    /// The process of a worker or job is dead.
    fn dead(&self, id: WorkerId) {
        let (ready, idle) = {
            let mut state = self.lock();
            state.unready.remove(&id);
            let idle = state.idle.remove(&id);
            if let Some(idle) = &idle {
                state.lose(&idle.function);
            }
            let ready = state.machine.dead(id);
            self.publish(&state);
            (ready.and_then(|ready| state.unready.remove(&ready)), idle)
        };
        drop(idle);
        if let Some(ready) = ready {
            let _ = ready.send(());
        }
    }

    /// A worker that was used can take another call.
    fn freed(&self, worker: Worker, function: &Arc<Function>) {
        let handover = {
            let mut state = self.lock();
            match state.machine.freed(worker.id) {
                Some(next) => self.place(&mut state, worker, function, next, LeaseAge::Used),
                // It died meanwhile.
                None => None,
            }
        };
        hand_over(handover);
    }

    fn retire(&self, id: WorkerId) {
        let mut state = self.lock();
        state.machine.retire(id);
        self.publish(&state);
    }

    /// A worker will not be idle again, though whoever saw its last call must think so.
    fn lost(&self, function: &Function) {
        self.lock().lose(function);
    }

    fn withdraw(&self, ticket: TicketId, function: &Digest) {
        let sender = {
            let mut state = self.lock();
            state.machine.withdraw(ticket, function);
            state.waiting.remove(&ticket)
        };
        drop(sender);
    }

    /// Puts a worker where the machine wants it. What is returned is to be sent after the lock.
    fn place(&self, state: &mut State, worker: Worker, function: &Arc<Function>, next: Next, age: LeaseAge) -> Option<Handover> {
        let handover = match next {
            Next::Idle => {
                let (id, function, since) = (worker.id, Arc::clone(function), Instant::now());
                state.idle.insert(id, Idle { worker, function, since });
                None
            }
            Next::Take(ticket) => {
                let lease = self.lease(worker, Arc::clone(function), age);
                Some(Handover { to: state.waiting.remove(&ticket), lease })
            }
        };
        self.publish(state);
        handover
    }

    fn lease(&self, worker: Worker, function: Arc<Function>, age: LeaseAge) -> Lease {
        Lease { house: self.clone(), worker, function, age, state: LeaseState::Unused }
    }

    fn kill_evicted(&self, evicted: Vec<Idle>) {
        self.shared.metrics.evicted(evicted.len());
        for idle in evicted {
            tracing::debug!(function = %idle.function.name(), worker = idle.worker.process.id(), "idle worker evicted");
            idle.worker.process.kill();
        }
    }

    fn publish(&self, state: &State) {
        self.shared.metrics.set_workers(state.machine.census(), state.machine.memory_held());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number that the first loss comes after: that of an agent which starts later is higher, unless workers are lost at more than one a
/// millisecond.
fn first_loss() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

struct Handover {
    to: Option<oneshot::Sender<Result<Lease, RunError>>>,
    lease: Lease,
}

/// Gives a worker to the call that waits for it. If that is gone, the dropped lease goes back, to the next one.
fn hand_over(handover: Option<Handover>) {
    if let Some(Handover { to: Some(to), lease }) = handover {
        let _ = to.send(Ok(lease));
    }
}

// === impl State ===

impl State {
    /// Notes the loss of an idle worker, for balancers.
    fn lose(&mut self, function: &Function) {
        self.lost.note(function.name());
        self.lost_header = None;
    }

    fn lost_header(&mut self) -> Option<HeaderValue> {
        if self.lost_header.is_none() {
            // Names and numbers: always a valid value.
            self.lost_header = HeaderValue::try_from(self.lost.to_string()).ok();
        }
        self.lost_header.clone()
    }

    fn wait(&mut self, ticket: TicketId) -> TicketIs {
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(ticket, sender);
        TicketIs::Waiting(receiver)
    }

    /// Takes the victims of a start out of the idle workers, and a waiter for their death if there are any.
    fn begin(&mut self, start: &Start) -> (Vec<Idle>, Option<oneshot::Receiver<()>>) {
        let evicted: Vec<Idle> = start.victims.iter().filter_map(|victim| self.idle.remove(victim)).collect();
        for idle in &evicted {
            self.lose(&idle.function);
        }
        let ready = (!start.victims.is_empty()).then(|| {
            let (sender, receiver) = oneshot::channel();
            self.unready.insert(start.worker, sender);
            receiver
        });
        (evicted, ready)
    }
}

// === impl Ticket ===

impl Ticket {
    /// Waits for the worker. Dropping the future gives the right to it up.
    ///
    /// # Errors
    /// The worker that was started for this call could not be.
    pub(crate) async fn lease(mut self) -> Result<Lease, RunError> {
        match std::mem::replace(&mut self.is, TicketIs::Spent) {
            TicketIs::Served(lease) => Ok(lease),
            TicketIs::Waiting(receiver) => {
                // Back in its place, so that dropping this future withdraws the call.
                self.is = TicketIs::Waiting(receiver);
                let TicketIs::Waiting(receiver) = &mut self.is else { return Err(RunError::AgentEnds) };
                let result = receiver.await.unwrap_or(Err(RunError::AgentEnds));
                self.is = TicketIs::Spent;
                result
            }
            TicketIs::Spent => Err(RunError::AgentEnds),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if matches!(self.is, TicketIs::Waiting(_)) {
            self.house.withdraw(self.id, &self.function.digest);
        }
    }
}

// === impl Lease ===

impl Lease {
    /// From here on the worker has, or may have, something of the call.
    pub(crate) fn use_it(&mut self) {
        self.state = LeaseState::Used;
    }

    /// The worker is of no use: it is killed. No answer of a failed call tells so; it is told as a loss.
    pub(crate) fn discard(mut self) {
        self.house.lost(&self.function);
        self.state = LeaseState::Used;
    }

    /// The worker has answered, and is killed all the same. The loss is told when what is returned is dropped: after the answer, since whoever
    /// has read that thinks that the worker is idle.
    pub(crate) fn discard_answered(mut self) -> UntoldLoss {
        self.state = LeaseState::Used;
        UntoldLoss { house: self.house.clone(), function: Arc::clone(&self.function) }
    }

    /// The call is over, and nothing of it is left with the worker: the next call may have it.
    pub(crate) fn give_back(mut self) {
        self.go_back();
    }

    fn go_back(&mut self) {
        self.state = LeaseState::Over;
        self.house.freed(self.worker.hand_over(), &self.function);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.state {
            LeaseState::Unused => self.go_back(),
            LeaseState::Used => {
                self.house.retire(self.worker.id);
                self.worker.process.kill();
            }
            LeaseState::Over => {}
        }
    }
}

impl Drop for UntoldLoss {
    fn drop(&mut self) {
        self.house.lost(&self.function);
    }
}

// === impl JobClaim ===

impl Drop for JobClaim {
    fn drop(&mut self) {
        self.house.dead(self.id);
    }
}

impl fmt::Debug for JobClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobClaim({:?})", self.id)
    }
}

// === impl PendingClaim ===

impl PendingClaim {
    /// Waits until the memory is free indeed. Dropping the future gives the claim up.
    pub(crate) async fn ready(mut self) -> JobClaim {
        if let Some(ready) = self.ready.take() {
            let _ = ready.await;
        }
        self.claim
    }
}
