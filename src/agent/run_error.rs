//! Why a call that the agent took has no answer of its function to show.

use std::time::Duration;

use super::process::{Exit, LaunchError};
use crate::model::{ByteSize, Outcome, format_duration};
use crate::protocol::Problem;

/// Why a run failed. The texts begin with the ancestor's, by which people and programs know them.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The worker could not be started at all.
    #[error("function failed to initialize: {0}")]
    Launch(#[from] LaunchError),
    /// The worker ended before it listened.
    #[error("function failed to initialize: its process {exit} before it listened{}", last_line(.line))]
    InitFailed {
        /// How it ended.
        exit: Exit,
        /// The last line it wrote on standard error, or nothing.
        line: String,
    },
    /// Something of ours was missing for the start.
    #[error("function failed to initialize: {0}")]
    Prepare(String),
    /// The worker did not listen in time.
    #[error("function initialization timed out: its worker did not listen within {}", format_duration(*.0))]
    InitTimedOut(Duration),
    /// The function reported a failure (its worker answered 502).
    #[error("function failed")]
    Failed,
    /// The job ended with an error.
    #[error("function failed: its process {exit}{}", last_line(.line))]
    JobFailed {
        /// How it ended.
        exit: Exit,
        /// The last line it wrote on standard error, or nothing.
        line: String,
    },
    /// The function reported that it ran out of time (its worker answered 504).
    #[error("function timed out by its own account")]
    ReportedTimeout,
    /// The time was over.
    #[error("function timed out: it ran longer than {}", format_duration(in_milliseconds(*.0)))]
    TimedOut(Duration),
    /// The client's time was over while the call waited for its worker.
    #[error("function timed out: the call's own deadline passed while its worker was starting")]
    TimedOutWaiting,
    /// The process was lost.
    #[error("error receiving function response: its process {exit}{}", last_line(.line))]
    Crashed {
        /// How it ended.
        exit: Exit,
        /// The last line it wrote on standard error, or nothing.
        line: String,
    },
    /// The connection was lost and the process lives.
    #[error("error receiving function response: its worker closed the connection without an answer")]
    Disconnected,
    /// It used too much memory.
    #[error("function out of memory: it used {used} and may use {limit}")]
    OutOfMemory {
        /// What it used.
        used: ByteSize,
        /// What it may use.
        limit: ByteSize,
    },
    /// The worker's answer is not one of the contract.
    #[error("invalid function response: {0}")]
    BadAnswer(String),
    /// The head of the answer is too long.
    #[error("function response header too large")]
    HeadTooLarge,
    /// The answer is too long.
    #[error("function response body too large")]
    BodyTooLarge,
    /// The request of a detached call is too long to be held.
    #[error("request body of a detached call too large: expected at most {0}")]
    InputTooLarge(ByteSize),
    /// The client went away.
    #[error("client gone before the call ended")]
    ClientGone,
    /// The agent ends, and its patience is over.
    #[error("function killed: its runner ended before the call did")]
    AgentEnds,
}

/// ` (last line: …)`, or nothing.
fn last_line(line: &str) -> String {
    if line.is_empty() { String::new() } else { format!("; its last line on standard error: {line}") }
}

/// To the nearest millisecond: what is left of a call's time when it comes to its runner has more digits than it deserves.
fn in_milliseconds(limit: Duration) -> Duration {
    Duration::from_millis(u64::try_from((limit.as_micros() + 500) / 1_000).unwrap_or(u64::MAX))
}

impl RunError {
    /// The word for it.
    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Launch(_) | Self::InitFailed { .. } | Self::Prepare(_) => Outcome::InitFailed,
            Self::InitTimedOut(_) => Outcome::InitTimeout,
            Self::Failed | Self::JobFailed { .. } => Outcome::FunctionFailed,
            Self::ReportedTimeout | Self::TimedOut(_) | Self::TimedOutWaiting => Outcome::FunctionTimeout,
            Self::Crashed { .. } | Self::Disconnected | Self::AgentEnds => Outcome::FunctionCrashed,
            Self::OutOfMemory { .. } => Outcome::FunctionOutOfMemory,
            Self::BadAnswer(_) => Outcome::BadAnswer,
            Self::HeadTooLarge | Self::BodyTooLarge => Outcome::AnswerTooLarge,
            Self::InputTooLarge(_) => Outcome::BodyTooLarge,
            Self::ClientGone => Outcome::ClientGone,
        }
    }

    /// The answer for the client. What the function wrote on standard error is for its owner, who finds it in the log: it may hold
    /// what no client should see.
    pub(crate) fn problem(&self) -> Problem {
        let silent = match self.clone() {
            Self::InitFailed { exit, .. } => Self::InitFailed { exit, line: String::new() },
            Self::JobFailed { exit, .. } => Self::JobFailed { exit, line: String::new() },
            Self::Crashed { exit, .. } => Self::Crashed { exit, line: String::new() },
            other => other,
        };
        Problem::new(self.outcome(), silent.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_words_that_name_the_cause() {
        let line = "ImportError: no module named x".to_owned();
        for (error, outcome, text) in [
            (
                RunError::InitFailed { exit: Exit::Status(1), line: line.clone() },
                Outcome::InitFailed,
                "function failed to initialize: its process ended with status 1 before it listened; its last line on standard error: ImportError: no module named x",
            ),
            (
                RunError::Crashed { exit: Exit::Signal(11), line: String::new() },
                Outcome::FunctionCrashed,
                "error receiving function response: its process was killed by SIGSEGV",
            ),
            (
                RunError::JobFailed { exit: Exit::Status(2), line: String::new() },
                Outcome::FunctionFailed,
                "function failed: its process ended with status 2",
            ),
            (
                RunError::InitTimedOut(Duration::from_secs(5)),
                Outcome::InitTimeout,
                "function initialization timed out: its worker did not listen within 5s",
            ),
            (RunError::TimedOut(Duration::from_secs(4)), Outcome::FunctionTimeout, "function timed out: it ran longer than 4s"),
            (
                RunError::TimedOut(Duration::from_nanos(1_499_968_451)),
                Outcome::FunctionTimeout,
                "function timed out: it ran longer than 1s500ms",
            ),
            (
                RunError::OutOfMemory { used: ByteSize::mib(3), limit: ByteSize::mib(2) },
                Outcome::FunctionOutOfMemory,
                "function out of memory: it used 3MiB and may use 2MiB",
            ),
            (RunError::HeadTooLarge, Outcome::AnswerTooLarge, "function response header too large"),
            (RunError::BodyTooLarge, Outcome::AnswerTooLarge, "function response body too large"),
        ] {
            assert_eq!((error.outcome(), error.to_string().as_str()), (outcome, text));
            let told = error.problem();
            assert!(text.starts_with(told.detail()) && !told.detail().contains("ImportError"), "{}", told.detail());
        }
    }
}
