//! What the agent answers: bodies, refusals, problems, JSON.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use crate::model::Outcome;
use crate::protocol::{Problem, Refusal};

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, Cut>;

/// A body ended before its end. The server then breaks the message off, so that the reader cannot take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut short: {0}")]
pub(crate) struct Cut(pub(crate) String);

/// All bytes at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A status and nothing else.
pub(crate) fn empty(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A refusal: proof that the call did not run.
pub(crate) fn refusal(refusal: &Refusal) -> Response<AnswerBody> {
    let mut response = empty(Refusal::STATUS);
    refusal.write(response.headers_mut());
    response
}

/// An error that the agent made itself.
pub(crate) fn problem(problem: &Problem) -> Response<AnswerBody> {
    let (headers, body) = problem.to_parts();
    let mut response = Response::new(full(body));
    *response.status_mut() = problem.status();
    *response.headers_mut() = headers;
    response
}

/// A problem of the request.
pub(crate) fn bad_request(detail: impl Into<String>) -> Response<AnswerBody> {
    problem(&Problem::new(Outcome::BadRequest, detail))
}

/// A document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<AnswerBody> {
    match serde_json::to_vec(document) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            text(status, "application/json", bytes)
        }
        Err(error) => problem(&Problem::new(Outcome::Internal, format!("could not write a document: {error}"))),
    }
}

/// Text of this type.
pub(crate) fn text(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
