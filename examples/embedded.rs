//! The balancer inside a program of one's own: a pool that chooses runners by tenant, behind the program's own web server.
//!
//! ```console
//! $ cargo run --example embedded
//! ```
//!
//! It starts two plain HTTP servers as runners, one for each tenant, mounts the front into an axum router beside a page of its own, calls it
//! for both tenants, and ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use runpool::front::{Catalog, ExplainedCalls, Front, FrontConfig, FrontMetrics, FrontTelemetry};
use runpool::model::{Call, FunctionSpec};
use runpool::placement::{PlacementConfig, PlacementMetrics, PlacerChoice};
use runpool::pool::{Fault, Member, PoolAnswer, PoolError, RunnerPool, Snapshot};
use runpool::runner::http::{HttpRunner, HttpRunnerSettings, Protocol, RunnerMetrics};
use runpool::telemetry::access_log::AccessLog;
use runpool::telemetry::metrics::{Metrics, MetricsConfig};
use runpool::telemetry::trace::Tracer;
use tokio::net::TcpListener;

/// Runners by tenant, as the header `x-tenant` names it.
struct ByTenant {
    tenants: HashMap<String, Arc<Snapshot>>,
    nobody: Arc<Snapshot>,
}

#[async_trait]
impl RunnerPool for ByTenant {
    async fn runners(&self, call: &Call) -> PoolAnswer {
        let tenant = call.head.headers.get("x-tenant").and_then(|value| value.to_str().ok()).unwrap_or("");
        match self.tenants.get(tenant) {
            Some(snapshot) => PoolAnswer::ok(Arc::clone(snapshot)),
            // The user's fault: the call fails at once instead of waiting for runners that will not come.
            None => PoolAnswer {
                snapshot: Arc::clone(&self.nobody),
                error: Some(PoolError { fault: Fault::User, detail: format!("there is no tenant `{tenant}`") }),
            },
        }
    }

    async fn shutdown(&self) -> Result<(), PoolError> {
        for member in self.tenants.values().flat_map(|snapshot| snapshot.members()) {
            member.runner.close().await;
        }
        Ok(())
    }
}

/// A plain HTTP server that answers everything with `words`.
async fn plain_runner(words: &'static str) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(move || async move { words })).await });
    Ok(address)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    let runner_metrics = RunnerMetrics::declare(&mut metrics);
    let mut tenants = HashMap::new();
    for (tenant, words) in [("red", "red says hello\n"), ("blue", "blue says hello\n")] {
        let settings = HttpRunnerSettings::new(Protocol::Plain);
        let runner = HttpRunner::new(&plain_runner(words).await?, settings, &runner_metrics)?;
        tenants.insert(tenant.to_owned(), Arc::new(Snapshot::new(vec![Member::new(Arc::new(runner))])?));
    }
    let pool = Arc::new(ByTenant { tenants, nobody: Arc::new(Snapshot::empty()) });

    let config = PlacementConfig { placer: PlacerChoice::Naive, ..PlacementConfig::default() };
    let placement =
        runpool::placement::Placement::new(pool.clone(), &config, PlacementMetrics::declare(&mut metrics), Tracer::disabled())?;
    let catalog = Catalog::new(vec![FunctionSpec::named("hello".parse()?)], &[])?;
    let telemetry = FrontTelemetry {
        metrics: Arc::new(FrontMetrics::declare(&mut metrics)),
        tracer: Tracer::disabled(),
        access_log: AccessLog::off(),
        explained: ExplainedCalls::default(),
    };
    let front = Front::new(FrontConfig::default(), catalog, placement, telemetry);

    // The front is a tower service: it stands where any handler could.
    let app = Router::new().route("/", get(|| async { "the program's own page\n" })).fallback_service(front);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    for tenant in ["red", "blue", "green"] {
        let answer = client.post(format!("{url}/invoke/hello")).header("x-tenant", tenant).send().await?;
        println!("{tenant}: {} {}", answer.status(), answer.text().await?.trim_end());
    }
    pool.shutdown().await?;
    Ok(())
}
