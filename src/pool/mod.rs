//! Membership: which runners a balancer may use now.
//!
//! A [`Snapshot`] is an immutable view of runners, each in a [`RunnerPlace`] of its own; a [`RunnerPool`] yields one whenever it is asked, so that
//! it may change between two questions and never within one answer. [`SnapshotPool`] is the pool that the balancer itself uses: its snapshot is
//! exchanged for a successor, which costs what changed and never blocks a call. [`ConfiguredPool`] fills one with the runners that its [`sources`] list:
//! the configuration, a file, DNS, and runners that register themselves. [`health`] says which of them get calls.
//!
//! This floor knows runners, not placers: who is tried first is decided above.

mod config;
mod entry;
mod evidence;
mod from_config;
pub mod health;
mod member;
mod snapshot;
mod snapshot_pool;
pub mod sources;

use async_trait::async_trait;

pub use config::{InvalidPoolConfig, PoolConfig};
pub use entry::{MAX_WEIGHT, RunnerEntry};
pub use evidence::{Evidence, RunnerReport};
pub use from_config::ConfiguredPool;
pub use member::{Admission, ClosedWhy, DEFAULT_WEIGHT, Member, RunnerPlace, Terms};
pub use snapshot::{DuplicateRunner, Snapshot, SnapshotChange, SnapshotEdit};
pub use snapshot_pool::SnapshotPool;

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::model::Call;

/// Whose fault an empty pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user's: trying again cannot help, so that a call with no runner to try fails at once (Fn's fail-fast rule).
    User,
    /// The service's: trying again may help.
    Service,
}

/// Why a pool could not list runners, or not all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pool of runners failed: {detail}")]
pub struct PoolError {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened, for the client to read.
    pub detail: String,
}

/// What a pool says to one pass of one placement. Runners and error may both be there: what is listed is tried.
#[derive(Clone, Debug)]
pub struct PoolAnswer {
    /// The runners to try, in the pool's own order.
    pub snapshot: Arc<Snapshot>,
    /// Why there are none, or why there should have been more.
    pub error: Option<PoolError>,
}

impl PoolAnswer {
    /// An answer without error.
    pub const fn ok(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, error: None }
    }
}

/// A source of runners.
///
/// Implement this to choose runners per call (a group for each tenant, say) or to provision them.
#[async_trait]
pub trait RunnerPool: Send + Sync {
    /// The runners for this call, now. Asked again on every pass.
    ///
    /// Return the same [`Snapshot`] while nothing changed, and successors of it after that: placers keep what they derived from it, and find
    /// out what changed. Dropping the future is safe.
    async fn runners(&self, call: &Call) -> PoolAnswer;

    /// The snapshot that every call is given now, if every call is given the same one.
    fn current(&self) -> Option<Arc<Snapshot>> {
        None
    }

    /// Lineage and version of the snapshot that every call is given now, if every call is given the same one and it has runners. Asked for each call, which so need not
    /// hold what its placement knows already.
    fn newest(&self) -> Option<(u64, u64)> {
        None
    }

    /// Tells the version of the snapshot whenever it changes, if every call is given the same one. `None`: the pool has to be asked.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// What runners say about themselves when the pool asks them. Who reads too slowly misses the oldest. `None`: this pool asks nobody.
    fn reports(&self) -> Option<broadcast::Receiver<RunnerReport>> {
        None
    }

    /// Takes note of what an attempt showed about a runner of one of its snapshots. Called on the path of calls: it must not block.
    fn note(&self, _runner: &Member, _evidence: Evidence) {}

    /// Closes every runner and waits for the calls that run on them.
    ///
    /// # Errors
    /// The first thing that went wrong; the rest was closed all the same.
    async fn shutdown(&self) -> Result<(), PoolError>;
}
