//! `/v1/log-filter`: what the program's log shows, to be changed while it runs.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Shared;
use super::problems::Failure;
use crate::model::Outcome;

/// What the program's log shows now.
#[utoipa::path(get, path = "/v1/log-filter", operation_id = "readLogFilter", tag = "configuration", responses((status = 200, body = String, content_type = "text/plain", example = "info")))]
pub(super) async fn read(State(shared): State<Shared>) -> Response {
    match &shared.log {
        Some(log) => format!("{}\n", log.filter()).into_response(),
        None => absent().into_response(),
    }
}

/// Changes what the program's log shows, until it is changed again or the program ends: a level, or levels by target, as in
/// `telemetry.log_filter`.
#[utoipa::path(
    put,
    path = "/v1/log-filter", operation_id = "changeLogFilter",
    tag = "configuration",
    request_body(content = String, content_type = "text/plain", example = "info,runpool::placement=debug"),
    responses(
        (status = 204, description = "It is in force"),
        (status = 400, description = "It cannot be read; the old one stays", body = super::openapi::ProblemDocument, content_type = "application/problem+json")
    )
)]
pub(super) async fn change(State(shared): State<Shared>, body: Bytes) -> Response {
    let Some(log) = &shared.log else { return absent().into_response() };
    let Ok(filter) = std::str::from_utf8(&body) else {
        return Failure::new(Outcome::BadRequest, "the log filter is not UTF-8 text").into_response();
    };
    match log.set_filter(filter) {
        Ok(()) => {
            tracing::warn!(filter = filter.trim(), "the log filter was changed by an operator");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => Failure::new(Outcome::BadRequest, error.to_string()).into_response(),
    }
}

/// The route is not there without a log; this is for a log that went away in between, which does not happen.
fn absent() -> Failure {
    Failure::new(Outcome::NotFound, "this program's log filter cannot be changed")
}
