//! Room for several balancers: who gets a freed slot while some wait for one. The rules of the agent, on the simulator's clock.
//!
//! | what happens | what is done |
//! |---|---|
//! | a balancer asks, a slot is free and kept for nobody | the slot is offered to it |
//! | a balancer asks, no slot is free | it waits, behind those that asked before; asking again changes nothing |
//! | a slot is freed, nobody waits | it is free for all |
//! | a slot is freed, somebody waits | it is kept for `grace` for the balancer that used it |
//! | the same, and the oldest has waited for `patience` | it is offered to the oldest at once |
//! | the grace is over | it is offered to the oldest that waits; nobody waits: free for all |
//! | an offered slot was not used for `lease` | the same |
//!
//! A kept or offered slot is taken by nobody else: a call of another balancer is refused as busy.

use std::collections::VecDeque;

/// The times of the rules, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomTimes {
    /// How long a freed slot stays with who used it.
    pub grace_ns: u64,
    /// After which wait the grace no longer counts.
    pub patience_ns: u64,
    /// How long an offered slot is kept.
    pub lease_ns: u64,
}

impl Default for RoomTimes {
    fn default() -> Self {
        Self { grace_ns: 5_000_000, patience_ns: 100_000_000, lease_ns: 50_000_000 }
    }
}

/// A slot that is kept for a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    balancer: u32,
    until: u64,
    is_offer: bool,
}

/// The waiting balancers and the kept slots of a runner.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    times: RoomTimes,
    waiting: VecDeque<(u32, u64)>,
    kept: Vec<Kept>,
}

impl Room {
    pub(super) fn new(times: RoomTimes) -> Self {
        Self { times, waiting: VecDeque::new(), kept: Vec::new() }
    }

    /// Whether a call of `balancer` may take one of `free` slots (free: not running a call). Uses up a slot kept for it.
    pub(super) fn may_take(&mut self, balancer: u32, free: u32) -> bool {
        if free == 0 {
            return false;
        }
        // An offer first: it is what the balancer was told of.
        let own =
            self.kept.iter().enumerate().filter(|(_, kept)| kept.balancer == balancer).max_by_key(|(_, kept)| kept.is_offer);
        if let Some((index, _)) = own {
            self.kept.swap_remove(index);
            return true;
        }
        self.unkept(free) > 0
    }

    /// Slots of `free` that are kept for nobody.
    pub(super) fn unkept(&self, free: u32) -> u32 {
        free.saturating_sub(u32::try_from(self.kept.len()).unwrap_or(u32::MAX))
    }

    /// `balancer` asks for a slot. `true`: it is offered one now.
    pub(super) fn ask(&mut self, balancer: u32, free: u32, now: u64) -> bool {
        if self.unkept(free) > 0 && self.waiting.is_empty() {
            self.kept.push(Kept { balancer, until: now + self.times.lease_ns, is_offer: true });
            return true;
        }
        if !self.waiting.iter().any(|(waiting, _)| *waiting == balancer) {
            self.waiting.push_back((balancer, now));
        }
        false
    }

    /// A slot that `balancer` used is free. Answers whom it is offered to, if it is.
    pub(super) fn freed(&mut self, balancer: u32, now: u64) -> Option<u32> {
        let (_, since) = self.waiting.front()?;
        if now.saturating_sub(*since) >= self.times.patience_ns {
            return self.offer(now);
        }
        self.kept.push(Kept { balancer, until: now + self.times.grace_ns, is_offer: false });
        None
    }

    /// When [`Room::due`] has something to do.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.kept.iter().map(|kept| kept.until).min()
    }

    /// Ends what is over by `now`, and answers who is offered a slot instead.
    pub(super) fn due(&mut self, now: u64) -> Vec<u32> {
        let mut offered = Vec::new();
        while let Some(index) = self.kept.iter().position(|kept| kept.until <= now) {
            self.kept.remove(index);
            offered.extend(self.offer(now));
        }
        offered
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.kept.clear();
    }

    fn offer(&mut self, now: u64) -> Option<u32> {
        let (balancer, _) = self.waiting.pop_front()?;
        self.kept.push(Kept { balancer, until: now + self.times.lease_ns, is_offer: true });
        Some(balancer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_freed_slot_stays_with_its_balancer_for_the_grace_and_then_goes_to_the_oldest() {
        let mut room = Room::new(RoomTimes::default());
        assert!(!room.ask(1, 0, 0));
        assert!(!room.ask(2, 0, MS));
        assert_eq!(room.freed(0, 2 * MS), None);
        assert!(!room.may_take(3, 1), "kept for balancer 0");
        assert_eq!(room.next_due(), Some(7 * MS));
        assert_eq!(room.due(7 * MS), [1]);
        assert!(!room.may_take(2, 1));
        assert!(room.may_take(1, 1));
    }

    #[test]
    fn who_waited_long_gets_the_next_slot_at_once_and_a_lease_ends() {
        let mut room = Room::new(RoomTimes::default());
        room.ask(1, 0, 0);
        room.ask(2, 0, 0);
        assert_eq!(room.freed(0, 100 * MS), Some(1));
        assert_eq!(room.due(150 * MS), [2], "balancer 1 did not come");
        assert_eq!(room.due(200 * MS), [0; 0]);
        assert!(room.may_take(5, 1), "nobody waits");
    }

    #[test]
    fn no_slot_is_offered_twice() {
        let mut room = Room::new(RoomTimes::default());
        assert!(room.ask(1, 1, 0));
        assert!(!room.ask(2, 1, 0));
    }
}
