//! How one attempt ended.

use std::fmt;
use std::time::Duration;

use super::body::AnswerBody;
use super::http::AnswerFacts;
use crate::model::Outcome;
use crate::protocol::{LoadReport, LostWarm, RefusalReason};

/// How one attempt ended. See the commit point in the floor's page.
#[derive(Debug)]
pub enum Attempt {
    /// The call ran here, or may have: no other runner may be tried. Holds the answer's head with its streaming body, or the error
    /// that the client gets.
    Committed(Result<::http::Response<AnswerBody>, CallError>),
    /// The call certainly did not run: another runner may be tried.
    Refused(Refused),
}

/// A refusal and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: RefusedWhy,
    /// When a new attempt makes sense, if the runner said so.
    pub retry_after: Option<Duration>,
    /// How full the runner is, if it said so.
    pub load: Option<LoadReport>,
    /// The warm workers that it lost last, if it said so.
    pub lost: Option<LostWarm>,
}

impl Refused {
    /// A refusal that came with nothing else.
    pub const fn new(why: RefusedWhy) -> Self {
        Self { why, retry_after: None, load: None, lost: None }
    }
}

/// Why an attempt certainly did not run the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedWhy {
    /// An agent said so.
    Agent(RefusalReason),
    /// A plain HTTP server answered with a status that is configured to be a refusal.
    Status(u16),
    /// No connection could be made, or it was lost before a byte of the call was written.
    Unreachable(String),
    /// The runner was closed on our side.
    Closed,
}

impl RefusedWhy {
    /// One word of a closed set, for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Agent(reason) => reason.as_str(),
            Self::Status(_) => "status",
            Self::Unreachable(_) => "unreachable",
            Self::Closed => "closed",
        }
    }

    /// Whether the runner is full, rather than broken, ending or unknown: Fn's *busy*, against its *retry error*.
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Agent(RefusalReason::Busy | RefusalReason::FunctionBusy | RefusalReason::Memory) | Self::Status(_))
    }
}

impl fmt::Display for RefusedWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(reason) => write!(f, "refused: {reason}"),
            Self::Status(status) => write!(f, "refused with status {status}"),
            Self::Unreachable(reason) => write!(f, "unreachable: {reason}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// A committed call that has no answer of its function to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{outcome}: {detail}")]
pub struct CallError {
    /// The word for it.
    pub outcome: Outcome,
    /// What happened, for the client to read.
    pub detail: String,
    /// What the runner told beside it, if it answered at all. On the heap, as failures are rare and this is large.
    pub facts: Option<Box<AnswerFacts>>,
}

impl CallError {
    /// An error with this outcome and text.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), facts: None }
    }
}
