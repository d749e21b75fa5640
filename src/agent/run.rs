//! One run: what must happen exactly once when a call ends, whoever ends it.
//!
//! Many may end a run: the answer's last byte, the clock, the memory watch, a client that goes away, the agent's own end. The first of
//! them decides; [`RunControl`] is where they meet.
//!
//! | first | then |
//! |---|---|
//! | [`finish`](RunControl::finish): the process is done with the call | the slot is free at once |
//! | [`kill`](RunControl::kill) with a verdict | the group is killed, and the slot is free **when the process is dead**, for which an answer waits a moment ([`freed`](RunControl::freed)) |

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::CallEntry;
use super::gate::Permit;
use super::house::JobClaim;
use super::metrics::AgentMetrics;
use super::process::Process;
use super::run_error::RunError;
use super::workers::WorkerId;
use crate::model::{ByteSize, CallId, Function, Outcome};
use crate::protocol::{ServerTiming, WorkerStart};
use crate::telemetry::metrics::observe;
use crate::telemetry::trace::Span;

/// What a call holds until it is over.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Its slot; the status function has none.
    pub(crate) permit: Option<Permit>,
    /// Its place in the table of calls.
    pub(crate) entry: Option<CallEntry>,
    /// The memory of a job; a worker's is not the call's.
    pub(crate) claim: Option<JobClaim>,
}

/// The meeting place of all who can end a run.
pub(crate) struct RunControl {
    process: Process,
    memory: ByteSize,
    tasks: TaskTracker,
    /// Cancelled when a killed run's slot is free.
    is_free: CancellationToken,
    /// Protects the end of the run; held for a move, and for the system call that kills.
    end: Mutex<End>,
}

enum End {
    Open(Held),
    Finished,
    Killed(RunError),
}

impl RunControl {
    /// A run on `process`, which may use `memory` (0: no limit). `tasks` owns the wait for its death.
    pub(crate) fn new(process: Process, memory: ByteSize, tasks: TaskTracker, held: Held) -> Arc<Self> {
        let control =
            Arc::new(Self { process, memory, tasks, is_free: CancellationToken::new(), end: Mutex::new(End::Open(held)) });
        if let End::Open(Held { entry: Some(entry), .. }) = &*control.lock() {
            entry.is_running(&control);
        }
        control
    }

    /// The process is done with the call and with all it sent and was sent. What the call held is returned: the slot is free when it is
    /// dropped.
    ///
    /// # Errors
    /// The run was killed before, for this reason.
    pub(crate) fn finish(&self) -> Result<Held, RunError> {
        let mut end = self.lock();
        match std::mem::replace(&mut *end, End::Finished) {
            End::Open(held) => Ok(held),
            End::Finished => Ok(Held::default()),
            End::Killed(verdict) => {
                *end = End::Killed(verdict.clone());
                Err(verdict)
            }
        }
    }

    /// Kills the process's group because of `verdict`, unless the run is over. Returns the verdict that counts: the first one.
    pub(crate) fn kill(&self, verdict: RunError) -> RunError {
        let (held, verdict) = {
            let mut end = self.lock();
            match std::mem::replace(&mut *end, End::Finished) {
                End::Open(held) => {
                    *end = End::Killed(verdict.clone());
                    self.process.kill();
                    (held, verdict)
                }
                End::Finished => return verdict,
                End::Killed(first) => {
                    *end = End::Killed(first.clone());
                    return first;
                }
            }
        };
        let (process, is_free) = (self.process.clone(), self.is_free.clone());
        self.tasks.spawn(async move {
            process.exited().await;
            drop(held);
            is_free.cancel();
        });
        verdict
    }

    /// Waits until the slot of a killed run is free, for a moment at most: a process that cannot be killed at once, as it is deep in the kernel,
    /// must not keep the answer from its client.
    pub(crate) fn freed(&self) -> impl Future<Output = ()> + Send + use<> {
        const MOMENT: Duration = Duration::from_millis(100);
        let is_free = self.is_free.clone();
        async move {
            let _ = tokio::time::timeout(MOMENT, is_free.cancelled_owned()).await;
        }
    }

    /// The head of the answer is out.
    pub(crate) fn is_answering(&self) {
        if let End::Open(Held { entry: Some(entry), .. }) = &*self.lock() {
            entry.is_answering();
        }
    }

    /// The process that runs the call.
    pub(crate) const fn process(&self) -> &Process {
        &self.process
    }

    /// What the process may use; 0 is no limit.
    pub(crate) const fn memory(&self) -> ByteSize {
        self.memory
    }

    fn lock(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RunControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunControl({:?})", self.process)
    }
}

/// What is told of a call at its end, once.
pub(crate) struct Accounts {
    pub(crate) call: CallId,
    pub(crate) function: Arc<Function>,
    pub(crate) metrics: Arc<AgentMetrics>,
    pub(crate) span: Span,
    /// When the agent accepted the call.
    pub(crate) accepted: Instant,
    /// When a worker took it.
    started: Option<Instant>,
    facts: RunFacts,
    is_closed: bool,
}

