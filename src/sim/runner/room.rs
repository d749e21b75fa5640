//! The slots: taken, free or lent, and the balancers that wait for one. The rules of the agent's own machine, on the simulator's clock:
//!
//! | event | what happens |
//! |---|---|
//! | a call comes | it gets the slot that is lent to its balancer, else the one that was freed last; lent ones are nobody else's |
//! | a call leaves | its slot is free, but not lent for `grace`: whoever used it knows first. If the balancer that waits longest has waited for `patience`, it is lent at once |
//! | a balancer asks | a slot that has been free for longer than its grace is lent at once; else the balancer waits behind the others. It waits once |
//! | time passes | slots whose grace or lease is over are lent to those that wait longest |
//!
//! A slot that comes back from a lease has no grace.

use std::collections::VecDeque;

/// The times of the rules, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomTimes {
    /// How long a freed slot is left to who used it.
    pub grace_ns: u64,
    /// After which wait the grace no longer counts.
    pub patience_ns: u64,
    /// How long a lent slot is kept.
    pub lease_ns: u64,
}

impl Default for RoomTimes {
    fn default() -> Self {
        Self { grace_ns: 5_000_000, patience_ns: 100_000_000, lease_ns: 50_000_000 }
    }
}

/// The slots of a runner.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    times: RoomTimes,
    /// One for each free slot: from when on it may be lent. The earliest first.
    free: VecDeque<u64>,
    /// To whom, and until when.
    lent: Vec<(u32, u64)>,
    /// Who, and since when.
    waiting: VecDeque<(u32, u64)>,
}

impl Slots {
    pub(super) fn new(total: u32, times: RoomTimes) -> Self {
        Self { times, free: (0..total).map(|_| 0).collect(), lent: Vec::new(), waiting: VecDeque::new() }
    }

    /// A call of `balancer` takes a slot. Whether there is one for it.
    pub(super) fn enter(&mut self, balancer: u32, now: u64) -> bool {
        self.end_leases(now);
        match self.lent.iter().position(|(to, _)| *to == balancer) {
            Some(position) => {
                self.lent.remove(position);
                true
            }
            None => self.free.pop_back().is_some(),
        }
    }

    /// A call left its slot. Answers whom a slot is lent to because of it.
    pub(super) fn leave(&mut self, now: u64) -> Vec<u32> {
        self.set_free(if self.is_promised(now) { now } else { now + self.times.grace_ns });
        self.serve(now)
    }

    /// A call took a slot and could not run in it.
    pub(super) fn give_back(&mut self, now: u64) -> Vec<u32> {
        self.set_free(now);
        self.serve(now)
    }

    /// `balancer` asks for a slot.
    pub(super) fn ask(&mut self, balancer: u32, now: u64) -> Vec<u32> {
        if !self.waiting.iter().any(|(waiting, _)| *waiting == balancer) {
            self.waiting.push_back((balancer, now));
        }
        self.tick(now)
    }

    /// Time has passed. Answers whom slots are lent to.
    pub(super) fn tick(&mut self, now: u64) -> Vec<u32> {
        self.end_leases(now);
        self.serve(now)
    }

    /// Who waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().map(|(balancer, _)| *balancer)
    }

    /// Slots that are lent. A lease that is over counts until somebody looks, as an agent's does.
    pub(super) fn lent(&self) -> u32 {
        u32::try_from(self.lent.len()).unwrap_or(u32::MAX)
    }

    /// Whether a slot that is left now is lent at once.
    pub(super) fn is_promised(&self, now: u64) -> bool {
        self.waiting.front().is_some_and(|(_, since)| now.saturating_sub(*since) >= self.times.patience_ns)
    }

    /// When [`Slots::tick`] would do something; never while nobody waits.
    pub(super) fn next_tick(&self) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        self.lent.iter().map(|(_, until)| *until).chain(self.free.front().copied()).min()
    }

    fn serve(&mut self, now: u64) -> Vec<u32> {
        let mut served = Vec::new();
        while !self.waiting.is_empty() && self.free.front().is_some_and(|from| *from <= now) {
            self.free.pop_front();
            if let Some((balancer, _)) = self.waiting.pop_front() {
                self.lent.push((balancer, now + self.times.lease_ns));
                served.push(balancer);
            }
        }
        served
    }

    fn end_leases(&mut self, now: u64) {
        let before = self.lent.len();
        self.lent.retain(|(_, until)| *until > now);
        for _ in self.lent.len()..before {
            self.set_free(now);
        }
    }

    fn set_free(&mut self, from: u64) {
        let position = self.free.partition_point(|other| *other <= from);
        self.free.insert(position, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A slot that balancer 0 is in.
    fn full() -> Slots {
        let mut slots = Slots::new(1, RoomTimes::default());
        assert!(slots.enter(0, 0));
        slots
    }

    #[test]
    fn a_freed_slot_is_left_to_who_used_it_and_then_lent_to_who_waits_longest() {
        let mut slots = full();
        assert_eq!((slots.ask(1, 0), slots.ask(2, MS)), (vec![], vec![]));
        assert_eq!(slots.leave(2 * MS), [0; 0]);
        assert_eq!(slots.next_tick(), Some(7 * MS));
        assert_eq!(slots.tick(7 * MS), [1]);
        assert!(!slots.enter(2, 8 * MS), "lent to balancer 1");
        assert!(slots.enter(1, 8 * MS));
    }

    #[test]
    fn who_has_waited_for_long_gets_the_next_slot_without_grace_and_a_lease_ends() {
        let mut slots = full();
        slots.ask(1, 0);
        slots.ask(2, 0);
        assert_eq!(slots.leave(100 * MS), [1]);
        assert_eq!(slots.tick(150 * MS), [2], "balancer 1 did not come");
        assert!(slots.enter(5, 200 * MS), "nobody waits");
    }

    #[test]
    fn a_slot_that_nobody_wants_is_lent_as_soon_as_somebody_asks() {
        let mut slots = Slots::new(1, RoomTimes::default());
        assert_eq!(slots.ask(1, 0), [1]);
        assert_eq!(slots.ask(2, 0), [0; 0], "no slot is lent twice");
    }
}
