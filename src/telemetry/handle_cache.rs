//! Held handles by key.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

/// Handles by key, looked up without a lock. Keys come from configuration, so the map grows to its size and stays.
#[derive(Debug)]
pub struct HandleCache<K, H> {
    handles: ArcSwap<FxHashMap<K, Arc<H>>>,
}

impl<K, H> Default for HandleCache<K, H> {
    fn default() -> Self {
        Self { handles: ArcSwap::from_pointee(FxHashMap::default()) }
    }
}

impl<K: Hash + Eq + Clone, H> HandleCache<K, H> {
    /// The handles of `key`, made by `make` the first time.
    pub fn get<Q>(&self, key: &Q, make: impl FnOnce() -> H) -> Arc<H>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(handles) = self.handles.load().get(key) {
            return Arc::clone(handles);
        }
        let made = Arc::new(make());
        self.handles.rcu(|current| {
            let mut next = FxHashMap::clone(current);
            // Another thread may have been first: its handles record on the same series.
            next.entry(key.to_owned()).or_insert_with(|| Arc::clone(&made));
            next
        });
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_made_once_per_key() {
        let cache = HandleCache::default();
        let first = cache.get(&"a", || 1);
        assert!(Arc::ptr_eq(&first, &cache.get(&"a", || unreachable!("it was made before"))));
        assert_eq!(*cache.get(&"b", || 2), 2);
    }
}
