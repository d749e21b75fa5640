//! The slots: taken, free or lent, and the balancers that wait for one. A pure machine: no clock, no task.
//!
//! Several balancers share an agent without knowing of each other. One that was refused does not try again; it asks for room and waits.
//! What must not happen then: that a freed slot is fought for, that it is idle though somebody waits, or that it always goes to
//! the same balancer.
//!
//! | event | what happens |
//! |---|---|
//! | [`enter`](Slots::enter) | a call that names a lent slot gets that one; any other gets a free one; lent ones are nobody else's |
//! | [`leave`](Slots::leave) | the slot is free. It stays so for `grace`: whoever used it knows first, and can send its own next call at once. But if the oldest waiting balancer has waited for `patience`, it is lent at once |
//! | [`ask`](Slots::ask) | a slot that has been free for longer than its grace is lent at once; else the balancer waits, after those that came before |
//! | [`tick`](Slots::tick) | slots whose grace or lease is over are lent to those that wait longest |
//! | [`withdraw`](Slots::withdraw), [`give_back`](Slots::give_back) | the balancer went away, before or after it got a slot; the next in line gets it |
//! | [`close`](Slots::close) | nothing is lent any more; all who wait are told |
//!
//! A lease ends with the first call that names it, whatever becomes of that call, or after `lease`. A slot that comes back from a lease has no
//! grace. A balancer waits once: a second request of the same one takes the place of the first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::model::{InvalidValue, human_duration};
use crate::protocol::{BalancerId, RoomGrant, RoomToken};

/// `[runner.room]`: how slots are lent to balancers that wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoomConfig {
    /// How long a freed slot is left to whoever used it.
    #[serde(with = "human_duration")]
    pub grace: Duration,
    /// A balancer that has waited for so long gets the next freed slot at once.
    #[serde(with = "human_duration")]
    pub patience: Duration,
    /// How long a slot is kept for the balancer that it is lent to.
    #[serde(with = "human_duration")]
    pub lease: Duration,
    /// Balancers that may wait; more are refused as busy.
    pub max_waiting: usize,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            grace: Duration::from_millis(5),
            patience: Duration::from_millis(100),
            lease: Duration::from_millis(50),
            max_waiting: 64,
        }
    }
}

impl RoomConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&self.lease) {
            invalid.push(InvalidValue::new("lease", "from 1ms to 1m"));
        }
        if self.grace > Duration::from_secs(60) {
            invalid.push(InvalidValue::new("grace", "at most 1m"));
        }
        if self.max_waiting == 0 {
            invalid.push(InvalidValue::new("max_waiting", "at least 1"));
        }
        invalid
    }
}

/// One request for room. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AskId(u64);

/// A request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lent {
    pub(crate) to: AskId,
    pub(crate) grant: RoomGrant,
}

/// A request for room was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) id: AskId,
    /// The same balancer's older request, which ends without room.
    pub(crate) replaced: Option<AskId>,
}

/// No balancer more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyWait;

/// No slot is free for this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The machine.
#[derive(Debug)]
pub(crate) struct Slots {
    rules: RoomConfig,
    taken: u32,
    /// One for each free slot: from when on it may be lent. The earliest first.
    free: VecDeque<Instant>,
    lent: Vec<Lease>,
    /// Who has waited longest is first.
    waiting: VecDeque<Waiting>,
    next_token: u64,
    next_ask: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Lease {
    token: RoomToken,
    until: Instant,
}

#[derive(Debug)]
struct Waiting {
    id: AskId,
    balancer: BalancerId,
    since: Instant,
}

impl Slots {
    /// `total` free slots. `first_token` should be drawn, so that a token of an earlier agent at the same address means nothing here.
    pub(crate) fn new(total: u32, rules: RoomConfig, first_token: u64, now: Instant) -> Self {
        let free = (0..total).map(|_| now).collect();
        let (lent, waiting) = (Vec::new(), VecDeque::new());
        Self { rules, taken: 0, free, lent, waiting, next_token: first_token, next_ask: 0, is_closed: false }
    }

    /// Slots that calls are in.
    pub(crate) const fn taken(&self) -> u32 {
        self.taken
    }

