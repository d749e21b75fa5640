//! `/livez` and `/readyz`, in the manner of the Kubernetes API server: plain text, and the list of checks when asked for.

use std::fmt::Write as _;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CACHE_CONTROL;

use super::Shared;
use super::readiness::CheckResult;

/// Whether the process turns.
#[utoipa::path(get, path = "/livez", operation_id = "live", tag = "health", responses((status = 200, description = "The process turns", body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the program wants calls: its configuration is loaded, its pool has enough runners, it does not drain. `/healthz` is the same.
#[utoipa::path(
    get,
    path = "/readyz", operation_id = "ready",
    tag = "health",
    params(("verbose" = Option<String>, Query, description = "List every check; a failing answer always does")),
    responses(
        (status = 200, description = "It takes calls", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not, and which check says so", body = String, content_type = "text/plain")
    )
)]
pub(super) async fn readyz(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let mut checks = shared.readiness.check();
    checks.push(runners(&shared));
    let is_ready = checks.iter().all(|check| check.result.is_ok());
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Who reads a failing answer wants to know why.
    let text = if is_ready && !has_flag(query.as_deref(), "verbose") { "ok\n".to_owned() } else { listed(&checks) };
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

/// Whether as many runners get calls as the configuration wants to see. Who is ejected, drains or has no weight does not count; who was never asked
/// how it is does.
fn runners(shared: &Shared) -> CheckResult {
    let (there, wanted) = (shared.sources.runners().usable(), shared.ready_runners);
    let result = if there >= wanted { Ok(()) } else { Err(format!("{there} usable of at least {wanted}")) };
    CheckResult { name: "runners", result }
}

fn listed(checks: &[CheckResult]) -> String {
    let mut text = String::new();
    for CheckResult { name, result } in checks {
        // Writing to a String cannot fail.
        let _ = match result {
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(reason) => writeln!(text, "[-]{name} failed: {reason}"),
        };
    }
    let verdict = if checks.iter().all(|check| check.result.is_ok()) { "passed" } else { "failed" };
    let _ = writeln!(text, "readyz check {verdict}");
    text
}

/// Whether a query has the member `name`, alone or with a value that does not say no.
pub(super) fn has_flag(query: Option<&str>, name: &str) -> bool {
    query.unwrap_or_default().split('&').any(|member| match member.split_once('=') {
        Some((key, value)) => key == name && !matches!(value, "0" | "false"),
        None => member == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_set_by_its_name_unless_its_value_says_no() {
        for (query, expected) in [
            (None, false),
            (Some(""), false),
            (Some("verbose"), true),
            (Some("a=b&verbose=1"), true),
            (Some("verbose="), true),
            (Some("verbose=false"), false),
            (Some("verbose=0"), false),
            (Some("verbosely"), false),
        ] {
            assert_eq!(has_flag(query, "verbose"), expected, "{query:?}");
        }
    }
}
