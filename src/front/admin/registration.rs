//! `/v1/runners/{incarnation}`: runners that come and go by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::gate::unauthorized;
use super::problems::Failure;
use crate::access::bearer;
use crate::model::{IncarnationId, Outcome};
use crate::pool::RunnerEntry;
use crate::pool::sources::{Registrar, RegistrationError};

/// The longest registration.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// What a runner says about itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a `pool::RunnerEntry`, which knows no OpenAPI")]
pub(super) struct RegistrationRequest {
    /// Where balancers call it.
    #[schema(example = "10.0.0.7:9001")]
    address: String,
    /// Its slots.
    #[schema(example = 8)]
    slots: Option<u32>,
    /// Its share of new calls; 0 gets none.
    #[schema(example = 100)]
    weight: Option<u32>,
    /// What operators sort runners by.
    labels: Option<BTreeMap<String, String>>,
    /// Calls that one balancer may have there at once; 0 is as many as come.
    max_in_flight: Option<u32>,
    /// Connections that one balancer may have there for calls; 0 is as many as are needed.
    max_connections: Option<u32>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistrationAnswer {
    /// How long it holds, in milliseconds. Renew it when a third is over.
    #[schema(example = 10000)]
    lease_ms: u64,
}

/// Registers a runner, or renews its registration: send the same again before the lease is over.
#[utoipa::path(
    put,
    path = "/v1/runners/{incarnation}", operation_id = "registerRunner",
    tag = "pool",
    params(("incarnation" = String, Path, description = "This life of the runner: a ULID that is never used again")),
    request_body = RegistrationRequest,
    responses(
        (status = 200, description = "It is renewed", body = RegistrationAnswer),
        (status = 201, description = "It is new", body = RegistrationAnswer),
        (status = 400, description = "It cannot be used", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "A token is missing, or is none", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "Runners cannot register here", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "There are as many as may be", body = super::openapi::ProblemDocument, content_type = "application/problem+json")
    )
)]
pub(super) async fn register(
    State(shared): State<Shared>,
    Path(incarnation): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (registrar, incarnation) = match admitted(&shared, &incarnation, &headers) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    let entry: RunnerEntry = match serde_json::from_slice(&body) {
        Ok(entry) => entry,
        Err(error) => {
            return Failure::new(Outcome::BadRequest, format!("what the runner says about itself cannot be read: {error}"))
                .into_response();
        }
    };
    match registrar.register(incarnation, entry) {
        Ok(registration) => {
            let status = if registration.is_new { StatusCode::CREATED } else { StatusCode::OK };
            let lease_ms = u64::try_from(registration.lease.as_millis()).unwrap_or(u64::MAX);
            (status, Json(RegistrationAnswer { lease_ms })).into_response()
        }
        Err(error @ RegistrationError::Full(_)) => Failure::new(Outcome::Overloaded, error.to_string()).into_response(),
        Err(error) => Failure::new(Outcome::BadRequest, error.to_string()).into_response(),
    }
}

/// Ends a runner's registration: it gets no new calls; those that run there go on.
#[utoipa::path(
    delete,
    path = "/v1/runners/{incarnation}", operation_id = "unregisterRunner",
    tag = "pool",
    params(("incarnation" = String, Path, description = "The life that was registered")),
    responses(
        (status = 204, description = "It has left"),
        (status = 401, description = "A token is missing, or is none", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "It was not registered", body = super::openapi::ProblemDocument, content_type = "application/problem+json")
    )
)]
pub(super) async fn unregister(State(shared): State<Shared>, Path(incarnation): Path<String>, headers: HeaderMap) -> Response {
    match admitted(&shared, &incarnation, &headers) {
        Ok((registrar, incarnation)) if registrar.leave(incarnation) => StatusCode::NO_CONTENT.into_response(),
        Ok((_, incarnation)) => {
            Failure::new(Outcome::NotFound, format!("no runner is registered as {incarnation}")).into_response()
        }
        Err(response) => *response,
    }
}

/// Who takes the registration, if the caller may make one. The token is looked at before anything else that it sent.
fn admitted(shared: &Shared, incarnation: &str, headers: &HeaderMap) -> Result<(Arc<Registrar>, IncarnationId), Box<Response>> {
    let refuse = |failure: Failure| Box::new(failure.into_response());
    let Some(registrar) = shared.sources.registrar() else {
        return Err(refuse(Failure::new(Outcome::NotFound, "runners cannot register here: set pool.registration.enabled")));
    };
    let token = bearer(headers).ok().flatten();
    if !registrar.lets_in(token) {
        return Err(Box::new(unauthorized(token, "expected `Authorization: Bearer` with a token of this pool")));
    }
    match incarnation.parse() {
        Ok(incarnation) => Ok((registrar, incarnation)),
        Err(error) => Err(refuse(Failure::new(Outcome::BadRequest, format!("{error}")))),
    }
}
