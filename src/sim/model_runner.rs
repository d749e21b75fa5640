//! A runner as the simulation knows it: slots. In a snapshot it stands under a name; nobody calls it there.

use async_trait::async_trait;

use crate::protocol::AgentStatus;
use crate::runner::{Attempt, Refused, RefusedWhy, Runner, RunnerCall, StatusError};

/// The name of a model runner, for a snapshot.
#[derive(Debug)]
pub(super) struct ModelRunner(pub(super) String);

#[async_trait]
impl Runner for ModelRunner {
    async fn try_exec(&self, _call: RunnerCall<'_>) -> Attempt {
        Attempt::Refused(Refused::new(RefusedWhy::Closed))
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        Err(StatusError::Unsupported { address: self.0.clone() })
    }

    async fn close(&self) {}

    fn address(&self) -> &str {
        &self.0
    }
}
