//! `ch`: the same runner first for the same function, while it is there.
//!
//! Rule: a hash ring with [`POINTS`] points for each runner (Karger et al. 1997), package `consistent_hash_ring` behind our own
//! wrapper. The first [`CANDIDATES`] runners to try come from the ring by rehashing, so that a full runner's calls spread over
//! all others and do not cascade to one neighbour; the remaining runners follow in the order of their rendezvous score.
//!
//! What Fn's placer of this name does worse: its jump hash never chooses bucket 1, panics on some keys, depends on the order of
//! the list, and moves nearly all keys when a runner leaves. Here balancers agree whatever the order of their lists, and a runner
//! that leaves moves only its own keys.
//!
//! The rules for the package, each from a defect of it: nodes and keys are hashed by one fixed hasher in separate domains; at least
//! 100 points (10 leave a node with 1.9 times its share); no runner of weight 0 (its iterator would not end); the ring is made off the
//! request path (building costs milliseconds for hundreds of runners); only a few candidates are taken from it (its iterator is quadratic);
//! never `get` (it panics on an empty ring).
//!
//! Cost: 1 to 4 µs for the candidates of a pass. Use it when runners hold something warm and functions are many; it does not look
//! at load, so one hot function fills its first runner before it spills.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use consistent_hash_ring::{Ring, RingBuilder};
use xxhash_rust::xxh3::Xxh3;

use super::placer::{Decision, Placer, PlacerEvent, Question};
use crate::model::RunnerId;
use crate::pool::Snapshot;

/// Points of each runner on the ring.
pub(super) const POINTS: usize = 100;
/// Runners taken from the ring in one pass.
pub(super) const CANDIDATES: usize = 8;

/// The strategy of this page.
#[derive(Debug, Default)]
pub struct ConsistentHash {
    /// The newest ring. Reading it takes no lock.
    ring: ArcSwapOption<RunnerRing>,
    /// Protects the making of a ring, so that two changes of the pool cannot overtake one another.
    making: Mutex<()>,
}

/// A ring, and for which snapshot it was made.
struct RunnerRing {
    version: u64,
    ring: Ring<Node, FixedHasher>,
    nodes: Vec<Node>,
}

impl std::fmt::Debug for RunnerRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerRing").field("version", &self.version).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Placer for ConsistentHash {
    fn name(&self) -> &'static str {
        "ch"
    }

    fn decide(&self, question: Question<'_>) -> Decision {
        let Question { snapshot, key, pass, .. } = question;
        if pass.order.is_empty() {
            self.order(snapshot, key, &mut pass.order);
        }
        let tried = pass.tried as usize;
        if tried == pass.order.len() && tried < snapshot.len() {
            append_by_rendezvous(snapshot, key, &mut pass.order);
        }
        pass.order.get(tried).map_or(Decision::Park, |position| Decision::Try(*position))
    }

    fn observe(&self, event: PlacerEvent<'_>) {
        match event {
            PlacerEvent::PoolChanged(snapshot) => self.remake(snapshot),
        }
    }
}

impl ConsistentHash {
    /// The first candidates. While a new ring is being made, the former one decides: what it knows that is gone is passed over.
    fn order(&self, snapshot: &Snapshot, key: &str, order: &mut Vec<u32>) {
        if let Some(known) = &*self.ring.load() {
            let candidates = known.ring.replicas(Key(key)).filter_map(|node| snapshot.place(&node.0));
            order.extend(candidates.take(CANDIDATES).map(|place| place.0));
        }
        if order.is_empty() {
            append_by_rendezvous(snapshot, key, order);
        }
    }

