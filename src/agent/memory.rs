//! The ledger of memory: who holds how much, who may be evicted for whom. A pure machine.
//!
//! A holder *claims* memory before its process starts, and *releases* it when the process is really dead. If a claim does not fit, idle
//! holders of **other** functions are evicted, the longest idle first, exactly as many as needed: all or nothing. Nobody is
//! evicted for a claim of nothing, and who holds nothing is never evicted.
//!
//! Between the eviction and the death of a victim its memory is still in use, so the claim is not *ready*: its process may not start yet.
//! What the victims will give back is promised to that claim and to no other:
//!
//! ```text
//! free = total − held + promised          held: all holders, dying ones and waiting claims included
//! ```

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::workers::WorkerId;
use crate::model::Digest;

/// The claim does not fit, and evicting all that may be evicted would not make it fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Who holds how much.
#[derive(Debug)]
pub(crate) struct Ledger {
    total: u64,
    held: u64,
    promised: u64,
    holders: FxHashMap<WorkerId, Holder>,
    /// Idle holders by the order in which they were offered.
    offers: BTreeMap<u64, WorkerId>,
    next_offer: u64,
}

#[derive(Debug)]
struct Holder {
    function: Digest,
    memory: u64,
    offer: Option<u64>,
    /// What a claim still waits for; 0 when it is ready.
    missing: u64,
    /// The claim that a victim was evicted for.
    evicted_for: Option<WorkerId>,
}

