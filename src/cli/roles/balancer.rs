//! The balancer, assembled: pool, placement, front, admin listener, telemetry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Ground;
use super::life::Service;
use super::listener::{Bound, Listener, Wanted};
use super::tls::RoleTls;
use super::{local_pool, sources};
use crate::config::{Config, Loaded, Setting};
use crate::fleet::LocalRunner;
use crate::front::admin::{self, Admin, AdminGate, AdminSources, ConfigValue, Readiness};
use crate::front::{Catalog, ExplainedCalls, Front, FrontConfig, FrontMetrics, FrontTelemetry, serve, server};
use crate::model::Function;
use crate::placement::{Placement, PlacementMetrics};
use crate::pool::health::{HealthKeeper, HealthMetrics, HealthState};
use crate::pool::sources::{Registrar, SourceMetrics, SourceName};
use crate::pool::{Admission, ConfiguredPool, Member, RunnerPool as _, Snapshot, SnapshotPool};
use crate::runner::http::{HttpRunnerSettings, Protocol, RunnerMetrics};
use crate::server::{Draining, Listening, PassedSockets, Sharing};
use crate::telemetry::access_log::{AccessLog, AccessLogGuard};
use crate::telemetry::process;
use crate::telemetry::trace::{Tracer, TracerGuard};
use crate::tls::ClientTls;

/// Where the balancer's runners come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunnerSource {
    /// From `pool.runners` and the other sources of `[pool]`.
    Configuration,
    /// From a local fleet, which [`Balancer::follow`] is told of.
    LocalFleet,
}

/// The balancer's parts.
pub(super) struct Balancer {
    /// What is in use: a reload changes functions, routes and runners of it.
    config: Config,
    readiness: Readiness,
    /// Tells clients to go elsewhere.
    draining: Draining,
    front: Front,
    runners: Runners,
    shown: Arc<Shown>,
    admin_gate: AdminGate,
    tls: RoleTls,
    access_log: AccessLog,
    front_listener: Listener,
    admin_listener: Listener,
    /// Runners that a reload took away, as long as calls run on them; and whoever follows a local fleet.
    tasks: JoinSet<()>,
    source_metrics: SourceMetrics,
    /// Those who keep the pool what it should be, until the calls have ended.
    keepers: JoinSet<()>,
    guards: Guards,
}

/// The pool by its source.
enum Runners {
    Configured(Arc<ConfiguredPool>),
    Local { pool: Arc<SnapshotPool>, tls: Option<Arc<ClientTls>>, metrics: RunnerMetrics },
}

impl Runners {
    fn pool(&self) -> &Arc<SnapshotPool> {
        match self {
            Self::Configured(configured) => configured.pool(),
            Self::Local { pool, .. } => pool,
        }
    }
}

/// Those who write the last lines and spans.
struct Guards {
    access_log: AccessLogGuard,
    tracer: TracerGuard,
}

const FRONT: &str = "front";
const ADMIN: &str = "admin";

