//! `runpool lb`: the balancer.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::balancer::{Balancer, RunnerSource};
use super::signals::{Hangup, StandardInput, Wishes};
use super::{Frame, Threads, serve};
use crate::cli::arguments::ConfigArguments;
use crate::cli::output;
use crate::config::{Flag, Role};

/// Place calls onto the configured runners
///
/// SIGTERM ends it in order: /readyz answers 503 at once, the listeners close after shutdown.grace, calls in flight have until
/// shutdown.deadline. A second SIGTERM ends it at once. SIGHUP reloads functions, routes and runners.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool lb --config plain.toml --workers 1\n  runpool lb --set pool.protocol=plain --set \
                        pool.runners=127.0.0.1:9001,127.0.0.1:9002")]
pub(in crate::cli) struct LbCommand {
    #[command(flatten)]
    config: ConfigArguments,

    /// Where clients call (front.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Where operators look (admin.listen)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,

    /// Print one line of JSON when it listens: the addresses of front and admin
    #[arg(long, hide = true)]
    announce: bool,
}

impl LbCommand {
    pub(in crate::cli) fn run(self) -> anyhow::Result<ExitCode> {
        let flags = [
            self.listen.map(|address| Flag::new("--listen", "front.listen", address)),
            self.admin_listen.map(|address| Flag::new("--admin-listen", "admin.listen", address)),
        ];
        let frame = Frame {
            sources: self.config.sources(Role::Lb, flags.into_iter().flatten()),
            wishes: Wishes { hangup: Hangup::Reload, standard_input: StandardInput::Ignored },
            prepare: |_| {},
            threads: Threads::Workers,
            listeners: Balancer::LISTENERS,
        };
        serve(frame, async |loaded, ground| {
            let balancer = Balancer::start(loaded, ground, RunnerSource::Configuration).await?;
            if self.announce {
                let announcement = json!({ "front": balancer.front_address(), "admin": balancer.admin_address() });
                output::print(format!("{announcement}\n"))?;
            }
            Ok(balancer)
        })
    }
}
