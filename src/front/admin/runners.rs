//! `/v1/runners` and `/v1/prometheus-targets`: the pool.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Shared;
use super::health::has_flag;
use crate::pool::Member;
use crate::protocol::AgentStatus;

/// Agents that are asked for their status at once.
const MAX_ASKED: usize = 64;
/// How long one agent has.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all of them have together. Those that were not asked by then are listed without.
const ALL_STATUS_TIMEOUT: Duration = Duration::from_secs(6);

/// The pool now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunnerList {
    /// The runners, in the pool's order.
    runners: Vec<RunnerEntry>,
}

/// One runner. Beside these members stands what the balancer knows of it: its state, its calls in flight, its last error and the like.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunnerEntry {
    /// What the pool knows it by.
    #[schema(example = "127.0.0.1:9001")]
    id: String,
    /// Where it is.
    #[schema(example = "127.0.0.1:9001")]
    address: String,
    /// What the balancer knows of it.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    view: serde_json::Map<String, serde_json::Value>,
    /// What it said of itself just now, if it was asked and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    status: Option<AgentStatus>,
    /// Why it did not answer, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_error: Option<String>,
}

/// The runners of the pool, with what the balancer knows of each. With `status=1` every agent is asked how it is, within 6 seconds for all.
#[utoipa::path(
    get,
    path = "/v1/runners", operation_id = "listRunners",
    tag = "pool",
    params(("status" = Option<String>, Query, description = "Ask every agent for its status now")),
    responses((status = 200, body = RunnerList), (status = 503, body = super::openapi::ProblemDocument, content_type = "application/problem+json"))
)]
pub(super) async fn list(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Json<RunnerList> {
    let snapshot = shared.sources.runners();
    let entry = |member: &Member| RunnerEntry {
        id: member.id.to_string(),
        address: member.runner.address().to_owned(),
        view: shared.sources.runner_view(member),
        status: None,
        status_error: None,
    };
    let mut runners: Vec<_> = snapshot.members().map(entry).collect();
    if has_flag(query.as_deref(), "status") {
        let deadline = Instant::now() + ALL_STATUS_TIMEOUT;
        let asking: Vec<_> = snapshot.members().map(|member| ask(member.clone(), deadline)).collect();
        let mut answers = stream::iter(asking).buffered(MAX_ASKED);
        for runner in &mut runners {
            match answers.next().await {
                Some(Ok(status)) => runner.status = Some(status),
                Some(Err(error)) => runner.status_error = Some(error),
                None => {}
            }
        }
    }
    Json(RunnerList { runners })
}

/// Asks one agent, which has its own time but no more than is left for all.
async fn ask(member: Member, deadline: Instant) -> Result<AgentStatus, String> {
    let now = Instant::now();
    if now >= deadline {
        return Err("not asked: the time for all runners was over".to_owned());
    }
    let until = deadline.min(now + STATUS_TIMEOUT);
    match tokio::time::timeout_at(until, member.runner.status()).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("runner {} did not answer in time", member.runner.address())),
    }
}

/// One group of targets, as Prometheus reads it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetGroup {
    /// `host:port` of one runner.
    targets: [String; 1],
    /// Labels for relabelling.
    #[schema(value_type = BTreeMap<String, String>)]
    labels: BTreeMap<&'static str, String>,
}

/// The runners in the form of Prometheus' HTTP service discovery, so that a Prometheus that knows the balancer finds every agent's `/metrics`:
/// `http_sd_configs: [{url: "http://127.0.0.1:8081/v1/prometheus-targets"}]`. The label `__meta_runpool_runner` holds the runner's id.
#[utoipa::path(get, path = "/v1/prometheus-targets", operation_id = "listPrometheusTargets", tag = "pool", responses((status = 200, body = Vec<TargetGroup>)))]
pub(super) async fn prometheus_targets(State(shared): State<Shared>) -> Json<Vec<TargetGroup>> {
    let group = |member: &Member| TargetGroup {
        targets: [member.runner.address().to_owned()],
        labels: BTreeMap::from([("__meta_runpool_runner", member.id.to_string())]),
    };
    Json(shared.sources.runners().members().map(group).collect())
}
