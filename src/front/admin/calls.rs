//! `/v1/calls/{id}/placement`: why a call went where it went.

use axum::Json;
use axum::extract::{Path, State};

use super::Shared;
use super::problems::Failure;
use crate::front::CallPlacement;
use crate::model::{CallId, InvalidId, Outcome};

/// Why one of the last calls went where it went, or why it was not placed. How many calls are remembered says `admin.explained_calls`; of calls that went smoothly and came by
/// thousands a second, only some are.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}/placement", operation_id = "explainCall",
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, as `fn-call-id` on its answer")),
    responses(
        (status = 200, body = CallPlacement),
        (status = 400, description = "That is no call id", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "The call is not among the last", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = super::openapi::ProblemDocument, content_type = "application/problem+json")
    )
)]
pub(super) async fn placement(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Json<CallPlacement>, Failure> {
    let id: CallId = id.parse().map_err(|error: InvalidId| Failure::new(Outcome::BadRequest, error.to_string()))?;
    match shared.sources.explained().find(id) {
        Some(placement) => Ok(Json(placement)),
        None if shared.sources.explained().is_on() => {
            let detail = format!("call {id} is not among the last that are remembered (admin.explained_calls)");
            Err(Failure::new(Outcome::NotFound, detail))
        }
        None => Err(Failure::new(Outcome::NotFound, "no call is remembered: admin.explained_calls is 0")),
    }
}
