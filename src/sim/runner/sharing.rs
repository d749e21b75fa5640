//! Processor sharing: the calls that run on a runner share its cores evenly; none gets more than one.
//!
//! All running calls progress at the same rate, so one number (`progress`, the work done by a call that had run since the beginning) is
//! enough: a call that starts at progress p with work w ends at progress p + w, whatever comes and goes in between.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Cores that are shared.
#[derive(Clone, Debug)]
pub(super) struct SharedCores {
    /// Nanoseconds of work per nanosecond of all cores.
    capacity: f64,
    /// That of one core.
    one: f64,
    progress: f64,
    at: u64,
    running: BinaryHeap<Reverse<(Ends, usize)>>,
    factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Ends(f64);

impl Eq for Ends {}
impl PartialOrd for Ends {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ends {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl SharedCores {
    pub(super) fn new(cores: f64, speed: f64) -> Self {
        Self { capacity: cores * speed, one: speed, progress: 0.0, at: 0, running: BinaryHeap::new(), factor: 1.0 }
    }

    fn rate(&self) -> f64 {
        if self.running.is_empty() { 0.0 } else { (self.capacity * self.factor / self.running.len() as f64).min(self.one) }
    }

    fn advance(&mut self, now: u64) {
        self.progress += self.rate() * now.saturating_sub(self.at) as f64;
        self.at = now;
    }

    /// From now on others take all but this share of the cores (more than 1: they leave some of theirs).
    pub(super) fn set_factor(&mut self, factor: f64, now: u64) {
        self.advance(now);
        self.factor = factor;
    }

    /// Nanoseconds of work that a nanosecond of all cores does now.
    pub(super) fn capacity(&self) -> f64 {
        self.capacity * self.factor
    }

    /// A call with `work` nanoseconds of work begins.
    pub(super) fn begin(&mut self, call: usize, work: u64, now: u64) {
        self.advance(now);
        self.running.push(Reverse((Ends(self.progress + work as f64), call)));
    }

    /// When the next call ends if nothing else begins.
    pub(super) fn next_end(&self) -> Option<u64> {
        let Reverse((ends, _)) = self.running.peek()?;
        Some(self.at + ((ends.0 - self.progress).max(0.0) / self.rate()).ceil() as u64)
    }

    /// Takes out a call that has ended by `now`.
    pub(super) fn take_ended(&mut self, now: u64) -> Option<usize> {
        self.advance(now);
        let Reverse((ends, call)) = *self.running.peek()?;
        // A nanosecond of slack for what a sum of floating point numbers loses.
        (ends.0 <= self.progress + 1.0).then(|| {
            self.running.pop();
            call
        })
    }

    /// Forgets all calls: the runner went down.
    pub(super) fn clear(&mut self) {
        self.running.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_calls_on_one_core_take_twice_as_long_and_alone_they_do_not() {
        let mut cores = SharedCores::new(1.0, 1.0);
        cores.begin(0, 1_000, 0);
        assert_eq!(cores.next_end(), Some(1_000));
        cores.begin(1, 1_000, 500);
        assert_eq!(cores.next_end(), Some(1_500), "500 left at half the rate");
        assert_eq!(cores.take_ended(1_500), Some(0));
        assert_eq!(cores.take_ended(1_500), None);
        assert_eq!(cores.next_end(), Some(2_000), "500 left at the full rate");
    }

    #[test]
    fn no_call_gets_more_than_one_core() {
        let mut cores = SharedCores::new(4.0, 2.0);
        cores.begin(0, 1_000, 0);
        assert_eq!(cores.next_end(), Some(500), "a core of speed 2");
    }
}
