//! The refusal: proof that a call did not run, so that another runner may be tried.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::headers::{REFUSED, RETRY_AFTER_MS};

/// Why an agent refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Every slot is taken, or lent to a balancer that waited for it.
    Busy,
    /// The function runs here as many times as it may; calls of others may be taken.
    FunctionBusy,
    /// No room for another worker, and nothing idle could be evicted.
    Memory,
    /// The agent's gate is closed: it will end.
    Draining,
    /// The agent is not ready yet.
    Starting,
    /// The agent has not seen this version of the function: PUT it, then try the same agent again.
    UnknownFunction,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Busy, Self::FunctionBusy, Self::Memory, Self::Draining, Self::Starting, Self::UnknownFunction];

    /// The word in the header `runpool-refused`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::FunctionBusy => "function-busy",
            Self::Memory => "memory",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::UnknownFunction => "unknown-function",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An agent's refusal: status 503 **and** the header `runpool-refused`. Neither alone is one: a function's own 503 has no
/// such header, and a word that we do not know proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// After which time a new attempt makes sense, if the agent can tell. Whole milliseconds.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The status every refusal has.
    pub const STATUS: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

    /// A refusal that does not say when to come back.
    pub const fn new(reason: RefusalReason) -> Self {
        Self { reason, retry_after: None }
    }

    /// Reads the refusal out of an answer's head; `None` if the answer is none.
    pub fn read(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if status != Self::STATUS {
            return None;
        }
        let word = headers.get(REFUSED)?.to_str().ok()?;
        let reason = RefusalReason::ALL.into_iter().find(|reason| reason.as_str() == word)?;
        let retry_after = headers
            .get(RETRY_AFTER_MS)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .map(Duration::from_millis);
        Some(Self { reason, retry_after })
    }

    /// Writes the refusal's headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(REFUSED, HeaderValue::from_static(self.reason.as_str()));
        if let Some(after) = self.retry_after {
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_read_as_it_was_written() {
        for reason in RefusalReason::ALL {
            for retry_after in [None, Some(Duration::from_millis(25))] {
                let refusal = Refusal { reason, retry_after };
                let mut headers = HeaderMap::new();
                refusal.write(&mut headers);
                assert_eq!(Refusal::read(Refusal::STATUS, &headers), Some(refusal));
            }
        }
    }

    #[test]
    fn a_functions_own_503_and_a_marked_200_are_no_refusals() {
        let mut headers = HeaderMap::new();
        assert_eq!(Refusal::read(Refusal::STATUS, &headers), None);
        headers.insert(REFUSED, HeaderValue::from_static("tired"));
        assert_eq!(Refusal::read(Refusal::STATUS, &headers), None);
        headers.insert(REFUSED, HeaderValue::from_static("busy"));
        assert_eq!(Refusal::read(StatusCode::OK, &headers), None);
    }
}
