//! Errors as RFC 9457 `application/problem+json`, with Fn's `message` member and our `outcome`.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::headers::OUTCOME;
use crate::model::Outcome;

/// An error as a client sees it: RFC 9457's members `type` (`about:blank`, since the outcome says more than a page would), `title`,
/// `status` and `detail`, and ours beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Document", into = "Document")]
pub struct Problem {
    /// The outcome's word; the status follows from it.
    pub outcome: Outcome,
    detail: String,
    call_id: Option<String>,
    retry_after: Option<u64>,
    /// Where it is not the outcome's own.
    status: Option<u16>,
}

/// The problem as it is written.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    /// The same text under the name that Fn's clients read.
    message: String,
    outcome: Outcome,
    /// The call, if one had been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    /// Seconds after which a new try makes sense; also the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl From<Document> for Problem {
    fn from(document: Document) -> Self {
        let Document { outcome, detail, call_id, retry_after, status, .. } = document;
        let status = (status != outcome.status().as_u16()).then_some(status);
        Self { outcome, detail, call_id, retry_after, status }
    }
}

impl From<Problem> for Document {
    fn from(problem: Problem) -> Self {
        let status = problem.status();
        let Problem { outcome, detail, call_id, retry_after, .. } = problem;
        let (kind, title) = ("about:blank".to_owned(), title(status).to_owned());
        Self { kind, title, status: status.as_u16(), message: detail.clone(), detail, outcome, call_id, retry_after }
    }
}

impl Problem {
    /// The media type of the document.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// A problem with this outcome, its usual status, and a text for people.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), call_id: None, retry_after: None, status: None }
    }

    /// Names the call.
    #[must_use]
    pub fn with_call_id(mut self, call_id: impl ToString) -> Self {
        self.call_id = Some(call_id.to_string());
        self
    }

    /// Answers with another status than the outcome's own: one that HTTP has for exactly this.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = (status != self.outcome.status()).then(|| status.as_u16());
        self
    }

    /// Says after how many seconds a new try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The text for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        let own = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        own.unwrap_or_else(|| self.outcome.status())
    }

    /// Headers and body of the answer.
    pub fn to_parts(&self) -> (HeaderMap, Bytes) {
        // Strings and small numbers always have a JSON form.
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        body.push(b'\n');
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Self::CONTENT_TYPE));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(OUTCOME, HeaderValue::from_static(self.outcome.as_str()));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        (headers, body.into())
    }
}

/// The status in words; `499` is not in the registry.
fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        499 => "Client Closed Request",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_fns_message_the_outcome_and_when_to_come_back() {
        let problem = Problem::new(Outcome::PlacerTimeout, "no runner took the call in 1s").with_call_id("X").with_retry_after(2);
        let (headers, body) = problem.to_parts();
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(headers["runpool-outcome"], "placer_timeout");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "no runner took the call in 1s",
                "message": "no runner took the call in 1s", "outcome": "placer_timeout", "call_id": "X", "retry_after": 2
            })
        );
    }
}
