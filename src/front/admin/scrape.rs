//! `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::Shared;
use super::problems::Failure;
use crate::model::Outcome;
use crate::telemetry::exposition::expose;

/// All metrics, in the format that `Accept` asks for: protobuf (with native histograms), OpenMetrics 1.0 or text 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics", operation_id = "metrics",
    tag = "metrics",
    responses(
        (status = 200, description = "Prometheus text 0.0.4 unless Accept likes another format better", content(
            (String = "text/plain; version=0.0.4; charset=utf-8"),
            (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            (String = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
        ))
    )
)]
pub(super) async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let metrics = Arc::clone(&shared.metrics);
    // Thousands of series and /proc take milliseconds: not on a thread that calls run on. Ends by itself if nobody waits for it.
    let written = tokio::task::spawn_blocking(move || expose(&metrics, &headers)).await;
    match written {
        Ok(Ok(exposition)) => ([(CONTENT_TYPE, exposition.content_type)], exposition.body).into_response(),
        Ok(Err(error)) => Failure::new(Outcome::Internal, error.to_string()).into_response(),
        Err(error) => Failure::new(Outcome::Internal, format!("could not write the metrics: {error}")).into_response(),
    }
}
