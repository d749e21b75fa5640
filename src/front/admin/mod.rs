//! What operators and their machines talk to: liveness, readiness, metrics, runners, functions, configuration.
//!
//! It has a listener and tasks of its own, loopback by default, and shares nothing with the path of calls but what it reads. What it
//! shows comes from an [`AdminSources`]; where that is wired up, is decided above. Every answer is bounded in time, the number of
//! requests in hand is bounded, tokens are asked for as `admin.tokens` say (`gate`), and what is wrong is told as a problem document with an outcome's word, as on the front.
//!
//! | route | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process turns |
//! | `GET /readyz`, `/healthz` | 200 or 503; `?verbose` lists the checks |
//! | `GET /metrics` | metrics, in the format that `Accept` asks for |
//! | `GET /v1/runners` | the pool; `?status=1` asks every agent now |
//! | `PUT`, `DELETE /v1/runners/{incarnation}` | a runner registers itself, or leaves; with a bearer token |
//! | `GET /v1/functions` | what there is to call, values of the environment masked |
//! | `GET /v1/calls/{id}/placement` | why one of the last calls went where it went |
//! | `GET /v1/config` | every value in force and where it came from |
//! | `GET`, `PUT /v1/log-filter` | what the program's log shows |
//! | `GET /v1/prometheus-targets` | the runners for Prometheus' HTTP service discovery |
//! | `GET /openapi.json` | all of this as an OpenAPI document |
//!
//! There is no HTML here, and nothing that touches a call.

mod calls;
mod config;
mod functions;
mod gate;
mod health;
mod log_filter;
mod openapi;
mod problems;
mod readiness;
mod registration;
mod runners;
mod scrape;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, put};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;

pub use self::config::ConfigValue;
pub use self::gate::AdminGate;
pub use self::openapi::document as openapi_document;
pub use self::readiness::{Phase, Readiness};
use super::{AdminConfig, ExplainedCalls};
use crate::model::{ByteSize, Function};
use crate::pool::sources::Registrar;
use crate::pool::{Member, Snapshot};
use crate::server::{ConnectionLimits, Listening, serve as serve_connections};
use crate::telemetry::logging::LogControl;
use crate::telemetry::metrics::Metrics;

/// What the admin listener shows. Asked anew for every request, on the path of the request: answers come from memory.
pub trait AdminSources: Send + Sync + 'static {
    /// The runners of the pool, now.
    fn runners(&self) -> Arc<Snapshot>;

    /// What the balancer knows of one runner, as the members of a JSON object (state, calls in flight, last error, …). They stand beside
    /// `id` and `address` in the answer.
    fn runner_view(&self, _member: &Member) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }

    /// Who takes registrations of runners; `None` if nobody does.
    fn registrar(&self) -> Option<Arc<Registrar>> {
        None
    }

    /// Why the last calls went where they went; nothing is remembered unless this is told.
    fn explained(&self) -> ExplainedCalls {
        ExplainedCalls::default()
    }

    /// The functions that can be called, now.
    fn functions(&self) -> Vec<Arc<Function>>;

    /// Every value of the configuration in force. Secrets must be masked already.
    fn config(&self) -> Vec<ConfigValue>;
}

/// The admin listener before it listens.
pub struct Admin {
    shared: Shared,
    gate: AdminGate,
}

/// What every handler can reach.
#[derive(Clone)]
struct Shared {
    sources: Arc<dyn AdminSources>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    ready_runners: usize,
    log: Option<LogControl>,
}

/// Requests in hand at once; one more is answered 503. Liveness and readiness are not among them.
const MAX_IN_FLIGHT: usize = 32;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl Admin {
    /// Shows these sources, these metrics and this readiness.
    pub fn new(config: &AdminConfig, sources: Arc<dyn AdminSources>, metrics: Arc<Metrics>, readiness: Readiness) -> Self {
        let shared = Shared { sources, metrics, readiness, ready_runners: config.ready_runners, log: None };
        Self { shared, gate: AdminGate::new(&config.tokens) }
    }

    /// Where its tokens can be replaced.
    pub fn gate(&self) -> AdminGate {
        self.gate.clone()
    }

    /// Lets the filter of the program's log be changed. Without, `/v1/log-filter` is not there.
    #[must_use]
    pub fn with_log(mut self, log: LogControl) -> Self {
        self.shared.log = Some(log);
        self
    }

    /// The routes. They can also be served as a part of something else.
    pub fn router(self) -> Router {
        let mut limited = Router::new()
            .route("/metrics", get(scrape::metrics))
            .route("/v1/runners", get(runners::list))
            .route("/v1/prometheus-targets", get(runners::prometheus_targets))
            .route("/v1/functions", get(functions::list))
            .route("/v1/calls/{id}/placement", get(calls::placement))
            .route("/v1/config", get(config::list))
            .route("/openapi.json", get(openapi::serve));
        if self.shared.log.is_some() {
            limited = limited.route("/v1/log-filter", get(log_filter::read).put(log_filter::change));
        }
        let registration = Router::new().route(
            "/v1/runners/{incarnation}",
            put(registration::register).delete(registration::unregister).layer(DefaultBodyLimit::max(registration::MAX_BODY)),
        );
        let limited = limited.route_layer(from_fn_with_state(self.gate, gate::check)).merge(registration);
        let limits = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(problems::from_layer))
            .layer(LoadShedLayer::new())
            // One limit for all routes: the layer that is not global would make one for each.
            .layer(GlobalConcurrencyLimitLayer::new(MAX_IN_FLIGHT))
            .layer(TimeoutLayer::new(ANSWER_TIMEOUT));
        Router::new()
            .merge(limited.route_layer(limits))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route("/healthz", get(health::readyz))
            .fallback(problems::not_found)
            .method_not_allowed_fallback(problems::method_not_allowed)
            .with_state(self.shared)
    }
}

/// Serves the routes until `closing` is cancelled; then lets requests in hand end, and returns.
///
/// Dropping the future closes the listener and cuts every connection.
pub async fn serve(listener: impl Into<Listening>, router: Router, closing: CancellationToken) {
    let limits = ConnectionLimits {
        max_connections: 256,
        max_header_size: ByteSize::kib(16),
        max_streams: 32,
        ..ConnectionLimits::default()
    };
    serve_connections(listener, &limits, closing, |_peer| TowerToHyperService::new(router.clone())).await;
}
