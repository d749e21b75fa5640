//! `runpool lb`: the balancer.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use hyper::service::service_fn;

use super::life::Service;
use super::listener::Listener;
use super::signals::{Hangup, StandardInput, Wishes};
use super::unassembled::{self, Ready};
use super::{Frame, serve};
use crate::cli::arguments::ConfigArguments;
use crate::config::{Flag, Loaded, Role};
use crate::server::ConnectionLimits;
use crate::telemetry::metrics::Metrics;

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
        };
        serve(frame, Lb::start)
    }
}

/// The balancer's parts.
#[derive(Debug)]
pub(super) struct Lb {
    ready: Ready,
    front: Listener,
    admin: Listener,
}

impl Lb {
    /// Opens the listeners.
    ///
    /// SEAM (assembly): metrics of every floor, tracer, pool of `HttpRunner`s, placement, `Front::new`, `Admin`.
    pub(super) async fn start(loaded: &Loaded, _metrics: Metrics) -> anyhow::Result<Self> {
        let config = &loaded.config;
        let ready = Ready::new();
        let make_service = |ready: Ready| {
            move |_| {
                let ready = ready.clone();
                service_fn(move |request| std::future::ready(unassembled::answer(&request, &ready, None)))
            }
        };
        let front = Listener::open(config.front.listen, "the front", &config.front.limits, make_service(ready.clone())).await?;
        let limits = ConnectionLimits::default();
        let admin = Listener::open(config.admin.listen, "the admin API", &limits, make_service(ready.clone())).await?;
        tracing::info!(front = %front.address(), admin = %admin.address(), "listening");
        Ok(Self { ready, front, admin })
    }

    /// Where clients call.
    pub(super) const fn front_address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Where operators look.
    pub(super) const fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }
}

impl Service for Lb {
    fn become_unready(&mut self) {
        self.ready.end();
    }

    /// SEAM (assembly): `Catalog::new` first, since it can fail; then the pool's new snapshot, then `Front::set_catalog`.
    async fn reload(&mut self, _: &Loaded) -> anyhow::Result<()> {
        Ok(())
    }

    async fn close(self) {
        let Self { ready: _, front, admin } = self;
        front.close().await;
        // SEAM (assembly): `Front::close`, then the pool's shutdown. Operators can look until the last call has ended.
        admin.close().await;
    }
}
