//! The commands that serve. Each assembles its role out of the floors below, in a file of its own; what they share is here.
//!
//! * [`Service`] is what a role must be able to do; [`life`] leads it from its start to its end.
//! * [`shutdown`] is the order of ending, as a state machine; [`signals`] are the wishes from outside; [`reload`] reads the configuration
//!   again.

mod balancer;
mod banner;
mod lb;
mod life;
mod listener;
mod local_pool;
#[cfg(test)]
mod metrics_document;
mod registration;
mod reload;
mod runner;
mod shutdown;
mod signals;
mod sources;
mod tls;
mod up;

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

pub(super) use lb::LbCommand;
pub(super) use runner::RunnerCommand;
pub(super) use up::UpCommand;

use self::life::Service;
use self::reload::Reload;
use self::shutdown::Ending;
use self::signals::{Signals, Wish, WishSource as _, Wishes};
use super::arguments;
use crate::config::{Config, Loaded, Sources};
use crate::server::{PassedSockets, become_only_worker};
use crate::telemetry::logging::{self, LogControl};
use crate::telemetry::metrics::Metrics;

/// What every role stands on.
struct Ground {
    /// Sockets that were passed for the role's listeners.
    passed: PassedSockets,
    /// Where the role's parts declare their metrics.
    metrics: Metrics,
    /// Changes what the log shows.
    log: LogControl,
}

/// How long cutting off what is left may take. Nothing but a thread that waits for a file could make it long.
const CUT_OFF_TIME: Duration = Duration::from_secs(2);

/// How a role differs from the others before it is assembled.
struct Frame {
    sources: Sources,
    wishes: Wishes,
    /// What the role does to every configuration that was read, at the start and at each reload.
    prepare: fn(&mut Loaded),
    /// Who serves the role's calls.
    threads: Threads,
    /// The sections of its listeners, by which sockets are passed for them, in order.
    listeners: &'static [&'static str],
}

/// On which threads a role serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    /// On threads of one runtime, which share the work.
    Shared,
    /// On workers of their own ([`crate::server::Workers`]); the runtime is for what is beside the calls. One worker alone does both: the kernel looks a descriptor
    /// up without counting who has it while a process has one thread, which is a hundredth of what a call costs, and on one processor nothing is gained by two.
    Workers,
}

/// How many threads are to serve: as configured, or one for each processor. Connections to runners are kept for so many at most.
fn workers(config: &Config) -> usize {
    let threads = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        configured => configured.into(),
    };
    threads.min(MOST_WORKERS)
}

/// See [`workers`].
const MOST_WORKERS: usize = 64;

/// Lives a role's whole life: configuration, log, runtime, signals, `start`, and everything until the end.
///
/// # Errors
/// The configuration cannot be used, or the role could not start.
fn serve<S: Service>(frame: Frame, start: impl AsyncFnOnce(&Loaded, Ground) -> anyhow::Result<S>) -> anyhow::Result<ExitCode> {
    let Frame { sources, wishes, prepare, threads, listeners } = frame;
    // Before there are threads and children.
    let passed = PassedSockets::from_environment(listeners)?;
    let mut loaded = arguments::load(&sources)?;
    prepare(&mut loaded);
    let log = logging::init(&loaded.config.telemetry)?;
    let runtime = runtime(threads, &loaded.config).context("could not start the runtime")?;
    let ending = runtime.block_on(async {
        let mut signals = Signals::listen(wishes).context("could not listen to signals")?;
        let mut metrics = Metrics::new(&loaded.config.telemetry.metrics());
        let reload = Reload::new(sources, loaded.clone(), prepare, &mut metrics);
        let service = tokio::select! {
            service = start(&loaded, Ground { passed, metrics, log }) => service?,
            // Nothing has begun: what was started ends with the future that started it.
            () = told_to_end(&mut signals) => return Ok(Ending::Clean),
        };
        Ok::<Ending, anyhow::Error>(life::live(service, &mut signals, &loaded.config.shutdown, reload).await)
    })?;
    // Tasks that were cut off are dropped before the process ends: those that own processes kill them then.
    runtime.shutdown_timeout(CUT_OFF_TIME);
    Ok(match ending {
        Ending::Clean | Ending::Cut => ExitCode::SUCCESS,
        Ending::AtOnce => ExitCode::FAILURE,
    })
}

/// The runtime of a role, which is to be driven by this thread.
fn runtime(threads: Threads, config: &Config) -> std::io::Result<Runtime> {
    let threads = match threads {
        // Threads that share work find it by asking one another, and wake each other: one alone has nobody to ask.
        Threads::Shared if workers(config) == 1 => {
            return Builder::new_current_thread().enable_all().thread_name("runpool").build();
        }
        Threads::Workers if workers(config) == 1 => return become_only_worker(),
        Threads::Shared => workers(config),
        Threads::Workers => 1,
    };
    Builder::new_multi_thread().worker_threads(threads).enable_all().thread_name("runpool").build()
}

/// Returns when somebody wants an end before there was a beginning.
async fn told_to_end(signals: &mut Signals) {
    // What was just read needs no reload.
    while signals.next().await == Wish::Reload {}
}
