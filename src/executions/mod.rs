//! Detached calls: from the client's request to the 202.
//!
//! A detached call is answered when its function has started, within `detached_placer_timeout`. Its placement belongs to this floor
//! and not to the client's connection: a client that leaves does not withdraw it. What happens after the start belongs to the
//! agent, which runs the call to its end whether or not a balancer is there.
//!
//! In this form an execution is not durable: nothing is written down before the 202, and its result is not kept. The store, the states and
//! their reconciliation come to live here.
//!
//! This floor imports `placement` and what is below; it knows no HTTP routes.

use tokio_util::task::TaskTracker;

use crate::model::{Call, Outcome};
use crate::placement::{Placed, Placement};
use crate::runner::{CallBody, CallError};

/// Starts detached calls.
#[derive(Clone)]
pub struct Executions {
    placement: Placement,
    /// Owns the placements under way, until [`Executions::close`] has waited for them.
    starting: TaskTracker,
}

impl Executions {
    /// Starts detached calls through `placement`.
    pub fn new(placement: Placement) -> Self {
        Self { placement, starting: TaskTracker::new() }
    }

    /// Places a detached call and waits until its function has started. Dropping the future does not withdraw the call.
    pub async fn start(&self, call: Call, body: CallBody) -> Placed {
        let placement = self.placement.clone();
        let task = self.starting.spawn(async move { placement.place(&call, &body).await });
        task.await.unwrap_or_else(|error| {
            // The task is never aborted: it ended by a defect of ours.
            tracing::error!(%error, "placing a detached call failed");
            let failure = CallError::new(Outcome::Internal, "the placement of the call failed");
            Placed { result: Ok(Err(failure)), report: crate::placement::Report::default() }
        })
    }

    /// Waits for the placements under way. Calls that come later are still placed: close the front first.
    pub async fn close(&self) {
        self.starting.close();
        self.starting.wait().await;
    }
}
