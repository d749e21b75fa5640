//! The pool whose snapshot is swapped whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::join_all;

use super::snapshot::{DuplicateRunner, Member, Snapshot};
use super::{PoolAnswer, PoolError, RunnerPool};
use crate::model::Call;

/// A pool that gives every call the same runners, and whose list can be replaced while calls are placed.
#[derive(Debug)]
pub struct SnapshotPool {
    current: ArcSwap<Snapshot>,
}

impl Default for SnapshotPool {
    /// A pool with no runner yet.
    fn default() -> Self {
        Self { current: ArcSwap::from_pointee(Snapshot::empty()) }
    }
}

impl SnapshotPool {
    /// A pool of these runners.
    ///
    /// # Errors
    /// Two of them have the same id.
    pub fn new(members: Vec<Member>) -> Result<Self, DuplicateRunner> {
        Ok(Self { current: ArcSwap::from_pointee(Snapshot::new(members)?) })
    }

    /// The runners now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces the list. Returns the members that are gone: the caller closes them, which waits for their running calls.
    /// A pass that has begun ends on the list it began with.
    ///
    /// # Errors
    /// Two members have the same id; the list stays as it was.
    pub fn replace(&self, members: Vec<Member>) -> Result<Vec<Member>, DuplicateRunner> {
        let next = Arc::new(Snapshot::new(members)?);
        let previous = self.current.swap(Arc::clone(&next));
        let is_gone = |member: &&Member| !next.members().iter().any(|kept| Arc::ptr_eq(&kept.runner, &member.runner));
        Ok(previous.members().iter().filter(is_gone).cloned().collect())
    }
}

#[async_trait]
impl RunnerPool for SnapshotPool {
    async fn runners(&self, _call: &Call) -> PoolAnswer {
        PoolAnswer::ok(self.snapshot())
    }

    async fn shutdown(&self) -> Result<(), PoolError> {
        let snapshot = self.snapshot();
        join_all(snapshot.members().iter().map(|member| member.runner.close())).await;
        Ok(())
    }
}
