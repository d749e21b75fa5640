//! Held handles by key.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};
use std::sync::OnceLock;

use rustc_hash::FxBuildHasher;

/// Handles by key, looked up without a lock and without counting who looks: what is here stays where it is. Keys come from configuration, so it grows to its size.
///
/// A tree, at each level of which two bits of a key's hash say how to go on.
#[derive(Debug)]
pub struct HandleCache<K, H> {
    root: Place<K, H>,
}

type Place<K, H> = OnceLock<Box<Entry<K, H>>>;

#[derive(Debug)]
struct Entry<K, H> {
    key: K,
    handles: H,
    below: [Place<K, H>; 1 << BITS],
}

/// Bits of the hash at each level.
const BITS: u32 = 2;

impl<K, H> Default for HandleCache<K, H> {
    fn default() -> Self {
        Self { root: OnceLock::new() }
    }
}

impl<K: Hash + Eq, H> HandleCache<K, H> {
    /// The handles of `key`, made by `make` the first time.
    pub fn get<Q>(&self, key: &Q, make: impl Fn() -> H) -> &H
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut place = &self.root;
        let mut hash = FxBuildHasher.hash_one(key);
        loop {
            // Another thread may be first, with this key or with another.
            let entry = place.get_or_init(|| Box::new(Entry { key: key.to_owned(), handles: make(), below: Default::default() }));
            if entry.key.borrow() == key {
                return &entry.handles;
            }
            hash = hash.rotate_left(BITS);
            place = &entry.below[usize::try_from(hash).unwrap_or(usize::MAX) % entry.below.len()];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn handles_are_made_once_per_key_whoever_asks_first() {
        let (cache, made) = (HandleCache::default(), AtomicUsize::new(0));
        let ask = || {
            for key in 0..1_000_u32 {
                assert_eq!(*cache.get(&key, || (made.fetch_add(1, Ordering::Relaxed), key).1), key);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(ask))));
        assert_eq!(made.into_inner(), 1_000);
        let first: *const u32 = cache.get(&7, || unreachable!("it was made before"));
        assert!(std::ptr::eq(first, cache.get(&7, || unreachable!("it was made before"))));
    }
}
