//! The agent as a whole: made, served, drained, ended.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::service::service_fn;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::calls::CallTable;
use super::config::{AgentConfig, InvalidAgentConfig, check_socket_directory};
use super::functions::Functions;
use super::gate::Gate;
use super::house::House;
use super::memory_watch::watch_memory;
use super::metrics::AgentMetrics;
use super::process::{Groups, Spawner, WardenCommand, keep_warden, kill_marked};
use super::routes;
use super::run_error::RunError;
use super::service::Service;
use super::status::{Desk, HealthCheck, StatusDesk};
use super::worker::{Workshop, make_private_directory};
use crate::model::{Digest, FunctionName, FunctionSpec, IncarnationId};
use crate::protocol::AgentStatus;
use crate::server::{Listening, serve};
use crate::telemetry::metrics::{Metrics, MetricsConfig};
use crate::telemetry::trace::Tracer;

/// An agent could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its configuration cannot be used.
    #[error(transparent)]
    Config(#[from] InvalidAgentConfig),
    /// The status function is not among the functions.
    #[error("runner.status_function is `{name}`, which is no function with a command: expected one of the configured functions")]
    NoStatusFunction {
        /// Its name.
        name: FunctionName,
    },
    /// The directory for sockets could not be made.
    #[error("could not make the directory {path} for sockets of workers: {source}")]
    SocketDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The thread that starts processes could not be started.
    #[error("could not start the thread that starts processes: {0}")]
    Spawner(#[source] std::io::Error),
    /// There is no runtime to run on.
    #[error("an agent must be made inside a Tokio runtime")]
    NoRuntime,
}

/// Makes an [`Agent`].
pub struct AgentBuilder {
    config: AgentConfig,
    metrics: AgentMetrics,
    registry: Arc<Metrics>,
    functions: Vec<FunctionSpec>,
    tracer: Tracer,
    warden: Option<WardenCommand>,
    check: Option<HealthCheck>,
}

/// An agent: runs functions for whoever may call it. Cheap to clone.
///
/// Dropping the last clone kills every process it started.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    config: AgentConfig,
    service: Arc<Service>,
    groups: Arc<Groups>,
    /// Owns every task.
    tasks: TaskTracker,
    /// Cancelled when no more processes may be started.
    ending: CancellationToken,
    sockets: Arc<Path>,
    warden: Option<WardenCommand>,
}

// === impl AgentBuilder ===

impl AgentBuilder {
    /// Functions that the agent knows from the start. Those without a command are passed over: they cannot run here.
    #[must_use]
    pub fn functions(mut self, functions: Vec<FunctionSpec>) -> Self {
        self.functions = functions;
        self
    }

    /// Where spans of runs go; nowhere without this.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// The warden that kills what a killed agent leaves behind. Without one, the leaders of process groups still die with the agent,
    /// but children that they started may not.
    #[must_use]
    pub fn warden(mut self, command: WardenCommand) -> Self {
        self.warden = Some(command);
        self
    }

    /// A check that `/status` makes before it runs the status function.
    #[must_use]
    pub fn health_check(mut self, check: HealthCheck) -> Self {
        self.check = Some(check);
        self
    }

