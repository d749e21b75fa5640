//! The memory for bodies that are held, of all calls together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::ByteSize;

/// What is left of it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct BodyMemory(Arc<AtomicU64>);

/// A part of it, until this is dropped.
#[derive(Debug)]
pub(super) struct HeldMemory {
    memory: Option<BodyMemory>,
    bytes: u64,
}

impl BodyMemory {
    pub(super) fn new(size: ByteSize) -> Self {
        Self(Arc::new(AtomicU64::new(size.bytes())))
    }

    /// So many bytes of it; `None` if there are not as many left.
    pub(super) fn take(&self, bytes: u64) -> Option<HeldMemory> {
        if bytes == 0 {
            return Some(HeldMemory { memory: None, bytes });
        }
        let less = |left: u64| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(HeldMemory { memory: Some(self.clone()), bytes })
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.0.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_given_back_can_be_taken_again_and_no_more_than_there_is() {
        let memory = BodyMemory::new(ByteSize(10));
        let first = memory.take(6).unwrap();
        assert!(memory.take(5).is_none());
        let second = memory.take(4).unwrap();
        assert!(memory.take(0).is_some(), "no body needs no memory");
        drop(first);
        drop(second);
        assert!(memory.take(10).is_some());
    }
}
