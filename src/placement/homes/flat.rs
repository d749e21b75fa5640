//! The ring as sorted arrays: the same points and the same candidates as the package's, made all at once.
//!
//! Point *i* of a runner is the hash of its name hashed *i* times again. A key's first candidate is the runner of the first point at or after the
//! key's hash; the next one is found by hashing the hash again, and going on to the next point while its runner is already among them.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{CANDIDATES, FixedHasher, Node, POINTS};
use crate::pool::RunnerPlace;

/// A ring that is not changed once it is made.
#[derive(Clone, Debug)]
pub(super) struct FlatRing {
    /// The points, ascending.
    hashes: Vec<u64>,
    /// The runner of each point, as an index into `places`.
    owners: Vec<u32>,
    places: Vec<RunnerPlace>,
}

impl FlatRing {
    /// The ring of these runners. The points of those that were in the former ring are taken over, in their order; only the others are hashed
    /// and sorted.
    pub(super) fn make(nodes: &[Node], former: Option<(&Self, &Vec<Node>)>) -> Self {
        let places = nodes.iter().map(|node| node.place).collect();
        let mut known: HashMap<&Arc<str>, u32> = HashMap::new();
        if let Some((_, former_nodes)) = former {
            known.extend((0..).zip(former_nodes).map(|(number, node)| (&node.name, number)));
        }
        // Where each runner of the former ring stands among these; those that left stand nowhere.
        let mut stands = vec![u32::MAX; known.len()];
        let mut new = Vec::new();
        for (number, node) in (0..).zip(nodes) {
            match known.get(&node.name) {
                Some(former) => stands[*former as usize] = number,
                None => new.extend(points(node).map(|hash| (hash, number))),
            }
        }
        new.sort_unstable();
        let kept = former.into_iter().flat_map(|(ring, _)| ring.hashes.iter().zip(&ring.owners)).filter_map(|(hash, owner)| {
            let stands = stands[*owner as usize];
            (stands != u32::MAX).then_some((*hash, stands))
        });
        let mut ring = Self { hashes: Vec::new(), owners: Vec::new(), places };
        ring.hashes.reserve_exact(nodes.len() * POINTS);
        ring.owners.reserve_exact(nodes.len() * POINTS);
        ring.merge(kept, new.into_iter());
        ring
    }

    /// Takes two ascending sequences of points in.
    fn merge(&mut self, kept: impl Iterator<Item = (u64, u32)>, new: impl Iterator<Item = (u64, u32)>) {
        let (mut kept, mut new) = (kept.peekable(), new.peekable());
        loop {
            let next = match (kept.peek(), new.peek()) {
                (Some(first), Some(second)) if first <= second => kept.next(),
                (_, Some(_)) => new.next(),
                (_, None) => kept.next(),
            };
            let Some((hash, owner)) = next else { break };
            self.hashes.push(hash);
            self.owners.push(owner);
        }
    }

    /// Appends the first candidates of a key with this hash.
    pub(super) fn first(&self, key: u64, candidates: &mut Vec<RunnerPlace>) {
        let mut chosen = [u32::MAX; CANDIDATES];
        let mut hash = key;
        for count in 0..CANDIDATES.min(self.places.len()) {
            let mut position = self.hashes.partition_point(|point| *point < hash);
            let owner = loop {
                // Beyond the last point comes the first.
                position = if position < self.owners.len() { position } else { 0 };
                let Some(owner) = self.owners.get(position) else { return };
                if !chosen[..count].contains(owner) {
                    break *owner;
                }
                position += 1;
            };
            chosen[count] = owner;
            candidates.push(self.places[owner as usize]);
            hash = again(hash);
        }
    }
}

/// The points of a runner.
fn points(node: &Node) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(FixedHasher.hash_one(node)), |hash| Some(again(*hash))).take(POINTS)
}

/// The hash of a hash: what [`FixedHasher`] makes of an integer, at once.
fn again(hash: u64) -> u64 {
    xxh3_64(&hash.to_ne_bytes())
}