/// What is told of a run beside its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunFacts {
    /// Where the time went.
    pub(crate) timing: ServerTiming,
    /// Whether its worker was warm; absent if none had it.
    pub(crate) start: Option<WorkerStart>,
    /// The worker that ran it, if that can run others.
    pub(crate) worker: Option<WorkerId>,
}

// === impl Accounts ===

impl Accounts {
    /// The accounts of a call that was accepted now.
    pub(crate) fn open(call: CallId, function: Arc<Function>, metrics: Arc<AgentMetrics>, span: Span) -> Self {
        let (accepted, facts) = (Instant::now(), RunFacts::default());
        Self { call, function, metrics, span, accepted, started: None, facts, is_closed: false }
    }

    /// What the call will run on, and how that came to it.
    pub(crate) const fn met(&mut self, worker: Option<WorkerId>, start: WorkerStart) {
        self.facts.worker = worker;
        self.facts.start = Some(start);
    }

    /// A worker took the call. The first time counts: what was tried on a dead worker is scheduling.
    pub(crate) fn started(&mut self) {
        let now = Instant::now();
        self.started = Some(now);
        self.facts.timing.scheduling = now.saturating_duration_since(self.accepted);
    }

    /// The head of the answer is here.
    pub(crate) fn answered(&mut self) {
        self.facts.timing.execution = self.started.map(|started| started.elapsed()).unwrap_or_default();
    }

    /// What is told beside the answer.
    pub(crate) const fn facts(&self) -> RunFacts {
        self.facts
    }

    /// The call did not run after all, and is refused: nothing is told of it here.
    pub(crate) fn forget(mut self) {
        self.is_closed = true;
    }

    /// The call ended so. Only the first end counts.
    pub(crate) fn close(&mut self, outcome: Outcome, detail: &str) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let name = self.function.name();
        self.metrics.ended(name, outcome);
        if let Some(started) = self.started {
            let handles = self.metrics.handles(name);
            observe(&handles.scheduling, self.facts.timing.scheduling);
            observe(&handles.execution, started.elapsed());
        }
        self.span.text("runpool.outcome", outcome.as_str());
        if outcome != Outcome::Ok {
            self.span.fail(detail);
            tracing::debug!(call = %self.call, function = %name, %outcome, detail, "a call ended without its answer");
        }
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        self.close(Outcome::ClientGone, "client gone before the call ended");
    }
}

/// A run in hand. Dropped before its end, because the client went away, it kills the process.
pub(crate) struct Run {
    pub(crate) control: Arc<RunControl>,
    pub(crate) accounts: Accounts,
    clock: Option<AbortHandle>,
}

// === impl Run ===

impl Run {
    /// A run that begins now.
    pub(crate) fn begin(control: Arc<RunControl>, mut accounts: Accounts) -> Self {
        accounts.started();
        Self { control, accounts, clock: None }
    }

    /// From here on the client's pace decides when we are asked for more: a task of its own watches the clock until the run is over.
    pub(crate) fn watch_clock(&mut self, deadline: tokio::time::Instant, limit: Duration) {
        let control = Arc::clone(&self.control);
        let clock = self.control.tasks.spawn(async move {
            tokio::time::sleep_until(deadline).await;
            control.kill(RunError::TimedOut(limit));
        });
        self.clock = Some(clock.abort_handle());
    }

    /// The call is answered, and the process has nothing of it left.
    ///
    /// # Errors
    /// The run was killed before; its end is accounted.
    pub(crate) fn finish(mut self) -> Result<Held, RunError> {
        match self.control.finish() {
            Ok(held) => {
                self.accounts.close(Outcome::Ok, "");
                Ok(held)
            }
            Err(verdict) => Err(self.close_failed(verdict)),
        }
    }

    /// The call is answered, but its process cannot be trusted with another.
    pub(crate) fn finish_and_kill(mut self) -> impl Future<Output = ()> + Send + use<> {
        self.accounts.close(Outcome::Ok, "");
        self.control.kill(RunError::Disconnected);
        self.control.freed()
    }

    /// The function failed by its own account; its process is done with the call.
    ///
    /// # Errors
    /// The run was killed before; its end is accounted.
    pub(crate) fn fail(mut self, error: RunError) -> Result<(Held, RunError), RunError> {
        match self.control.finish() {
            Ok(held) => Ok((held, self.close_failed(error))),
            Err(verdict) => Err(self.close_failed(verdict)),
        }
    }

    /// The run failed, and its process is killed. Returns the reason that counts: the first one.
    pub(crate) fn kill(mut self, error: RunError) -> RunError {
        let verdict = self.control.kill(error);
        self.close_failed(verdict)
    }

    /// The run failed: kills its process, and waits a moment for its slot, so that the next call finds it free. Returns what is told.
    pub(crate) async fn kill_and_free(self, error: RunError) -> (RunError, RunFacts) {
        let (control, facts) = (Arc::clone(&self.control), self.accounts.facts());
        let error = self.kill(error);
        control.freed().await;
        (error, facts)
    }

    fn close_failed(&mut self, error: RunError) -> RunError {
        self.accounts.close(error.outcome(), &error.to_string());
        error
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(clock) = &self.clock {
            clock.abort();
        }
        // Does nothing after a regular end.
        self.control.kill(RunError::ClientGone);
    }
}