impl Ledger {
    /// A ledger over `total` bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self { total, held: 0, promised: 0, holders: FxHashMap::default(), offers: BTreeMap::new(), next_offer: 0 }
    }

    /// Bytes held now, those of dying processes and of claims that wait for them included.
    pub(crate) const fn held(&self) -> u64 {
        self.held
    }

    /// Claims `memory` bytes for a process of `function`. Returns the victims: the claim is ready when all of them were released.
    pub(crate) fn claim(&mut self, who: WorkerId, function: &Digest, memory: u64) -> Result<Vec<WorkerId>, NoRoom> {
        let free = (self.total + self.promised).saturating_sub(self.held);
        let missing = memory.saturating_sub(free);
        let victims = self.victims(function, missing)?;
        for victim in &victims {
            self.withdraw_offer(*victim);
            if let Some(holder) = self.holders.get_mut(victim) {
                holder.evicted_for = Some(who);
            }
        }
        self.held += memory;
        self.promised += missing;
        self.holders.insert(who, Holder { function: function.clone(), memory, offer: None, missing, evicted_for: None });
        Ok(victims)
    }

    /// The longest-idle holders of other functions whose memory adds up to `missing`.
    fn victims(&self, function: &Digest, missing: u64) -> Result<Vec<WorkerId>, NoRoom> {
        let mut victims = Vec::new();
        let mut sum = 0;
        for who in self.offers.values() {
            if sum >= missing {
                break;
            }
            match self.holders.get(who) {
                Some(holder) if holder.function != *function && holder.memory > 0 => {
                    sum += holder.memory;
                    victims.push(*who);
                }
                _ => {}
            }
        }
        if sum >= missing { Ok(victims) } else { Err(NoRoom) }
    }

    /// The holder is idle: it may be evicted.
    pub(crate) fn offer(&mut self, who: WorkerId) {
        if let Some(holder) = self.holders.get_mut(&who)
            && holder.offer.is_none()
        {
            holder.offer = Some(self.next_offer);
            self.offers.insert(self.next_offer, who);
            self.next_offer += 1;
        }
    }

    /// The holder is not idle any more.
    pub(crate) fn withdraw_offer(&mut self, who: WorkerId) {
        if let Some(offer) = self.holders.get_mut(&who).and_then(|holder| holder.offer.take()) {
            self.offers.remove(&offer);
        }
    }

    /// Whether the claim waits for nobody.
    #[cfg(test)]
    pub(crate) fn is_ready(&self, who: WorkerId) -> bool {
        self.holders.get(&who).is_some_and(|holder| holder.missing == 0)
    }

    /// The holder's process is dead. Returns the claim that became ready by it.
    pub(crate) fn release(&mut self, who: WorkerId) -> Option<WorkerId> {
        self.withdraw_offer(who);
        let holder = self.holders.remove(&who)?;
        self.held -= holder.memory;
        // A claim that ends before it was ready is owed nothing any more.
        self.promised -= holder.missing;
        let claimant = holder.evicted_for?;
        let claim = self.holders.get_mut(&claimant)?;
        let given = claim.missing.min(holder.memory);
        claim.missing -= given;
        self.promised -= given;
        (given > 0 && claim.missing == 0).then_some(claimant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionSpec;
    use proptest::prelude::*;

    fn function(name: &str) -> Digest {
        Digest::of(&FunctionSpec::named(name.parse().unwrap()))
    }

    fn idle(ledger: &mut Ledger, id: u64, name: &str, memory: u64) -> WorkerId {
        let who = WorkerId(id);
        assert_eq!(ledger.claim(who, &function(name), memory), Ok(vec![]));
        ledger.offer(who);
        who
    }

    // Case 26.
    #[test]
    fn memory_is_claimed_until_it_is_full_and_given_back_on_release() {
        let mut ledger = Ledger::new(4);
        assert_eq!(ledger.claim(WorkerId(1), &function("a"), 4), Ok(vec![]));
        assert_eq!(ledger.claim(WorkerId(2), &function("a"), 4), Err(NoRoom));
        assert_eq!(ledger.release(WorkerId(1)), None);
        assert_eq!(ledger.claim(WorkerId(2), &function("a"), 4), Ok(vec![]));
        ledger.release(WorkerId(2));
        assert_eq!(ledger.held(), 0);
    }

    // Case 27.
    #[test]
    fn a_worker_of_the_asking_function_is_never_evicted() {
        let mut ledger = Ledger::new(4);
        idle(&mut ledger, 1, "a", 2);
        let other = idle(&mut ledger, 2, "b", 2);
        assert_eq!(ledger.claim(WorkerId(3), &function("a"), 4), Err(NoRoom));
        assert_eq!(ledger.claim(WorkerId(3), &function("a"), 2), Ok(vec![other]));
    }

    // Case 27.
    #[test]
    fn a_claim_of_nothing_evicts_nobody_and_holders_of_nothing_are_never_evicted() {
        let mut ledger = Ledger::new(4);
        idle(&mut ledger, 1, "nothing", 0);
        let full = idle(&mut ledger, 2, "a", 4);
        assert_eq!(ledger.claim(WorkerId(3), &function("b"), 0), Ok(vec![]));
        assert_eq!(ledger.claim(WorkerId(4), &function("b"), 1), Ok(vec![full]));
    }

    // Case 27.
    #[test]
    fn exactly_as_many_as_needed_are_evicted_the_longest_idle_first_or_none() {
        for (claim, expected) in [(1, Ok(1)), (2, Ok(1)), (3, Ok(2)), (6, Ok(3)), (7, Err(NoRoom))] {
            let mut ledger = Ledger::new(6);
            let workers = [idle(&mut ledger, 1, "a", 2), idle(&mut ledger, 2, "b", 2), idle(&mut ledger, 3, "c", 2)];
            let expected = expected.map(|count: usize| workers[..count].to_vec());
            assert_eq!(ledger.claim(WorkerId(9), &function("d"), claim), expected, "{claim}");
        }
    }

    // Case 27 (Fn's disabled tokens).
    #[test]
    fn a_worker_that_is_busy_again_is_passed_over() {
        let mut ledger = Ledger::new(4);
        let (first, second) = (idle(&mut ledger, 1, "a", 2), idle(&mut ledger, 2, "b", 2));
        ledger.withdraw_offer(first);
        assert_eq!(ledger.claim(WorkerId(3), &function("c"), 2), Ok(vec![second]));
        assert_eq!(ledger.claim(WorkerId(4), &function("c"), 1), Err(NoRoom));
    }

    #[test]
    fn a_claim_is_ready_only_when_its_victims_are_dead_and_nobody_else_gets_their_memory() {
        let mut ledger = Ledger::new(4);
        let victims = vec![idle(&mut ledger, 1, "a", 2), idle(&mut ledger, 2, "b", 2)];
        let claim = WorkerId(3);
        assert_eq!(ledger.claim(claim, &function("c"), 3), Ok(victims));
        assert!(!ledger.is_ready(claim));
        assert_eq!(ledger.release(WorkerId(1)), None);
        assert_eq!(ledger.claim(WorkerId(4), &function("d"), 1), Err(NoRoom));
        assert_eq!(ledger.release(WorkerId(2)), Some(claim));
        assert_eq!(ledger.claim(WorkerId(4), &function("d"), 1), Ok(vec![]));
    }

    proptest! {
        /// Whatever happens in whatever order: what runs never exceeds the total, and nothing leaks.
        #[test]
        fn running_processes_never_hold_more_than_there_is(steps in proptest::collection::vec((0_u8..4, 0_u64..12, 0_u64..5), 0..120)) {
            let mut ledger = Ledger::new(10);
            let mut living: Vec<WorkerId> = Vec::new();
            for (step, (what, which, memory)) in steps.into_iter().enumerate() {
                let picked = living.get(usize::try_from(which).unwrap() % living.len().max(1)).copied();
                match (what, picked) {
                    (0, _) => {
                        let who = WorkerId(u64::try_from(step).unwrap());
                        if ledger.claim(who, &function(["a", "b", "c"][step % 3]), memory).is_ok() {
                            living.push(who);
                        }
                    }
                    (1, Some(who)) if ledger.is_ready(who) && ledger.holders[&who].evicted_for.is_none() => ledger.offer(who),
                    (2, Some(who)) => ledger.withdraw_offer(who),
                    (3, Some(who)) => {
                        ledger.release(who);
                        living.retain(|other| *other != who);
                    }
                    _ => {}
                }
                let running: u64 = ledger.holders.values().filter(|holder| holder.missing == 0).map(|holder| holder.memory).sum();
                prop_assert!(running <= 10, "{ledger:?}");
                prop_assert_eq!(ledger.promised, ledger.holders.values().map(|holder| holder.missing).sum::<u64>());
            }
            for who in living {
                ledger.release(who);
            }
            prop_assert_eq!((ledger.held, ledger.promised, ledger.offers.len()), (0, 0, 0));
        }
    }
}
