//! `GET /status`: what the agent has counted, and what its status function says.
//!
//! The order of a look is Fn's: the barrier file, then the embedding program's own check, then the status function; a check that fails ends the
//! look. One look at a time is made, whoever asks; its result is told again for a while. It runs to its end even if whoever
//! asked leaves.
//!
//! The status function is really run, outside the slots and the memory of calls, so that a full agent can still be looked at: it has a
//! [`House`] of its own. Its worker is idle for a second at most, less than a result is told again, so that the next look meets a
//! new process, and proves that processes can be started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::accepted::{Accepted, Ended, Room};
use super::answer::AnswerBody;
use super::fn_contract::FunctionRequest;
use super::house::House;
use super::input::Input;
use super::metrics::AgentMetrics;
use super::run::{Accounts, Held, RunFacts};
use crate::model::{CallId, Function, FunctionSpec, Intent, Rfc3339};
use crate::protocol::AgentStatus;
use crate::telemetry::trace::{SpanKind, Tracer};

/// A check of the embedding program's own: what it reports is shown as `custom_status`; its error fails the status, with code 450. It may
/// block.
pub type HealthCheck = Arc<dyn Fn() -> Result<BTreeMap<String, String>, String> + Send + Sync>;

/// The code of a failed check (Fn).
const CHECK_FAILED: u16 = 450;

/// How long the status function may run (Fn).
const RUN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long its worker stays (Fn).
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a look may take altogether (Fn).
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest `details`: a status is read whole by whoever asks.
const MAX_DETAILS: usize = 64 * 1024;

/// Makes the looks.
#[derive(Clone)]
pub(crate) struct StatusDesk {
    shared: Arc<Shared>,
}

struct Shared {
    function: Option<Arc<Function>>,
    check: Option<HealthCheck>,
    barrier: Option<PathBuf>,
    cache: Duration,
    house: House,
    metrics: Arc<AgentMetrics>,
    tracer: Tracer,
    /// Protects the decision whether to look; held for that only.
    flight: Mutex<Flight>,
}

enum Flight {
    Grounded,
    Flying(watch::Receiver<Option<Arc<Look>>>),
    Landed { at: Instant, look: Arc<Look> },
}

/// What one look found.
#[derive(Debug, Default)]
struct Look {
    part: AgentStatus,
    was_told: AtomicBool,
}

/// What a desk is made of.
pub(crate) struct Desk {
    pub(crate) function: Option<FunctionSpec>,
    pub(crate) check: Option<HealthCheck>,
    pub(crate) barrier: Option<PathBuf>,
    pub(crate) cache: Duration,
    /// For the status function alone.
    pub(crate) house: House,
    /// Apart from those of calls.
    pub(crate) metrics: Arc<AgentMetrics>,
    pub(crate) tracer: Tracer,
}

// === impl StatusDesk ===

impl StatusDesk {
    /// A desk that has looked at nothing yet.
    pub(crate) fn new(desk: Desk) -> Self {
        let Desk { function, check, barrier, cache, house, metrics, tracer } = desk;
        let function = function.map(|spec| {
            let timeout = spec.timeout.min(RUN_TIMEOUT);
            Arc::new(Function::new(FunctionSpec { timeout, idle_timeout: IDLE_TIMEOUT, ..spec }))
        });
        let flight = Mutex::new(Flight::Grounded);
        Self { shared: Arc::new(Shared { function, check, barrier, cache, house, metrics, tracer, flight }) }
    }

    /// The part of the status that a look finds. Dropping the future leaves the look running.
    pub(crate) async fn look(&self) -> AgentStatus {
        if self.shared.function.is_none() && self.shared.check.is_none() {
            // Nothing to run: always fresh (case 14).
            return AgentStatus { is_network_disabled: self.is_network_disabled().await, ..AgentStatus::default() };
        }
        let mut flight = match self.board() {
            Ok(look) => return tell(&look),
            Err(flight) => flight,
        };
        match flight.wait_for(Option::is_some).await.map(|look| look.clone()) {
            Ok(Some(look)) => tell(&look),
            _ => failure("the look at the status broke off".to_owned(), 500),
        }
    }

    /// The last look, if it is young enough; else the one that flies; else a new one.
    fn board(&self) -> Result<Arc<Look>, watch::Receiver<Option<Arc<Look>>>> {
        let mut flight = self.lock();
        match &*flight {
            Flight::Landed { at, look } if at.elapsed() < self.shared.cache => return Ok(Arc::clone(look)),
            // A flight whose sender is gone has crashed.
            Flight::Flying(landing) if landing.has_changed().is_ok() => return Err(landing.clone()),
            _ => {}
        }
        let (land, landing) = watch::channel(None);
        *flight = Flight::Flying(landing.clone());
        drop(flight);
        let desk = self.clone();
        self.shared.house.workshop().tasks.spawn(async move {
            let part = tokio::time::timeout(LOOK_TIMEOUT, desk.make_look()).await;
            let part = part.unwrap_or_else(|_| failure("the look at the status took longer than 60s".to_owned(), 504));
            let look = Arc::new(Look { part, was_told: AtomicBool::new(false) });
            *desk.lock() = Flight::Landed { at: Instant::now(), look: Arc::clone(&look) };
            land.send_replace(Some(look));
        });
        Err(landing)
    }