    /// Slots that are lent. A lease that is over counts until somebody looks (`enter`, `ask`, `tick`).
    pub(crate) const fn lent(&self) -> usize {
        self.lent.len()
    }

    /// Balancers that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A call takes a slot: the one lent to it, else a free one; of these the one that was freed last, since the others may be lent soon.
    ///
    /// # Errors
    /// None is left for it.
    pub(crate) fn enter(&mut self, token: Option<RoomToken>, now: Instant) -> Result<(), Full> {
        self.end_leases(now);
        let lease = token.and_then(|token| self.take_lease(token));
        if lease.is_none() && self.free.pop_back().is_none() {
            return Err(Full);
        }
        self.taken += 1;
        Ok(())
    }

    /// A call left its slot. Returns what is lent because of it.
    pub(crate) fn leave(&mut self, now: Instant) -> Vec<Lent> {
        self.taken = self.taken.saturating_sub(1);
        let is_patience_over =
            self.waiting.front().is_some_and(|waiting| now.saturating_duration_since(waiting.since) >= self.rules.patience);
        let free_from = if is_patience_over { now } else { now + self.rules.grace };
        self.set_free(free_from);
        self.serve(now)
    }

    /// A balancer asks for room. Whether it has it at once is in what [`tick`](Self::tick) returns next.
    ///
    /// # Errors
    /// Too many wait.
    pub(crate) fn ask(&mut self, balancer: BalancerId, now: Instant) -> Result<Asked, TooManyWait> {
        let id = AskId(self.next_ask);
        if let Some(older) = self.waiting.iter_mut().find(|waiting| waiting.balancer == balancer) {
            self.next_ask += 1;
            let replaced = Some(std::mem::replace(&mut older.id, id));
            return Ok(Asked { id, replaced });
        }
        if self.waiting.len() >= self.rules.max_waiting {
            return Err(TooManyWait);
        }
        self.next_ask += 1;
        self.waiting.push_back(Waiting { id, balancer, since: now });
        Ok(Asked { id, replaced: None })
    }

    /// Who asked is gone, or has waited long enough.
    pub(crate) fn withdraw(&mut self, id: AskId) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    /// A lent slot will not be used. Returns what is lent because of it.
    pub(crate) fn give_back(&mut self, token: RoomToken, now: Instant) -> Vec<Lent> {
        if self.take_lease(token).is_some() {
            self.set_free(now);
        }
        self.serve(now)
    }

    /// Time has passed, or somebody has asked. Returns what is lent because of it.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Lent> {
        self.end_leases(now);
        self.serve(now)
    }

