//! The OpenAPI document of the admin listener. A copy is kept in `docs/openapi.json`; a test compares the two.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::{OpenApi, ToSchema};

use super::problems::Failure;
use super::{calls, config, functions, health, log_filter, registration, runners, scrape};
use crate::model::Outcome;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "runpool admin",
        description = "What a runpool balancer tells its operators: health, metrics, runners, functions, configuration."
    ),
    tags(
        (name = "health", description = "For whoever starts and balances the program"),
        (name = "metrics", description = "For scrapers"),
        (name = "pool", description = "Runners"),
        (name = "calls", description = "What became of calls"),
        (name = "configuration", description = "What is in force")
    ),
    paths(
        health::livez,
        health::readyz,
        scrape::metrics,
        runners::list,
        registration::register,
        registration::unregister,
        runners::prometheus_targets,
        functions::list,
        calls::placement,
        config::list,
        log_filter::read,
        log_filter::change,
        serve
    ),
    components(schemas(ProblemDocument))
)]
struct AdminApi;

/// What is wrong (RFC 9457). Paths that are not there (404 `not_found`), methods that are not allowed (405 `method_not_allowed`) and a listener
/// with too much in hand (503 `overloaded`) are told in this form too.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `protocol::Problem` writes, which knows no OpenAPI")]
pub(super) struct ProblemDocument {
    /// Always `about:blank`.
    #[schema(example = "about:blank")]
    r#type: String,
    /// The status in words.
    #[schema(example = "Bad Request")]
    title: String,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What went wrong.
    detail: String,
    /// The same as `detail`, under the name that Fn's clients read.
    message: String,
    /// One word of the closed set of outcomes.
    #[schema(example = "bad_request")]
    outcome: String,
    /// Seconds after which a new try makes sense.
    retry_after: Option<u64>,
}

/// The document, as it is served.
///
/// # Errors
/// It has no JSON form, which would be a defect.
pub fn document() -> Result<String, serde_json::Error> {
    let mut text = AdminApi::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "configuration", responses((status = 200, body = Object)))]
pub(super) async fn serve() -> Response {
    match document() {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => Failure::new(Outcome::Internal, format!("could not write the OpenAPI document: {error}")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to write the copy instead of comparing it.
    const UPDATE: &str = "RUNPOOL_UPDATE_DOCS";

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document: serde_json::Value = serde_json::from_str(&document().unwrap()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let mut names: Vec<_> = paths
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }

    #[test]
    fn the_copy_in_docs_is_what_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let served = document().unwrap();
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(path, &served).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == served,
            "docs/openapi.json differs from what is served: run this test with {UPDATE}=1 and look at the change"
        );
    }
}