    async fn make_look(&self) -> AgentStatus {
        let is_network_disabled = self.is_network_disabled().await;
        let custom_status = match self.ask_check().await {
            Ok(custom) => custom,
            Err(error) => return AgentStatus { is_network_disabled, ..failure(error, CHECK_FAILED) },
        };
        let run = match &self.shared.function {
            Some(function) => self.run(function).await,
            None => AgentStatus::default(),
        };
        AgentStatus { is_network_disabled, custom_status, ..run }
    }

    async fn is_network_disabled(&self) -> bool {
        match &self.shared.barrier {
            Some(barrier) => !tokio::fs::try_exists(barrier).await.unwrap_or(false),
            None => false,
        }
    }

    async fn ask_check(&self) -> Result<BTreeMap<String, String>, String> {
        let Some(check) = self.shared.check.clone() else { return Ok(BTreeMap::new()) };
        match tokio::task::spawn_blocking(move || check()).await {
            Ok(result) => result,
            Err(error) => Err(format!("the check broke off: {error}")),
        }
    }

    /// Runs the status function once: `GET /` without a body.
    async fn run(&self, function: &Arc<Function>) -> AgentStatus {
        let shared = &self.shared;
        let created = SystemTime::now();
        let millis = created.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let call = CallId::from_parts(u64::try_from(millis).unwrap_or(0), rand::random());
        let span = shared.tracer.span("status", SpanKind::Internal, &shared.tracer.adopt(None));
        let request = FunctionRequest {
            call,
            intent: Intent::HttpRequest,
            method: Method::GET,
            target: "/".to_owned(),
            headers: HeaderMap::new(),
            trace: *span.context(),
        };
        let accepted = Accepted {
            function: Arc::clone(function),
            request,
            deadline: None,
            max_answer_body: u64::MAX,
            started: None,
            held: Held::default(),
            accounts: Accounts::open(call, Arc::clone(function), Arc::clone(&shared.metrics), span),
        };
        let began = Instant::now();
        let ended = match Room::find(&shared.house, function) {
            Ok(room) => room.run(accepted, &shared.house, Input::held(Bytes::new())).await,
            Err(_no_room) => accepted.refuse(),
        };
        let (mut status, RunFacts { timing, .. }) = match ended {
            Ended::Answered(response, facts) => {
                let code = response.status();
                match read_details(response.into_body()).await {
                    Ok(details) if code.as_u16() < 400 => (AgentStatus { details, ..AgentStatus::default() }, facts),
                    Ok(details) => {
                        let failed = failure(format!("the status function answered with status {code}"), code.as_u16());
                        (AgentStatus { details, ..failed }, facts)
                    }
                    Err(error) => (failure(error, 502), facts),
                }
            }
            Ended::Failed(error, facts) => (failure(error.to_string(), error.outcome().status().as_u16()), facts),
            Ended::Refused => (failure("there is no room for the status function".to_owned(), 503), Default::default()),
        };
        let started = created + timing.scheduling;
        let execution = began.elapsed().saturating_sub(timing.scheduling);
        status.status_id = call.to_string();
        status.created_at = Rfc3339::nanos(created).to_string();
        status.started_at = Rfc3339::nanos(started).to_string();
        status.completed_at = Rfc3339::nanos(started + execution).to_string();
        status.scheduler_duration_ns = nanos(timing.scheduling);
        status.execution_duration_ns = nanos(execution);
        // Its worker is new for each look: what came before its taking the call was its start.
        status.init_start_time_ns = nanos(timing.scheduling);
        status
    }

    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.shared.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look's result; all but the first who get it are told that it is not fresh.
fn tell(look: &Look) -> AgentStatus {
    AgentStatus { cached: look.was_told.swap(true, Ordering::AcqRel), ..look.part.clone() }
}

fn failure(error_str: String, error_code: u16) -> AgentStatus {
    AgentStatus { status_failed: true, error_code, error_str, ..AgentStatus::default() }
}

/// The answer as text, its beginning if it is long. Reads to the end in any case.
async fn read_details(mut body: AnswerBody) -> Result<String, String> {
    let mut details = Vec::new();
    while let Some(frame) = body.frame().await {
        let bytes = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
        let room = MAX_DETAILS.saturating_sub(details.len()).min(bytes.len());
        details.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&details).into_owned())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