    /// When [`tick`](Self::tick) would do something, if nothing else happens before; never while nobody waits.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        self.lent.iter().map(|lease| lease.until).chain(self.free.front().copied()).min()
    }

    /// Lends nothing more. Returns who waited in vain.
    pub(crate) fn close(&mut self) -> Vec<AskId> {
        self.is_closed = true;
        self.waiting.drain(..).map(|waiting| waiting.id).collect()
    }

    fn serve(&mut self, now: Instant) -> Vec<Lent> {
        let mut served = Vec::new();
        while !self.is_closed && !self.waiting.is_empty() && self.free.front().is_some_and(|free_from| *free_from <= now) {
            self.free.pop_front();
            let Some(waiting) = self.waiting.pop_front() else { break };
            let token = RoomToken(self.next_token);
            self.next_token = self.next_token.wrapping_add(1);
            self.lent.push(Lease { token, until: now + self.rules.lease });
            served.push(Lent { to: waiting.id, grant: RoomGrant { token, lease: self.rules.lease } });
        }
        served
    }

    fn end_leases(&mut self, now: Instant) {
        let before = self.lent.len();
        self.lent.retain(|lease| lease.until > now);
        for _ in self.lent.len()..before {
            self.set_free(now);
        }
    }

    fn take_lease(&mut self, token: RoomToken) -> Option<Lease> {
        let position = self.lent.iter().position(|lease| lease.token == token)?;
        Some(self.lent.swap_remove(position))
    }

    fn set_free(&mut self, from: Instant) {
        let position = self.free.partition_point(|other| *other <= from);
        self.free.insert(position, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: RoomConfig = RoomConfig {
        grace: Duration::from_millis(5),
        patience: Duration::from_millis(100),
        lease: Duration::from_millis(50),
        max_waiting: 3,
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn balancer(name: &str) -> BalancerId {
        name.parse().unwrap()
    }

    /// `total` taken slots.
    fn full(total: u32, start: Instant) -> Slots {
        let mut slots = Slots::new(total, RULES, 100, start);
        for _ in 0..total {
            slots.enter(None, start).unwrap();
        }
        slots
    }

    #[test]
    fn a_freed_slot_is_left_to_who_used_it_and_then_lent_to_who_waits_longest() {
        let start = Instant::now();
        let mut slots = full(1, start);
        let first = slots.ask(balancer("a"), start).unwrap().id;
        let second = slots.ask(balancer("b"), start).unwrap().id;
        assert_eq!((slots.tick(start), slots.next_tick()), (vec![], None));
        assert_eq!(slots.leave(start + ms(10)), []);
        assert_eq!(slots.enter(None, start + ms(11)), Ok(()), "whoever used it sends its next call");
        assert_eq!(slots.leave(start + ms(20)), []);
        assert_eq!((slots.tick(start + ms(24)), slots.next_tick()), (vec![], Some(start + ms(25))));
        let lent = slots.tick(start + ms(25));
        assert_eq!(lent.iter().map(|lent| lent.to).collect::<Vec<_>>(), [first]);
        assert_eq!(slots.enter(None, start + ms(26)), Err(Full), "it is reserved");
        assert_eq!(slots.enter(Some(RoomToken(99)), start + ms(26)), Err(Full), "for the token that was given");
        assert_eq!(slots.enter(Some(lent[0].grant.token), start + ms(26)), Ok(()));
        slots.leave(start + ms(27));
        assert_eq!(slots.tick(start + ms(32)).iter().map(|lent| lent.to).collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn who_has_waited_for_long_gets_the_next_slot_without_grace() {
        let start = Instant::now();
        let mut slots = full(2, start);
        let (first, _) = (slots.ask(balancer("a"), start).unwrap().id, slots.ask(balancer("b"), start + ms(90)).unwrap().id);
        assert_eq!(slots.leave(start + ms(100)).iter().map(|lent| lent.to).collect::<Vec<_>>(), [first]);
        assert_eq!(slots.leave(start + ms(101)), [], "the next one has waited for 11 ms");
    }

    #[test]
    fn a_lease_that_is_not_used_goes_to_the_next_and_its_token_is_worth_nothing() {
        let start = Instant::now();
        let mut slots = full(1, start);
        let first = slots.ask(balancer("a"), start).unwrap().id;
        slots.leave(start);
        let unused = slots.tick(start + ms(5))[0];
        assert_eq!(unused.to, first);
        let second = slots.ask(balancer("b"), start + ms(6)).unwrap().id;
        assert_eq!((slots.tick(start + ms(54)), slots.next_tick()), (vec![], Some(start + ms(55))));
        assert_eq!(slots.tick(start + ms(55))[0].to, second);
        assert_eq!(slots.enter(Some(unused.grant.token), start + ms(56)), Err(Full));
    }

    #[test]
    fn a_lease_ends_without_anybody_looking() {
        let start = Instant::now();
        let mut slots = full(1, start);
        slots.ask(balancer("a"), start).unwrap();
        slots.leave(start);
        assert_eq!(slots.tick(start + ms(5)).len(), 1);
        assert_eq!(slots.next_tick(), None);
        assert_eq!(slots.enter(None, start + ms(55)), Ok(()));
    }

    #[test]
    fn a_slot_that_nobody_wants_is_lent_as_soon_as_somebody_asks() {
        let start = Instant::now();
        let mut slots = Slots::new(2, RULES, 0, start);
        slots.ask(balancer("a"), start).unwrap();
        assert_eq!(slots.tick(start).len(), 1);
        slots.ask(balancer("a"), start).unwrap();
        assert_eq!(slots.tick(start).len(), 1, "the same balancer may have another");
        slots.ask(balancer("b"), start).unwrap();
        assert_eq!(slots.tick(start), []);
    }

    #[test]
    fn a_balancer_waits_once_and_in_its_first_place() {
        let start = Instant::now();
        let mut slots = full(1, start);
        let first = slots.ask(balancer("a"), start).unwrap();
        slots.ask(balancer("b"), start).unwrap();
        let again = slots.ask(balancer("a"), start + ms(1)).unwrap();
        assert_eq!((again.replaced, slots.waiting()), (Some(first.id), 2));
        slots.ask(balancer("c"), start).unwrap();
        assert_eq!(slots.ask(balancer("d"), start), Err(TooManyWait));
        slots.leave(start + ms(1));
        assert_eq!(slots.tick(start + ms(6))[0].to, again.id);
    }

    #[test]
    fn who_goes_away_leaves_its_place_and_its_slot_to_the_next() {
        let start = Instant::now();
        let mut slots = full(1, start);
        let gone = slots.ask(balancer("a"), start).unwrap().id;
        slots.ask(balancer("b"), start).unwrap();
        let last = slots.ask(balancer("c"), start).unwrap().id;
        slots.withdraw(gone);
        slots.leave(start);
        let lent = slots.tick(start + ms(5))[0];
        assert_eq!(slots.give_back(lent.grant.token, start + ms(6))[0].to, last);
    }

    #[test]
    fn a_closed_agent_lends_nothing_and_tells_all_who_wait() {
        let start = Instant::now();
        let mut slots = full(1, start);
        let waiting = [slots.ask(balancer("a"), start).unwrap().id, slots.ask(balancer("b"), start).unwrap().id];
        assert_eq!(slots.close(), waiting);
        assert_eq!(slots.leave(start), []);
        assert_eq!((slots.tick(start + ms(100)), slots.next_tick()), (vec![], None));
    }

    proptest! {
        /// Whatever happens: no slot is in two places, none is lost, none is idle for longer than its grace while somebody waits.
        #[test]
        fn every_slot_is_taken_or_free_or_lent_to_one(steps in proptest::collection::vec((0_u8..6, 0_u64..4, 0_u64..30), 0..200)) {
            const TOTAL: u32 = 3;
            let mut now = Instant::now();
            let mut slots = Slots::new(TOTAL, RULES, 0, now);
            let mut tokens = Vec::new();
            let mut asks = Vec::new();
            for (what, which, later) in steps {
                now += ms(later);
                let taken = slots.taken();
                let lent = match what {
                    0 => {
                        if slots.enter(None, now).is_ok() {
                            prop_assert_eq!(slots.taken(), taken + 1);
                        }
                        vec![]
                    }
                    1 if taken > 0 => slots.leave(now),
                    2 => {
                        if let Ok(asked) = slots.ask(balancer(&which.to_string()), now) {
                            asks.push(asked.id);
                        }
                        slots.tick(now)
                    }
                    3 => {
                        let _ = slots.enter(tokens.pop(), now);
                        vec![]
                    }
                    4 if !asks.is_empty() => {
                        slots.withdraw(asks.remove(usize::try_from(which).unwrap() % asks.len()));
                        vec![]
                    }
                    5 if !tokens.is_empty() => slots.give_back(tokens.remove(0), now),
                    _ => slots.tick(now),
                };
                for lent in lent {
                    prop_assert!(asks.contains(&lent.to));
                    asks.retain(|ask| *ask != lent.to);
                    prop_assert!(!tokens.contains(&lent.grant.token));
                    tokens.push(lent.grant.token);
                }
                prop_assert_eq!(slots.taken() as usize + slots.lent() + slots.free.len(), TOTAL as usize);
                slots.tick(now).into_iter().for_each(|lent| tokens.push(lent.grant.token));
                prop_assert!(slots.waiting() == 0 || slots.free.iter().all(|free_from| *free_from > now));
                prop_assert!(slots.waiting() <= RULES.max_waiting);
                prop_assert!(slots.next_tick().is_none_or(|at| at > now));
            }
        }
    }
}