    /// Makes the ring of a snapshot out of the former one: removes who left, inserts who came.
    fn remake(&self, snapshot: &Snapshot) {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let former = self.ring.load_full();
        if former.as_ref().is_some_and(|former| former.version >= snapshot.version()) {
            return;
        }
        let nodes: Vec<Node> = snapshot.members().map(|member| Node(member.id.clone())).collect();
        let ring = match former {
            Some(former) => {
                let mut ring = former.ring.clone();
                for gone in former.nodes.iter().filter(|node| snapshot.place(&node.0).is_none()) {
                    ring.remove(gone);
                }
                for node in &nodes {
                    if ring.weight(node).is_none() {
                        ring.insert_weight(node.clone(), POINTS);
                    }
                }
                ring
            }
            None => RingBuilder::new(FixedHasher).vnodes(POINTS).nodes(&nodes).build(),
        };
        self.ring.store(Some(Arc::new(RunnerRing { version: snapshot.version(), ring, nodes })));
    }
}

/// Appends the runners that are not in `order` yet, highest rendezvous score first (Thaler and Ravishankar 1998).
fn append_by_rendezvous(snapshot: &Snapshot, key: &str, order: &mut Vec<u32>) {
    let score = |id: &RunnerId| {
        let mut hasher = FixedHasher.build_hasher();
        Key(key).hash(&mut hasher);
        Node(id.clone()).hash(&mut hasher);
        hasher.finish()
    };
    let mut rest: Vec<(u64, u32)> = snapshot
        .places()
        .filter(|(place, _)| !order.contains(&place.0))
        .map(|(place, member)| (score(&member.id), place.0))
        .collect();
    rest.sort_unstable_by(|a, b| b.cmp(a));
    order.extend(rest.into_iter().map(|(_, position)| position));
}

/// XXH3 with its default secret: the same on every machine and in every version of this program.
#[derive(Clone, Copy, Debug, Default)]
struct FixedHasher;

impl BuildHasher for FixedHasher {
    type Hasher = Xxh3;

    fn build_hasher(&self) -> Xxh3 {
        Xxh3::new()
    }
}

/// A runner on the ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node(RunnerId);

impl Hash for Node {
    /// Bytes in a domain of their own, so that a function named like a runner is not bound to it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"node\0");
        state.write(self.0.as_str().as_bytes());
    }
}