    /// Makes the agent, inside a Tokio runtime. It takes no calls before [`Agent::serve`].
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn build(self) -> Result<Agent, AgentError> {
        let Self { config, metrics, registry, functions, tracer, warden, check } = self;
        if let Some(invalid) = config.validate().into_iter().next() {
            return Err(InvalidAgentConfig(invalid).into());
        }
        let runtime = Handle::try_current().map_err(|_| AgentError::NoRuntime)?;
        let status_function = status_function(&config, &functions)?;
        let incarnation = new_incarnation();
        let sockets = make_socket_directory(&config, &incarnation)?;
        let (tasks, groups, ending) = (TaskTracker::new(), Arc::new(Groups::default()), CancellationToken::new());
        let spawner = Spawner::start(runtime, tasks.clone(), Arc::clone(&groups)).map_err(AgentError::Spawner)?;
        let workshop = Workshop {
            spawner,
            tasks: tasks.clone(),
            incarnation: incarnation.to_string().into(),
            sockets: Arc::clone(&sockets),
            max_answer_head: config.max_answer_head,
        };
        let metrics = Arc::new(metrics);
        metrics.set_limits(config.slots, config.memory.bytes());
        let status_desk = StatusDesk::new(Desk {
            function: status_function.clone(),
            check,
            barrier: config.barrier_file.clone(),
            cache: config.status_cache,
            house: status_house(&workshop, &ending),
            metrics: unseen_metrics(),
            tracer: tracer.clone(),
        });
        let known = Functions::default();
        for spec in functions {
            // A function without a command is only a placement key.
            let _ = known.learn(&Digest::of(&spec), spec);
        }
        let service = Arc::new(Service {
            incarnation,
            gate: Gate::new(config.slots, config.room, metrics.gate()),
            functions: known,
            calls: Arc::new(CallTable::default()),
            house: House::new(workshop, config.memory.bytes(), Arc::clone(&metrics), ending.clone()),
            status_function: status_function.map(|spec| spec.name),
            status_desk,
            memory: config.memory,
            max_answer_body: config.max_answer_body,
            metrics,
            registry,
            tracer,
        });
        Ok(Agent { shared: Arc::new(Shared { config, service, groups, tasks, ending, sockets, warden }) })
    }
}

fn status_function(config: &AgentConfig, functions: &[FunctionSpec]) -> Result<Option<FunctionSpec>, AgentError> {
    let Some(name) = &config.status_function else { return Ok(None) };
    let found = functions.iter().find(|spec| spec.name == *name && !spec.command.is_empty());
    found.cloned().map(Some).ok_or_else(|| AgentError::NoStatusFunction { name: name.clone() })
}

fn new_incarnation() -> IncarnationId {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    IncarnationId::from_parts(u64::try_from(now.as_millis()).unwrap_or(0), rand::random())
}

/// A directory of this incarnation's own, that only its owner can enter.
fn make_socket_directory(config: &AgentConfig, incarnation: &IncarnationId) -> Result<Arc<Path>, AgentError> {
    let parent = config.socket_directory.clone().unwrap_or_else(std::env::temp_dir);
    check_socket_directory(&parent).map_err(InvalidAgentConfig)?;
    let path = parent.join(format!("rp-{incarnation}"));
    let make = || {
        std::fs::create_dir_all(&parent)?;
        make_private_directory(&path)?;
        make_private_directory(&path.join(STATUS_SOCKETS))
    };
    make().map_err(|source| AgentError::SocketDirectory { path: path.clone(), source })?;
    Ok(path.into())
}

/// Below the directory of sockets: those of the status function's workers, which are numbered apart.
const STATUS_SOCKETS: &str = "s";

/// The status function's workers live apart from those of calls: neither slots nor memory of calls can block them, nor they those.
fn status_house(workshop: &Workshop, ending: &CancellationToken) -> House {
    const NO_LIMIT: u64 = u64::MAX >> 1;
    let workshop = Workshop { sockets: workshop.sockets.join(STATUS_SOCKETS).into(), ..workshop.clone() };
    House::new(workshop, NO_LIMIT, unseen_metrics(), ending.clone())
}

/// Runs of the status function are no calls: what they count is not shown.
fn unseen_metrics() -> Arc<AgentMetrics> {
    Arc::new(AgentMetrics::declare(&mut Metrics::new(&MetricsConfig::default())))
}

// === impl Agent ===

impl Agent {
    /// Begins to make an agent. `metrics` were declared in what became `registry`, which `/metrics` writes out.
    pub fn builder(config: AgentConfig, metrics: AgentMetrics, registry: Arc<Metrics>) -> AgentBuilder {
        let tracer = Tracer::disabled();
        AgentBuilder { config, metrics, registry, functions: Vec::new(), tracer, warden: None, check: None }
    }

    /// This life of the agent.
    pub fn incarnation(&self) -> IncarnationId {
        self.shared.service.incarnation
    }

    /// Closes the gate for good: from now on every call is refused with `draining`. Calls that run go on.
    pub fn drain(&self) {
        self.shared.service.drain();
    }

    /// Waits until no call is in hand. Means something only after [`drain`](Self::drain).
    pub async fn idle(&self) {
        self.shared.service.gate.idle().await;
    }

    /// What `GET /status` answers.
    pub async fn status(&self) -> AgentStatus {
        self.shared.service.status().await
    }

