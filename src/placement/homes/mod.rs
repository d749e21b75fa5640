//! Homes: for each key an order of runners that all balancers agree on, and that moves little when runners come and go.
//!
//! Rule: a hash ring with [`POINTS`] points for each runner (Karger et al. 1997), package `consistent_hash_ring` behind our own
//! wrapper. The first [`CANDIDATES`] runners come from the ring by rehashing, so that a full runner's calls spread over all others and do
//! not cascade to one neighbour. While no ring was made, rendezvous hashing (Thaler and Ravishankar 1998) gives an order.
//!
//! The rules for the package, each from a defect of it: nodes and keys are hashed by one fixed hasher in separate domains; at least
//! 100 points (10 leave a node with 1.9 times its share); no runner of weight 0 (its iterator would not end); the ring is made off the
//! request path (building costs milliseconds for hundreds of runners); only a few candidates are taken from it (its iterator is quadratic);
//! never `get` (it panics on an empty ring).
//!
//! Above [`LARGEST_PACKAGE_RING`] runners a sorted array takes the package's place: the package inserts point by point into one array, which costs
//! minutes for 10,000 runners. It has the same points and gives the same candidates (a property test holds that), so that balancers
//! agree on both sides of the bound.
//!
//! Cost: 1 to 4 µs to work the candidates out; they are kept for each function until the ring changes, so that a decision finds them.

mod flat;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use consistent_hash_ring::{Ring, RingBuilder};
use xxhash_rust::xxh3::Xxh3;

use self::flat::FlatRing;
use crate::pool::RunnerPlace;

/// The most runners whose ring is the package's.
const LARGEST_PACKAGE_RING: usize = 1_000;
/// Points of each runner on the ring.
pub(super) const POINTS: usize = 100;
/// Runners taken from the ring for a key.
pub(super) const CANDIDATES: usize = 8;

/// The runners' order for every key.
#[derive(Debug, Default)]
pub struct Homes {
    version: u64,
    ring: Option<Arc<HomeRing>>,
}

/// A runner's place and name.
pub type RingMember = (RunnerPlace, Arc<str>);

/// A ring of runners, made off the request path.
#[derive(Clone)]
pub struct HomeRing {
    nodes: Vec<Node>,
    points: Points,
}

/// Who keeps the points.
#[derive(Clone)]
enum Points {
    Package(Ring<Node, FixedHasher>),
    Flat(FlatRing),
}

impl std::fmt::Debug for HomeRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HomeRing").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl HomeRing {
    /// The ring of these runners, made out of a former one where there is one: who left is taken out, who came is put in.
    pub fn make(runners: &[RingMember], former: Option<&Self>) -> Self {
        let nodes: Vec<Node> = runners.iter().map(|(place, name)| Node { name: Arc::clone(name), place: *place }).collect();
        if nodes.len() > LARGEST_PACKAGE_RING {
            let points = Points::Flat(FlatRing::make(&nodes, former.and_then(Self::flat)));
            return Self { nodes, points };
        }
        let points = Points::Package(package_ring(&nodes, former.and_then(Self::package)));
        Self { nodes, points }
    }

    const fn flat(&self) -> Option<(&FlatRing, &Vec<Node>)> {
        if let Points::Flat(ring) = &self.points { Some((ring, &self.nodes)) } else { None }
    }

    const fn package(&self) -> Option<(&Ring<Node, FixedHasher>, &Vec<Node>)> {
        if let Points::Package(ring) = &self.points { Some((ring, &self.nodes)) } else { None }
    }

    /// Appends the first candidates of a key, with a hint that joins it.
    fn candidates(&self, key: &str, hint: Option<u64>, candidates: &mut Vec<RunnerPlace>) {
        let key = Key { key, hint };
        match &self.points {
            Points::Package(ring) => candidates.extend(ring.replicas(key).map(|node| node.place).take(CANDIDATES)),
            Points::Flat(ring) => ring.first(FixedHasher.hash_one(key), candidates),
        }
    }
}

fn package_ring(nodes: &[Node], former: Option<(&Ring<Node, FixedHasher>, &Vec<Node>)>) -> Ring<Node, FixedHasher> {
    let Some((former, former_nodes)) = former else {
        return RingBuilder::new(FixedHasher).vnodes(POINTS).nodes(nodes).build();
    };
    let mut ring = former.clone();
    let stays: HashSet<&Node> = nodes.iter().collect();
    for gone in former_nodes.iter().filter(|node| !stays.contains(node)) {
        ring.remove(gone);
    }
    for node in nodes {
        if ring.weight(node).is_none() {
            ring.insert_weight(node.clone(), POINTS);
        }
    }
    ring
}

impl Homes {
    /// Differs after every change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn ring(&self) -> Option<&Arc<HomeRing>> {
        self.ring.as_ref()
    }

    pub(super) fn set(&mut self, ring: Arc<HomeRing>) {
        self.ring = Some(ring);
        self.version += 1;
    }

    /// Appends the first candidates of a key.
    pub(super) fn first(&self, key: &str, hint: Option<u64>, candidates: &mut Vec<RunnerPlace>) {
        if let Some(ring) = &self.ring {
            ring.candidates(key, hint, candidates);
        }
    }
}

/// XXH3 with its default secret: the same on every machine and in every version of this program.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FixedHasher;

impl BuildHasher for FixedHasher {
    type Hasher = Xxh3;

    fn build_hasher(&self) -> Xxh3 {
        Xxh3::new()
    }
}

/// A runner on the ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    name: Arc<str>,
    place: RunnerPlace,
}

impl Hash for Node {
    /// Bytes in a domain of their own, so that a function named like a runner is not bound to it. The place is the balancer's own
    /// affair: others give other numbers.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"node\0");
        state.write(self.name.as_bytes());
    }
}

/// What is looked up on the ring.
struct Key<'a> {
    key: &'a str,
    hint: Option<u64>,
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"key\0");
        state.write(self.key.as_bytes());
        if let Some(hint) = self.hint {
            state.write(b"\0hint\0");
            state.write(&hint.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
