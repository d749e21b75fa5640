//! Places for calls in hand (`front.max_in_flight`): who finds none is refused at once, so that nobody waits and a count is enough.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: AtomicUsize,
}

impl Places {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    /// Takes a place, if one is free: whether one was. The record of its call gives it back.
    pub(super) fn take(&self) -> bool {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Gives back a place that was taken.
    pub(super) fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_were_made_and_one_given_back_can_be_taken() {
        let places = Places::new(2);
        assert!(places.take() && places.take());
        assert!(!places.take() && !places.take());
        places.give_back();
        assert!(places.take() && !places.take());
        places.give_back();
        places.give_back();
        assert!(places.take() && places.take() && !places.take());
    }
}
