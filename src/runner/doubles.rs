//! A runner for tests: answers by a closure.

use std::fmt;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{AnswerBody, Attempt, Refused, RefusedWhy, Runner, RunnerCall, StatusError};
use crate::protocol::{AgentStatus, RefusalReason};

type Script = Box<dyn for<'a> Fn(RunnerCall<'a>) -> BoxFuture<'a, Attempt> + Send + Sync>;

/// A runner that does what its script says.
pub(crate) struct Scripted {
    address: String,
    script: Script,
}

impl Scripted {
    pub(crate) fn new(
        address: &str,
        script: impl for<'a> Fn(RunnerCall<'a>) -> BoxFuture<'a, Attempt> + Send + Sync + 'static,
    ) -> Self {
        Self { address: address.to_owned(), script: Box::new(script) }
    }

    /// Answers every call with these bytes.
    pub(crate) fn answering(address: &str, body: &'static str) -> Self {
        Self::new(address, move |_| Box::pin(async move { Attempt::Committed(Ok(http::Response::new(AnswerBody::full(body)))) }))
    }

    /// Refuses every call as busy.
    pub(crate) fn busy(address: &str) -> Self {
        Self::new(address, |_| Box::pin(async { Attempt::Refused(Refused::new(RefusedWhy::Agent(RefusalReason::Busy))) }))
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scripted({})", self.address)
    }
}

#[async_trait]
impl Runner for Scripted {
    async fn try_exec(&self, call: RunnerCall<'_>) -> Attempt {
        (self.script)(call).await
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        Err(StatusError::Unsupported { address: self.address.clone() })
    }

    async fn close(&self) {}

    fn address(&self) -> &str {
        &self.address
    }
}
