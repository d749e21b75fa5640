//! What is counted of a runner's calls on their path: one number, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many calls a runner took. Shared by all views of one member.
#[derive(Debug, Default)]
pub struct Tally {
    taken: AtomicU64,
}

impl Tally {
    /// Counts one more. Returns how many there are now.
    pub(in crate::pool) fn took(&self) -> u64 {
        self.taken.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many there are.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}
