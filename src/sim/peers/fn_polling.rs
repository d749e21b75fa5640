//! `fn-naive` and `fn-ch`: Fn's two placers, as shipped.
//!
//! Both try every runner in turn, and when all have refused, sleep for 10 ms and begin again, for up to 360 s; nothing wakes a waiting call.
//! They differ in where a pass begins:
//!
//! * naive: at the nanoseconds of the clock modulo the number of runners, a new draw on every pass;
//! * consistent hash: at the function's home by jump hash, **with integer division** where the algorithm divides floating point numbers: the
//!   defect of Fn's code. Runner 1 is home to nothing, and one of ten is home to 28 % of the functions.
//!
//! Fn hashes with SipHash-2-4; here it is XXH3, which changes who lives where, not how evenly.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::known::Known;
use crate::placement::{CallNumber, Event, GaveUp, Moment, Step};
use crate::sim::rule::Rule;
use crate::sim::runner::ModelRunner;

/// Pause after every runner refused.
const RETRY_ALL_DELAY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    ByClock,
    AtHome,
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    first: usize,
    tried: usize,
    give_up_at: Moment,
}

/// The rule.
#[derive(Debug)]
pub(super) struct FnPolling {
    begins: Begins,
    known: Known,
    passes: HashMap<CallNumber, Pass>,
    sleeping: BTreeSet<(Moment, CallNumber)>,
}

impl FnPolling {
    pub(super) fn naive() -> Self {
        Self { begins: Begins::ByClock, known: Known::default(), passes: HashMap::new(), sleeping: BTreeSet::new() }
    }

    pub(super) fn consistent_hash() -> Self {
        Self { begins: Begins::AtHome, ..Self::naive() }
    }

    fn begin_pass(&mut self, call: CallNumber, give_up_at: Moment, now: Moment, steps: &mut Vec<Step>) {
        let count = self.known.runners.len().max(1);
        let first = match self.begins {
            Begins::ByClock => (now.as_nanos() % count as u64) as usize,
            Begins::AtHome => shipped_jump(self.known.key(self.known.function(call)), count),
        };
        self.passes.insert(call, Pass { first, tried: 0, give_up_at });
        self.try_next(call, now, steps);
    }

    fn try_next(&mut self, call: CallNumber, now: Moment, steps: &mut Vec<Step>) {
        let count = self.known.runners.len();
        let Some(pass) = self.passes.get_mut(&call) else { return };
        if now >= pass.give_up_at {
            self.passes.remove(&call);
            return steps.push(Step::GiveUp { call, why: GaveUp::PlacerTimeout, retry_after: None });
        }
        if pass.tried >= count {
            self.sleeping.insert((now + RETRY_ALL_DELAY, call));
            return steps.push(Step::Wait { call });
        }
        let index = (pass.first + pass.tried) % count;
        pass.tried += 1;
        self.known.try_on(call, self.known.runners[index].place, steps);
    }
}

impl Rule for FnPolling {
    fn step(&mut self, event: &Event, now: Moment, _truth: &[ModelRunner], steps: &mut Vec<Step>) {
        self.known.note(event);
        match event {
            Event::Arrived { call, give_up_at, .. } => self.begin_pass(*call, *give_up_at, now, steps),
            Event::Refused { call, .. } => self.try_next(*call, now, steps),
            Event::Ended { call, .. } => {
                self.passes.remove(call);
            }
            Event::Timer => {
                while let Some((at, call)) = self.sleeping.first().copied().filter(|(at, _)| *at <= now) {
                    self.sleeping.remove(&(at, call));
                    let Some(pass) = self.passes.get(&call).copied() else { continue };
                    self.begin_pass(call, pass.give_up_at, now, steps);
                }
            }
            _ => {}
        }
    }

    fn next_timer(&self) -> Option<Moment> {
        self.sleeping.first().map(|(at, _)| *at)
    }
}

/// Fn's `jumpConsistentHash`: `(1 << 31) / (key >> 33)` is a division of integers, so no jump is shorter than twice the way so far.
fn shipped_jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets as u64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Fn divides by zero here once in 2³¹ steps.
        next = (bucket + 1) * ((1 << 31) / (key >> 33).max(1) + 1);
    }
    bucket as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jump_as_shipped_leaves_bucket_1_empty_and_one_of_ten_with_28_percent() {
        let mut counts = [0_u32; 10];
        for key in 0..100_000_u64 {
            counts[shipped_jump(xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes()), 10)] += 1;
        }
        assert_eq!(counts[1], 0);
        let most = counts.iter().max().map(|most| f64::from(*most) / 100_000.0).unwrap();
        assert!((most - 0.284).abs() < 0.01, "{counts:?}");
    }
}
