//! Places for calls in hand (`front.max_in_flight`): who finds none is refused at once, so that nobody waits and a count is enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    most: usize,
    count: AtomicUsize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Places);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Taken { most, count: AtomicUsize::new(0) }))
    }

    /// A place, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        let one_more = |taken| (taken < self.0.most).then_some(taken + 1);
        self.0.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_were_made_and_one_given_back_can_be_taken() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some_and(|_| places.take().is_none()));
        assert!(places.take().is_some());
    }
}
