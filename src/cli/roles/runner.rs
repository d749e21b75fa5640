//! `runpool runner`: the agent.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use hyper::service::service_fn;

use super::life::Service;
use super::listener::{Bound, Listener};
use super::signals::{Hangup, StandardInput, Wishes};
use super::unassembled::{self, Ready};
use super::{Frame, Ground, serve};
use crate::cli::arguments::ConfigArguments;
use crate::cli::output;
use crate::config::{Flag, Loaded, Role};
use crate::fleet::Announcement;
use crate::model::IncarnationId;
use crate::server;

/// Run functions for balancers
///
/// SIGTERM ends it in order: /readyz answers 503 at once, new calls are refused after shutdown.grace, running ones have until
/// shutdown.deadline. A second SIGTERM ends it at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  runpool runner --listen 127.0.0.1:9001 --slots 8\n  runpool runner --config runner.toml --set runner.memory=4GiB"
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
        ];
        let standard_input = if self.stop_with_stdin { StandardInput::Parent } else { StandardInput::Ignored };
        let frame = Frame {
            sources: self.config.sources(Role::Runner, flags.into_iter().flatten()),
            wishes: Wishes { hangup: Hangup::Reload, standard_input },
            prepare: |_| {},
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
#[derive(Debug)]
struct Runner {
    incarnation: IncarnationId,
    ready: Ready,
    listener: Listener,
}

impl Runner {
    /// Opens the listener.
    ///
    /// SEAM (assembly): `Agent::new` with the warden's command (`current_exe`, `warden`) and the status function's specification.
    async fn start(loaded: &Loaded, _ground: Ground) -> anyhow::Result<Self> {
        let config = &loaded.config.runner;
        let (incarnation, ready) = (new_incarnation(), Ready::new());
        let (slots, shared) = (config.slots, ready.clone());
        let limits = config.limits.clone();
        let listener = Bound::bind(config.listen, "the runner").await?.serve(|socket, closing| async move {
            let make_service = |_| {
                let ready = shared.clone();
                service_fn(move |request| std::future::ready(unassembled::answer(&request, &ready, incarnation, slots)))
            };
            server::serve(socket, &limits, closing, make_service).await;
        });
        tracing::info!(%incarnation, address = %listener.address(), "listening");
        Ok(Self { incarnation, ready, listener })
    }

    const fn announcement(&self) -> Announcement {
        Announcement { incarnation: self.incarnation, address: self.listener.address() }
    }
}

impl Service for Runner {
    /// SEAM (assembly): readiness only; the gate closes in [`Service::close`].
    fn become_unready(&mut self) {
        self.ready.end();
    }

    /// Functions come from balancers: there is nothing to take over.
    async fn reload(&mut self, _: &Loaded) -> anyhow::Result<()> {
        Ok(())
    }

    async fn close(self) {
        self.listener.close().await;
    }
}

/// A new life's identifier: the time and 80 random bits.
fn new_incarnation() -> IncarnationId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    IncarnationId::from_parts(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), rand::random())
}