/// How long the last lines of the access log and the last spans may take each.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Balancer {
    /// The sections of its listeners.
    pub(super) const LISTENERS: &[&str] = &[FRONT, ADMIN];

    /// Opens the listeners and takes calls.
    ///
    /// # Errors
    /// An address is taken, the access log cannot be written, or the configuration does not fit together.
    pub(super) async fn start(loaded: &Loaded, ground: Ground, source: RunnerSource) -> anyhow::Result<Self> {
        let config = &loaded.config;
        // First what is most likely to fail.
        let Ground { mut passed, mut metrics, log } = ground;
        let (front_socket, admin_socket) = sockets(config, &mut passed)?;
        process::declare(&mut metrics, env!("CARGO_PKG_VERSION"), option_env!("RUNPOOL_COMMIT"));
        let (access_log, access_log_guard) = AccessLog::from_config(&config.telemetry)?;
        access_log.declare(&mut metrics);
        let (tracer, tracer_guard) = Tracer::from_config(&config.telemetry)?;
        tracer.declare(&mut metrics);

        let mut tls = RoleTls::declare(&mut metrics);
        let front_tls = tls.server("front", &config.front.tls)?;
        let admin_tls = tls.server("admin", &config.admin.tls)?;
        let pool_tls = tls.client("pool", "pool.tls", &config.pool.tls)?;
        let runner_metrics = RunnerMetrics::declare(&mut metrics);
        let (mut keepers, mut registrar) = (JoinSet::new(), None);
        let source_metrics = SourceMetrics::declare(&mut metrics);
        let runners = match source {
            RunnerSource::Configuration => {
                let configured =
                    ConfiguredPool::with_tls(&config.pool, config.placement.attempt_timeout, pool_tls, runner_metrics)?;
                let configured = Arc::new(configured);
                registrar = sources::follow(&configured, &config.pool, &source_metrics, &mut keepers)?;
                Runners::Configured(configured)
            }
            RunnerSource::LocalFleet => Runners::Local { pool: Arc::default(), tls: pool_tls, metrics: runner_metrics },
        };
        let (pool, health) = (Arc::clone(runners.pool()), HealthMetrics::declare(&mut metrics));
        keepers.spawn(HealthKeeper::new(pool, config.pool.protocol, config.pool.health.clone(), health).run());
        let placement = Placement::new(
            Arc::clone(runners.pool()) as _,
            &config.placement,
            PlacementMetrics::declare(&mut metrics),
            tracer.clone(),
        )
        .with_context(|| format!("placement.record: cannot append to {:?}", config.placement.record))?;
        placement.prepare();
        let catalog = catalog(config, config.pool.protocol)?;
        let telemetry = FrontTelemetry {
            metrics: Arc::new(FrontMetrics::declare(&mut metrics)),
            tracer,
            access_log: access_log.clone(),
            explained: ExplainedCalls::new(config.admin.explained_calls),
        };
        let front = Front::new(config.front.clone(), catalog, placement, telemetry);

        let readiness = Readiness::new();
        let shown = Arc::new(Shown {
            pool: Arc::clone(runners.pool()),
            front: front.clone(),
            registrar,
            settings: ArcSwap::from_pointee(config_values(loaded)),
        });
        let admin = Admin::new(&config.admin, Arc::clone(&shown) as _, Arc::new(metrics), readiness.clone()).with_log(log);
        let (admin_gate, router) = (admin.gate(), admin.router());
        let (served, draining) = (front.clone(), Draining::default());
        let server = server(&front, config.front.limits.clone(), draining.clone()).with_sharing(front_socket.sharing());
        let front_listener = front_socket.serve_on_workers(move |socket, closing| {
            serve(served.clone(), server.clone(), Listening::new(socket, front_tls.clone()), closing)
        })?;
        let admin_listener =
            admin_socket.serve(|socket, closing| admin::serve(Listening::new(socket, admin_tls), router, closing))?;
        readiness.set_ready();
        tracing::info!(front = %front_listener.address(), admin = %admin_listener.address(), "listening");
        Ok(Self {
            config: config.clone(),
            readiness,
            draining,
            front,
            runners,
            shown,
            admin_gate,
            tls,
            access_log,
            front_listener,
            admin_listener,
            tasks: JoinSet::new(),
            source_metrics,
            keepers,
            guards: Guards { access_log: access_log_guard, tracer: tracer_guard },
        })
    }

    /// Places calls onto the runners of a local fleet from now on, as they come and go.
    pub(super) fn follow(&mut self, fleet: watch::Receiver<Vec<LocalRunner>>) {
        let Runners::Local { pool, tls, metrics } = &self.runners else { return };
        let settings = self.config.pool.runner_settings(self.config.placement.attempt_timeout);
        let settings = HttpRunnerSettings { tls: tls.clone(), ..settings };
        let follower = local_pool::follow(Arc::clone(pool), settings, metrics.clone(), fleet);
        self.tasks.spawn(follower);
    }

    /// Where clients call.
    pub(super) const fn front_address(&self) -> SocketAddr {
        self.front_listener.address()
    }

    /// Where operators look.
    pub(super) const fn admin_address(&self) -> SocketAddr {
        self.admin_listener.address()
    }
}

/// The sockets of front and admin, passed or opened here.
fn sockets(config: &Config, passed: &mut PassedSockets) -> anyhow::Result<(Bound, Bound)> {
    let front = Wanted {
        section: FRONT,
        purpose: "the front",
        listen: config.front.listen,
        expose: config.front.expose,
        admitted: config.front.admitted(&config.functions),
        count: super::workers(config),
        sharing: if config.front.reuse_port { Sharing::WithProcesses } else { Sharing::Alone },
    };
    let admin = Wanted {
        section: ADMIN,
        purpose: "the admin API",
        listen: config.admin.listen,
        expose: config.admin.expose,
        admitted: config.admin.admitted(),
        count: 1,
        sharing: Sharing::Alone,
    };
    Ok((Bound::open(&front, passed)?, Bound::open(&admin, passed)?))
}

impl Service for Balancer {
    fn become_unready(&mut self) {
        self.readiness.set_draining();
        self.draining.set();
    }