/// What is looked up on the ring.
struct Key<'a>(&'a str);

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"key\0");
        state.write(self.0.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::placement::{Naive, Pass};
    use crate::pool::{Member, RunnerPlace};
    use crate::runner::doubles::Scripted;

    fn snapshot<N: AsRef<str>>(names: &[N]) -> Snapshot {
        let member = |name: &N| Member::new(Arc::new(Scripted::busy(name.as_ref())));
        Snapshot::new(names.iter().map(member).collect()).unwrap()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("10.0.0.{number}:9001")).collect()
    }

    fn prepared(snapshot: &Snapshot) -> ConsistentHash {
        let placer = ConsistentHash::default();
        placer.observe(PlacerEvent::PoolChanged(snapshot));
        placer
    }

    /// Everybody whom a pass tries, in order.
    fn walk(placer: &dyn Placer, snapshot: &Snapshot, key: &str, draw: u64) -> Vec<u32> {
        let mut pass = Pass { draw, ..Pass::default() };
        let mut tried = Vec::new();
        while let Decision::Try(position) = placer.decide(Question { snapshot, key, now: Instant::now(), pass: &mut pass }) {
            tried.push(position);
            pass.tried += 1;
            assert!(tried.len() <= snapshot.len(), "{tried:?} goes on too long");
        }
        tried
    }

    fn first(placer: &dyn Placer, snapshot: &Snapshot, key: &str) -> RunnerId {
        let position = walk(placer, snapshot, key, 0)[0];
        snapshot.get(RunnerPlace(position)).unwrap().id.clone()
    }

    /// W1: with two runners Fn's placer sends every function to one; with three, nobody gets the second.
    #[test]
    fn every_runner_is_somebodys_first() {
        for runners in [2, 3, 4, 5, 8, 10] {
            let snapshot = snapshot(&names(runners));
            let placer = prepared(&snapshot);
            let mut share: HashMap<RunnerId, u32> = HashMap::new();
            for key in 0..2_000 {
                *share.entry(first(&placer, &snapshot, &format!("function-{key}"))).or_default() += 1;
            }
            let fair = 2_000 / runners as u32;
            assert_eq!(share.len(), runners);
            assert!(share.values().all(|share| *share > fair / 2 && *share < fair * 2), "{runners} runners: {share:?}");
        }
    }

    /// W1: balancers that were given the same runners in another order agree, whoever came first.
    #[test]
    fn the_order_of_the_list_and_its_history_do_not_matter() {
        let mut given = names(20);
        let (one, ring_at_once) = (snapshot(&given), ConsistentHash::default());
        ring_at_once.observe(PlacerEvent::PoolChanged(&one));
        let grown = ConsistentHash::default();
        for count in 1..20 {
            grown.observe(PlacerEvent::PoolChanged(&snapshot(&given[20 - count..])));
        }
        given.reverse();
        let other = snapshot(&given);
        grown.observe(PlacerEvent::PoolChanged(&other));
        for key in 0..500 {
            let key = format!("function-{key}");
            assert_eq!(first(&ring_at_once, &one, &key), first(&grown, &other, &key));
        }
    }

    #[test]
    fn a_runner_that_leaves_moves_only_its_own_functions() {
        let all = names(10);
        let (before, after) = (snapshot(&all), snapshot(&all[1..]));
        let placer = prepared(&before);
        let keys: Vec<String> = (0..1_000).map(|key| format!("function-{key}")).collect();
        let firsts: Vec<RunnerId> = keys.iter().map(|key| first(&placer, &before, key)).collect();
        let gone = before.members().next().unwrap().id.clone();
        placer.observe(PlacerEvent::PoolChanged(&after));
        for (key, was) in keys.iter().zip(&firsts) {
            let is = first(&placer, &after, key);
            assert!(is == *was || *was == gone, "{key} moved from {was} to {is}");
        }
    }

    /// Only the functions of a runner that left go somewhere else for that moment.
    #[test]
    fn until_the_new_ring_is_made_the_former_one_decides() {
        let all = names(10);
        let (before, after) = (snapshot(&all), snapshot(&all[1..]));
        let (placer, told) = (prepared(&before), prepared(&after));
        let gone = &before.members().next().unwrap().id;
        let keys = (0..200).map(|key| format!("function-{key}"));
        for key in keys.filter(|key| first(&placer, &before, key) != *gone) {
            assert_eq!(first(&placer, &after, &key), first(&told, &after, &key));
        }
    }

    /// W1: Fn's hash divides by zero for some keys; the package panics on an empty ring.
    #[test]
    fn an_empty_pool_parks() {
        let empty = Snapshot::empty();
        for placer in [ConsistentHash::default(), prepared(&empty)] {
            assert_eq!(walk(&placer, &empty, "f", 0), Vec::<u32>::new());
        }
    }

    /// The mapping is a contract between balancers of different versions.
    #[test]
    fn the_mapping_does_not_change_between_versions() {
        let snapshot = snapshot(&names(5));
        let placer = prepared(&snapshot);
        let firsts: Vec<u32> =
            ["", "a", "hello", "resize", "01M80TE9PJFW00008ZJ0000002"].map(|key| walk(&placer, &snapshot, key, 0)[0]).into();
        assert_eq!(firsts, EXPECTED_FIRSTS);
    }

    const EXPECTED_FIRSTS: [u32; 5] = [1, 1, 2, 0, 1];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_pass_tries_every_runner_once(count in 0..40_usize, stale in 0..40_usize, key in ".{0,30}", draw: u64) {
            let snapshot_now = snapshot(&names(count));
            let stale_ring = prepared(&snapshot(&names(stale)));
            let placers: [&dyn Placer; 3] = [&prepared(&snapshot_now), &stale_ring, &Naive];
            for placer in placers {
                let tried = walk(placer, &snapshot_now, &key, draw);
                let distinct: HashSet<u32> = tried.iter().copied().collect();
                prop_assert_eq!(tried.len(), count);
                prop_assert_eq!(distinct.len(), count);
            }
        }
    }
}