    /// Opens the gate and answers on `listener` until `closing` is cancelled. Then closes the gate, still answering (with refusals, and
    /// with signs of life), waits for the calls in hand for `patience` at most, kills what is left, and returns when no process of any
    /// function lives any more. Can be called once.
    ///
    /// Dropping the future kills every process, without waiting for their death.
    pub async fn serve(&self, listener: impl Into<Listening>, closing: CancellationToken, patience: Duration) {
        let shared = &*self.shared;
        let kill_if_dropped = KillOnDrop(shared);
        let warden_ending = CancellationToken::new().drop_guard();
        let warden = self.start_warden(&warden_ending);
        if !shared.config.memory_watch.is_zero() {
            let (calls, interval, ending) =
                (Arc::clone(&shared.service.calls), shared.config.memory_watch, shared.ending.clone());
            shared.tasks.spawn(async move { watch_memory(&calls, interval, &ending).await });
        }
        shared.tasks.spawn({
            let (gate, ending) = (shared.service.gate.clone(), shared.ending.clone());
            async move { ending.run_until_cancelled_owned(gate.mind_the_time()).await }
        });
        shared.service.gate.open();

        // Ends with every connection closed or cut, so that nothing holds on to a call.
        self.answer_until(listener, closing, patience).await;
        self.bury_all().await;
        drop(warden_ending);
        if let Some(warden) = warden {
            let _ = warden.await;
        }
        let _ = std::fs::remove_dir_all(&shared.sockets);
        drop(kill_if_dropped);
    }

    async fn answer_until(&self, listener: impl Into<Listening>, closing: CancellationToken, patience: Duration) {
        let shared = &*self.shared;
        let deaf = CancellationToken::new();
        let answering = serve(listener, &shared.config.limits, deaf.clone(), |_peer| {
            let service = Arc::clone(&shared.service);
            service_fn(move |request| {
                let service = Arc::clone(&service);
                async move { Ok::<_, Infallible>(routes::answer(&service, request).await) }
            })
        });
        let ending = async {
            closing.cancelled().await;
            self.drain();
            if tokio::time::timeout(patience, self.idle()).await.is_err() {
                tracing::warn!("calls are still running after the patience of {patience:?}; killing them");
                for control in shared.service.calls.running() {
                    control.kill(RunError::AgentEnds);
                }
            }
            deaf.cancel();
            // Connections now finish what they have begun; one whose client does not read is cut.
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = answering => {}
            () = ending => {}
        }
    }

    /// The warden's keeper is not among the tasks, since it must outlive all of them.
    fn start_warden(&self, ending: &DropGuard) -> Option<tokio::task::JoinHandle<()>> {
        let command = self.shared.warden.clone()?;
        let (sockets, groups) = (Arc::clone(&self.shared.sockets), Arc::clone(&self.shared.groups));
        let (incarnation, ending) = (self.incarnation().to_string(), ending.token().clone());
        Some(tokio::spawn(async move { keep_warden(&command, &incarnation, &sockets, &groups, &ending).await }))
    }

    /// Kills every process and waits until all are dead, those that left their group included.
    async fn bury_all(&self) {
        let shared = &*self.shared;
        shared.ending.cancel();
        shared.tasks.close();
        loop {
            shared.groups.kill_all();
            // What left its group may hold a pipe open that a task reads: it must go before the tasks can be waited for.
            let is_any_left = self.kill_marked().await > 0;
            tokio::select! {
                () = shared.tasks.wait(), if !is_any_left => return,
                // A start that was under way may add a process after the kill, and what is not our child dies without an event.
                () = tokio::time::sleep(AFTER_A_KILL) => {}
            }
        }
    }

    async fn kill_marked(&self) -> usize {
        let mark = self.incarnation().to_string();
        // It reads all of /proc.
        tokio::task::spawn_blocking(move || kill_marked(&mark)).await.unwrap_or(0)
    }
}

/// How long connections may take to send what they have begun, at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Until the next look for what is left.
const AFTER_A_KILL: Duration = Duration::from_millis(5);

struct KillOnDrop<'a>(&'a Shared);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

// === impl Shared ===

impl Shared {
    fn end(&self) {
        self.service.drain();
        self.ending.cancel();
        self.groups.kill_all();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}
