//! `runpool runner`: the agent.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::life::Service;
use super::listener::{Bound, Listener, Wanted};
use super::registration::Registrations;
use super::signals::{Hangup, StandardInput, Wishes};
use super::tls::RoleTls;
use super::{Frame, Ground, Threads, serve};
use crate::agent::{Agent, AgentMetrics, WardenCommand};
use crate::cli::arguments::ConfigArguments;
use crate::cli::output;
use crate::config::{Flag, Loaded, Role};
use crate::fleet::Announcement;
use crate::server::{Listening, Sharing};
use crate::telemetry::process;
use crate::telemetry::trace::{Tracer, TracerGuard};

/// Run functions for balancers
///
/// SIGTERM ends it in order: new calls are refused and /readyz answers 503 at once, the listener closes after shutdown.grace, running
/// calls have until shutdown.deadline. A second SIGTERM ends it at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  runpool runner --listen 127.0.0.1:9001 --slots 8\n  runpool runner --config runner.toml --set runner.memory=4GiB\n  runpool runner --listen 127.0.0.1:9001 --register http://127.0.0.1:8081"
)]
pub(in crate::cli) struct RunnerCommand {
    #[command(flatten)]
    config: ConfigArguments,

    /// Where balancers call (runner.listen); port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Calls that may run at once (runner.slots)
    #[arg(long, value_name = "N")]
    slots: Option<u32>,

    /// Admin address of a balancer to register with; may be repeated (runner.register.balancers)
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    register: Vec<String>,

    /// Print one line of JSON when it listens: its incarnation and its address
    #[arg(long, hide = true)]
    announce: bool,

    /// End when standard input ends
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl RunnerCommand {
    pub(in crate::cli) fn run(self) -> anyhow::Result<ExitCode> {
        let flags = [
            self.listen.map(|address| Flag::new("--listen", "runner.listen", address)),
            self.slots.map(|slots| Flag::new("--slots", "runner.slots", slots)),
            (!self.register.is_empty()).then(|| Flag::new("--register", "runner.register.balancers", self.register.join(","))),
        ];
        let standard_input = if self.stop_with_stdin { StandardInput::Parent } else { StandardInput::Ignored };
        let frame = Frame {
            sources: self.config.sources(Role::Runner, flags.into_iter().flatten()),
            wishes: Wishes { hangup: Hangup::Reload, standard_input },
            prepare: |_| {},
            threads: Threads::Shared,
            listeners: &[LISTENER],
        };
        serve(frame, async |loaded, ground| {
            let runner = Runner::start(loaded, ground).await?;
            if self.announce {
                output::print(runner.announcement().to_line())?;
            }
            Ok(runner)
        })
    }
}

/// The agent's parts.
struct Runner {
    agent: Agent,
    listener: Listener,
    registrations: Registrations,
    tls: RoleTls,
    tracer: TracerGuard,
}

/// The section of its listener.
const LISTENER: &str = "runner";

/// How long the last spans may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Runner {
    /// Opens the listener and takes calls.
    ///
    /// # Errors
    /// The address is taken, or the agent cannot be made as configured.
    async fn start(loaded: &Loaded, ground: Ground) -> anyhow::Result<Self> {
        let config = &loaded.config;
        let Ground { mut passed, mut metrics, .. } = ground;
        let wanted = Wanted {
            section: LISTENER,
            purpose: "the runner",
            listen: config.runner.listen,
            expose: config.runner.expose,
            admitted: config.runner.admitted(),
            count: 1,
            sharing: Sharing::Alone,
        };
        let socket = Bound::open(&wanted, &mut passed)?;
        process::declare(&mut metrics, env!("CARGO_PKG_VERSION"), option_env!("RUNPOOL_COMMIT"));
        let (tracer, tracer_guard) = Tracer::from_config(&config.telemetry)?;
        tracer.declare(&mut metrics);
        let mut tls = RoleTls::declare(&mut metrics);
        let own_tls = tls.server("runner", &config.runner.tls)?;
        let register_tls = tls.client("register", "runner.register.tls", &config.runner.register.tls)?;
        let agent_metrics = AgentMetrics::declare(&mut metrics);
        let program =
            std::env::current_exe().context("could not find the program's own file, which the warden is started from")?;
        let agent = Agent::builder(config.runner.clone(), agent_metrics, Arc::new(metrics))
            .functions(config.functions.clone())
            .tracer(tracer)
            .warden(WardenCommand { program, arguments: vec!["warden".to_owned()] })
            .build()?;
        let (served, patience) = (agent.clone(), patience(config.shutdown.deadline));
        let listener = socket.serve(|socket, closing| async move {
            served.serve(Listening::new(socket, own_tls), closing, patience).await;
        })?;
        tracing::info!(incarnation = %agent.incarnation(), address = %listener.address(), "listening");
        let registrations = Registrations::begin(
            &config.runner.register,
            agent.incarnation(),
            listener.address(),
            config.runner.slots,
            register_tls,
        )?;
        Ok(Self { agent, listener, registrations, tls, tracer: tracer_guard })
    }

    fn announcement(&self) -> Announcement {
        Announcement { incarnation: self.agent.incarnation(), address: self.listener.address() }
    }
}

/// How long the agent waits for running calls: less than until everything is cut, so that callers whose calls it kills are told.
fn patience(deadline: Duration) -> Duration {
    const TO_TELL: Duration = Duration::from_secs(2);
    deadline - TO_TELL.min(deadline / 2)
}

impl Service for Runner {
    /// The gate closes at once: a refusal sends a call to another runner, so nobody loses by it. The listener stays for the grace, to refuse.
    fn become_unready(&mut self) {
        self.agent.drain();
        self.registrations.leave();
    }

    /// Functions come from balancers: there is nothing to take over but certificates.
    async fn reload(&mut self, _: &Loaded) -> anyhow::Result<()> {
        self.tls.reload().await;
        Ok(())
    }

    async fn close(mut self) {
        self.registrations.leave();
        self.listener.close().await;
        self.registrations.end().await;
        let tracer = self.tracer;
        // It ends in time by itself; a panic there was told already.
        let _ = tokio::task::spawn_blocking(move || tracer.close(LAST_WORDS)).await;
    }
}
