//! `ow-shard`: OpenWhisk's sharding balancer.
//!
//! Home = hash modulo n; step = one of the numbers coprime to n, chosen by the hash. Walks from the home by the step and takes the first runner of
//! which this balancer's share has a slot left (slots are split evenly among balancers). After a full round a random runner is forced, and its queue
//! takes the call. (OpenWhisk's semaphore counts memory; here it counts slots.)

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::known::Known;
use crate::placement::{Event, Moment, Step};
use crate::sim::rule::Rule;
use crate::sim::runner::{ModelRunner, OnFull};

/// The rule.
#[derive(Debug)]
pub(super) struct OwShard {
    known: Known,
    balancers: u32,
    rng: StdRng,
}

impl OwShard {
    pub(super) fn new(balancers: u32, seed: u64) -> Self {
        Self { known: Known::default(), balancers: balancers.max(1), rng: StdRng::seed_from_u64(seed) }
    }

    fn choose(&mut self, key: u64) -> Option<usize> {
        let runners = &self.known.runners;
        let count = runners.len();
        if count == 0 {
            return None;
        }
        let steps: Vec<usize> = (1..=count).filter(|step| gcd(*step, count) == 1).collect();
        let hash = key as usize;
        let (home, step) = (hash % count, steps.get(hash / count % steps.len().max(1)).copied().unwrap_or(1));
        let share = |index: usize| (runners[index].slots / self.balancers).max(1);
        let walk = (0..count).map(|turn| (home + turn * step) % count);
        walk.into_iter().find(|index| runners[*index].in_flight < share(*index)).or_else(|| Some(self.rng.random_range(0..count)))
    }
}

impl Rule for OwShard {
    fn step(&mut self, event: &Event, _now: Moment, _truth: &[ModelRunner], steps: &mut Vec<Step>) {
        self.known.note(event);
        let (Event::Arrived { call, .. } | Event::Refused { call, .. }) = event else { return };
        let key = self.known.key(self.known.function(*call));
        match self.choose(key) {
            Some(index) => self.known.try_on(*call, self.known.runners[index].place, steps),
            None => self.known.give_up(*call, steps),
        }
    }

    fn on_full(&self) -> OnFull {
        OnFull::Queue
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
