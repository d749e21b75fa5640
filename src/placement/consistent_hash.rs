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
            let candidates = known.ring.replicas(Key(key)).filter_map(|node| snapshot.position(&node.0));
            order.extend(candidates.take(CANDIDATES));
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
        let nodes: Vec<Node> = snapshot.members().iter().map(|member| Node(member.id.clone())).collect();
        let ring = match former {
            Some(former) => {
                let mut ring = former.ring.clone();
                for gone in former.nodes.iter().filter(|node| snapshot.position(&node.0).is_none()) {
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
    let mut rest: Vec<(u64, u32)> = (0..)
        .zip(snapshot.members())
        .filter(|(position, _)| !order.contains(position))
        .map(|(position, member)| (score(&member.id), position))
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
