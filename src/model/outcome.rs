//! How a call ended, as one word of a closed set.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, $status:literal;)+) => {
        /// How a call ended. The same word stands in the answer (`runpool-outcome`, member `outcome` of the problem document),
        /// in the access log and in the label `outcome` of the metrics, so that one search finds all three.
        ///
        /// The words follow Envoy's response flags in spirit: who failed, and where.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Outcome {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Outcome {
            /// Every outcome, in the order of their index.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Outcome::$variant => $word),+ }
            }

            /// The HTTP status with which a call of this outcome is answered.
            pub fn status(self) -> StatusCode {
                let code: u16 = match self { $(Outcome::$variant => $status),+ };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    };
}

outcomes! {
    /// The function answered; its answer, whatever its status, went to the client untouched.
    Ok = "ok", 200;
    /// A detached call was started; nobody waits for its answer.
    Accepted = "accepted", 202;
    /// The client's request was malformed.
    BadRequest = "bad_request", 400;
    /// The function asks for more than any runner of this kind has.
    Impossible = "impossible", 400;
    /// Who asks did not show that it may.
    Unauthorized = "unauthorized", 401;
    /// Who asks is known, and may not.
    Forbidden = "forbidden", 403;
    /// No route matches, or the named function does not exist.
    NotFound = "not_found", 404;
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The request's body is longer than allowed.
    BodyTooLarge = "body_too_large", 413;
    /// The function, or the caller, has had as many calls as it may for now.
    RateLimited = "rate_limited", 429;
    /// The client went away before it had its answer. Nobody sees the status (nginx's 499).
    ClientGone = "client_gone", 499;
    /// The function reported a failure, or its process ended with an error.
    FunctionFailed = "function_failed", 502;
    /// The function's process died while it ran the call.
    FunctionCrashed = "function_crashed", 502;
    /// The function used more memory than it may and was killed.
    FunctionOutOfMemory = "function_out_of_memory", 502;
    /// The function could not be started.
    InitFailed = "init_failed", 502;
    /// The function answered with something that its contract does not allow.
    BadAnswer = "bad_answer", 502;
    /// The function's answer, or its head, is longer than allowed.
    AnswerTooLarge = "answer_too_large", 502;
    /// The connection to the runner was lost after the call was handed over: it may have run.
    RunnerReset = "runner_reset", 502;
    /// The pool of runners failed for a reason that lies with the user of the pool.
    PoolFault = "pool_fault", 502;
    /// The pool of runners could not be read until the time was up.
    PoolError = "pool_error", 500;
    /// The pool stayed empty until the time was up.
    NoRunner = "no_runner", 503;
    /// No runner accepted the call until the placer timeout was over.
    PlacerTimeout = "placer_timeout", 503;
    /// The balancer has as many calls in hand as it may.
    Overloaded = "overloaded", 503;
    /// The balancer, or every runner, is about to end.
    Draining = "draining", 503;
    /// The call's own deadline passed before a runner accepted it.
    DeadlineExceeded = "deadline_exceeded", 504;
    /// The function ran longer than its timeout and was killed.
    FunctionTimeout = "function_timeout", 504;
    /// The function was not ready within its start-up limit.
    InitTimeout = "init_timeout", 504;
    /// The runner took the call and gave no sign of life in time: it may have run.
    RunnerTimeout = "runner_timeout", 504;
    /// A defect of runpool.
    Internal = "internal", 500;
}

impl Outcome {
    /// The outcome with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| outcome.as_str() == word)
    }

    /// The position in [`Outcome::ALL`], for tables of held metric handles.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_is_what_serde_writes() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.index(), index);
            assert_eq!(Outcome::from_word(outcome.as_str()), Some(*outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert!(outcome.status().as_u16() >= 200);
        }
        assert_eq!(Outcome::from_word("fine"), None);
    }
}
