//! A set of runners as bits: the next member after a place in a few nanoseconds for each 64 runners.

use crate::pool::RunnerPlace;

/// A set of runners.
#[derive(Clone, Debug, Default)]
pub(super) struct PlaceSet {
    words: Vec<u64>,
    count: usize,
}

impl PlaceSet {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, place: RunnerPlace) -> bool {
        self.words.get(place.index() / 64).is_some_and(|word| word & (1 << (place.index() % 64)) != 0)
    }

    pub(super) fn insert(&mut self, place: RunnerPlace) {
        let word = place.index() / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (place.index() % 64);
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, place: RunnerPlace) {
        if self.contains(place) {
            self.words[place.index() / 64] &= !(1 << (place.index() % 64));
            self.count -= 1;
        }
    }

    /// The members at or after `from`, then those before it.
    pub(super) fn cycle_from(&self, from: u32) -> impl Iterator<Item = RunnerPlace> {
        let (start, offset) = (from as usize / 64, from % 64);
        let words = self.words.len();
        let high = u64::MAX << offset;
        // The first word is looked at twice: its upper part at the beginning, its lower part at the end.
        (0..=words).flat_map(move |step| {
            let index = (start + step) % words.max(1);
            let word = self.words.get(index).copied().unwrap_or(0);
            let word = match step {
                0 => word & high,
                _ if step == words => word & !high,
                _ => word,
            };
            Bits(word).map(move |bit| RunnerPlace((index * 64) as u32 + bit))
        })
    }
}

struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_member_comes_once_from_any_start(members in proptest::collection::btree_set(0_u32..200, 0..40), from in 0_u32..192) {
            let mut set = PlaceSet::default();
            for member in &members {
                set.insert(RunnerPlace(*member));
            }
            set.insert(RunnerPlace(199));
            set.remove(RunnerPlace(199));
            let expected: BTreeSet<u32> = members.into_iter().filter(|member| *member != 199).collect();
            let seen: Vec<u32> = set.cycle_from(from).map(|place| place.0).collect();
            let mut in_order: Vec<u32> = expected.range(from..).copied().collect();
            in_order.extend(expected.range(..from));
            prop_assert_eq!(seen, in_order);
            prop_assert_eq!(set.len(), expected.len());
        }
    }
}
