//! What is wrong, as a problem document with an outcome's word.

use axum::BoxError;
use axum::response::{IntoResponse, Response};
use http::{Method, Uri};

use super::{ANSWER_TIMEOUT, MAX_IN_FLIGHT};
use crate::model::{Outcome, format_duration};
use crate::protocol::Problem;

/// A problem as an answer.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Problem);

impl Failure {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self(Problem::new(outcome, detail))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (headers, body) = self.0.to_parts();
        (self.0.status(), headers, body).into_response()
    }
}

pub(super) async fn not_found(uri: Uri) -> Failure {
    Failure::new(Outcome::NotFound, format!("the admin listener has no `{}`: see /openapi.json for what it has", uri.path()))
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    Failure::new(Outcome::MethodNotAllowed, format!("`{}` of the admin listener cannot be asked with {method}", uri.path()))
}

/// From what a layer gave up on. Both words are 503: a later try may find more time and room.
pub(super) async fn from_layer(error: BoxError) -> Failure {
    let detail = if error.is::<tower::timeout::error::Elapsed>() {
        format!("the answer took longer than {}", format_duration(ANSWER_TIMEOUT))
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        format!("the admin listener has {MAX_IN_FLIGHT} requests in hand, as many as it may")
    } else {
        return Failure::new(Outcome::Internal, format!("the admin listener failed: {error}"));
    };
    Failure(Problem::new(Outcome::Overloaded, detail).with_retry_after(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_took_too_long_is_told_to_be_asked_for_again() {
        let Failure(problem) = from_layer(Box::new(tower::timeout::error::Elapsed::new())).await;
        assert_eq!((problem.outcome, problem.detail()), (Outcome::Overloaded, "the answer took longer than 10s"));
        let Failure(problem) = from_layer("odd".into()).await;
        assert_eq!((problem.outcome, problem.detail()), (Outcome::Internal, "the admin listener failed: odd"));
    }
}
