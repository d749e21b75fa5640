//! Runners in buckets by how full they are: the least loaded in constant time, whatever their number.

use crate::pool::RunnerPlace;

/// Buckets: load is told in so many parts of full.
pub(super) const BUCKETS: usize = 64;

const NOWHERE: u32 = u32::MAX;

/// The runners with room, by load.
#[derive(Clone, Debug)]
pub(super) struct ByLoad {
    buckets: Vec<Vec<RunnerPlace>>,
    /// Where each runner is: its bucket, and its position there.
    whereabouts: Vec<(u32, u32)>,
    /// One bit for each bucket that has runners.
    filled: u64,
}

impl Default for ByLoad {
    fn default() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], whereabouts: Vec::new(), filled: 0 }
    }
}

impl ByLoad {
    /// Puts a runner into a bucket, or takes it out.
    pub(super) fn set(&mut self, place: RunnerPlace, bucket: Option<usize>) {
        if place.index() >= self.whereabouts.len() {
            self.whereabouts.resize(place.index() + 1, (NOWHERE, 0));
        }
        let (old, position) = self.whereabouts[place.index()];
        let new = bucket.map_or(NOWHERE, |bucket| bucket.min(BUCKETS - 1) as u32);
        if old == new {
            return;
        }
        if old != NOWHERE {
            let runners = &mut self.buckets[old as usize];
            runners.swap_remove(position as usize);
            if let Some(moved) = runners.get(position as usize) {
                self.whereabouts[moved.index()].1 = position;
            }
            if runners.is_empty() {
                self.filled &= !(1 << old);
            }
        }
        self.whereabouts[place.index()] = (new, 0);
        if new != NOWHERE {
            let runners = &mut self.buckets[new as usize];
            self.whereabouts[place.index()].1 = runners.len() as u32;
            runners.push(place);
            self.filled |= 1 << new;
        }
    }

    /// One runner by its number among all, in an order that only changes when a runner moves between buckets.
    pub(super) fn nth(&self, number: usize) -> Option<RunnerPlace> {
        let mut left = number;
        let mut filled = self.filled;
        while filled != 0 {
            let runners = &self.buckets[filled.trailing_zeros() as usize];
            match runners.get(left) {
                Some(runner) => return Some(*runner),
                None => left -= runners.len(),
            }
            filled &= filled - 1;
        }
        None
    }

    /// The runners, least loaded first; those of one bucket beginning with the one that `draw` chooses.
    pub(super) fn ascending(&self, draw: u64) -> impl Iterator<Item = RunnerPlace> {
        (0..BUCKETS).filter(|bucket| self.filled & (1 << bucket) != 0).flat_map(move |bucket| {
            let runners = &self.buckets[bucket];
            let start = (draw % runners.len().max(1) as u64) as usize;
            runners[start..].iter().chain(&runners[..start]).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_loads(moves in proptest::collection::vec((0_u32..20, proptest::option::of(0_usize..BUCKETS)), 0..200), draw: u64) {
            let mut by_load = ByLoad::default();
            let mut model = [None; 20];
            for (place, bucket) in moves {
                by_load.set(RunnerPlace(place), bucket);
                model[place as usize] = bucket;
            }
            let seen: Vec<usize> = by_load.ascending(draw).map(|place| model[place.index()].unwrap()).collect();
            prop_assert!(seen.is_sorted());
            prop_assert_eq!(seen.len(), model.iter().flatten().count());
        }
    }
}