    async fn reload(&mut self, loaded: &Loaded) -> anyhow::Result<()> {
        // What can fail comes first: after that, everything is taken over.
        let catalog = catalog(&loaded.config, self.config.pool.protocol)?;
        // The listener stays where it is and as it is, whatever is configured for the next start.
        let listen = self.front_listener.address();
        let in_force = FrontConfig { listen, ..self.config.front.clone() };
        if let Some(invalid) = in_force.check_exposure(&loaded.config.functions) {
            anyhow::bail!("front.{} is {} until a restart: expected {}", invalid.key, listen, invalid.expected);
        }
        let registration_tokens = sources::tokens(&loaded.config.pool.registration)?;
        if let Runners::Configured(configured) = &self.runners {
            let mut config = self.config.pool.clone();
            config.runners.clone_from(&loaded.config.pool.runners);
            let gone = configured.reload(&config, self.config.placement.attempt_timeout)?;
            self.source_metrics.listed(SourceName::Configuration, config.runners.len());
            for member in gone {
                tracing::info!(runner = %member.id, "runner taken away: its calls go on");
                self.tasks.spawn(async move { member.runner.close().await });
            }
            while self.tasks.try_join_next().is_some() {}
        }
        self.front.set_catalog(catalog);
        self.admin_gate.set_tokens(&loaded.config.admin.tokens);
        if let Some(registrar) = &self.shown.registrar {
            registrar.set_tokens(registration_tokens);
        }
        self.tls.reload().await;
        self.shown.take_over(config_values(loaded));
        // Whoever moves log files away asks for new ones by the same signal.
        self.access_log.reopen();
        Ok(())
    }

    /// Operators can look until the last call has ended.
    async fn close(self) {
        let Self { runners, mut front_listener, mut admin_listener, mut tasks, mut keepers, guards, .. } = self;
        front_listener.close().await;
        keepers.shutdown().await;
        // A pool of HTTP runners has nothing that could fail at its end.
        let _ = runners.pool().shutdown().await;
        match runners {
            Runners::Configured(configured) => {
                configured.let_all_go().await;
                while tasks.join_next().await.is_some() {}
            }
            // Its runners were closed just now; the fleet, which is followed, ends later.
            Runners::Local { .. } => tasks.abort_all(),
        }
        // Connections to runners live on workers: not before those were let go.
        front_listener.end().await;
        admin_listener.close().await;
        let Guards { access_log, tracer } = guards;
        let last_words = tokio::task::spawn_blocking(move || {
            access_log.close(LAST_WORDS);
            tracer.close(LAST_WORDS);
        });
        // It ends in time by itself; a panic there was told already.
        let _ = last_words.await;
    }
}

/// What the admin listener shows.
struct Shown {
    pool: Arc<SnapshotPool>,
    front: Front,
    registrar: Option<Arc<Registrar>>,
    settings: ArcSwap<Vec<ConfigValue>>,
}

/// The tables of which a reload takes over whatever is in them.
const RELOADED: [&str; 5] = ["function[", "route[", "front.tokens[", "admin.tokens[", "pool.registration.tokens["];

impl Shown {
    /// Takes the values over that a reload changes; the others stay in force until a restart.
    fn take_over(&self, next: Vec<ConfigValue>) {
        let is_reloaded =
            |value: &ConfigValue| value.key == "pool.runners" || RELOADED.iter().any(|table| value.key.starts_with(table));
        let kept = self.settings.load_full();
        let kept = kept.iter().filter(|value| !is_reloaded(value)).cloned();
        self.settings.store(Arc::new(kept.chain(next.into_iter().filter(is_reloaded)).collect()));
    }
}

impl AdminSources for Shown {
    fn runners(&self) -> Arc<Snapshot> {
        self.pool.snapshot()
    }

    fn runner_view(&self, member: &Member) -> Map<String, Value> {
        let view = member.runner.view().and_then(|view| serde_json::to_value(view).ok());
        let mut members = if let Some(Value::Object(members)) = view { members } else { Map::new() };
        // It stands beside them already.
        members.remove("address");
        members.insert("state".to_owned(), HealthState::from(member.admission).as_str().into());
        if let Admission::Closed(why) = member.admission {
            members.insert("reason".to_owned(), why.as_str().into());
        }
        members.insert("weight".to_owned(), member.weight.into());
        if !member.terms.labels.is_empty() {
            members.insert(
                "labels".to_owned(),
                member.terms.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect(),
            );
        }
        members
    }

    fn registrar(&self) -> Option<Arc<Registrar>> {
        self.registrar.clone()
    }

    fn explained(&self) -> ExplainedCalls {
        self.front.explained().clone()
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        self.front.catalog().functions().cloned().collect()
    }

    fn config(&self) -> Vec<ConfigValue> {
        self.settings.load().to_vec()
    }
}

/// What there is to call, by a configuration; `protocol` is the one in force.
fn catalog(config: &Config, protocol: Protocol) -> anyhow::Result<Catalog> {
    let catalog = Catalog::new(config.functions.clone(), &config.routes)?.guarded_by(&config.front.tokens);
    Ok(match protocol {
        // A function of an agent has a path of its own; plain servers have one for all.
        Protocol::Agent => catalog,
        Protocol::Plain => catalog.on_shared_servers(),
    })
}

fn config_values(loaded: &Loaded) -> Vec<ConfigValue> {
    let value = |setting: Setting| ConfigValue {
        key: setting.key,
        value: setting.value.unwrap_or(Value::Null),
        origin: setting.origin.to_string(),
    };
    loaded.settings().into_iter().map(value).collect()
}
