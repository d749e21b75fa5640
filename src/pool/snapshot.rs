//! The immutable view of a pool.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::RunnerId;
use crate::runner::Runner;

/// One runner of a snapshot.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the runner is known by. Placers hash this, so that balancers that were given the same runners in another order agree.
    pub id: RunnerId,
    /// The runner.
    pub runner: Arc<dyn Runner>,
}

impl Member {
    /// A member that is known by its runner's address.
    pub fn new(runner: Arc<dyn Runner>) -> Self {
        Self { id: RunnerId::new(runner.address()), runner }
    }
}

/// Two runners of one list were known by the same name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("runner `{0}` is listed twice")]
pub struct DuplicateRunner(pub RunnerId);

/// An immutable list of runners.
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    members: Vec<Member>,
    index: HashMap<RunnerId, u32>,
}

/// Versions are unique in a process, so that what a placer derived from one pool's snapshot is never taken for another's.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

impl Snapshot {
    /// A snapshot of these runners, in this order.
    ///
    /// # Errors
    /// Two of them have the same id.
    pub fn new(members: Vec<Member>) -> Result<Self, DuplicateRunner> {
        let mut index = HashMap::with_capacity(members.len());
        for (position, member) in (0..).zip(&members) {
            if index.insert(member.id.clone(), position).is_some() {
                return Err(DuplicateRunner(member.id.clone()));
            }
        }
        Ok(Self { version: NEXT_VERSION.fetch_add(1, Ordering::Relaxed), members, index })
    }

    /// A snapshot with no runner.
    pub fn empty() -> Self {
        Self { version: NEXT_VERSION.fetch_add(1, Ordering::Relaxed), members: Vec::new(), index: HashMap::new() }
    }

    /// Differs between any two snapshots of a process, and grows.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The runners, in the pool's order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many runners there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The position of a runner in [`Snapshot::members`].
    pub fn position(&self, id: &RunnerId) -> Option<u32> {
        self.index.get(id).copied()
    }
}
