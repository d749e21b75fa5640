//! Workers and the calls that wait for them, function by function. A pure machine: no process, no clock, no task.
//!
//! | event | what happens |
//! |---|---|
//! | [`admit`](Workers::admit) | the youngest idle worker takes the call; else it waits, and a worker is started **iff fewer are starting than calls wait** (Fn's `NewContainerLogic`) |
//! | [`start_succeeded`](Workers::start_succeeded), [`freed`](Workers::freed) | the worker takes the call that waits longest; else it is idle |
//! | [`start_failed`](Workers::start_failed) | one waiting call fails with it, the others go on waiting for their own workers |
//! | [`withdraw`](Workers::withdraw) | the call is gone; the worker that was started for it is not |
//! | [`expire`](Workers::expire), eviction | an idle worker is dying |
//! | [`dead`](Workers::dead) | only now is its memory free |
//!
//! Idle workers are taken last in, first out, so that surplus ones reach their idle timeout.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::memory::{Ledger, NoRoom};
use crate::model::Digest;

/// One worker, or one job that holds memory. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u64);

/// One admitted call. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TicketId(pub(crate) u64);

/// What becomes of an admitted call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// This idle worker takes it.
    Taken(WorkerId),
    /// It waits; a worker has to be started for it.
    Starting(Start),
    /// It waits for a worker that is already starting.
    Waiting,
}

/// A worker, or a job, that is to be started as soon as every victim is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The new worker.
    pub(crate) worker: WorkerId,
    /// Idle workers that must be killed for it, now.
    pub(crate) victims: Vec<WorkerId>,
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It takes this call.
    Take(TicketId),
    /// It is idle.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Idle,
    Busy,
    Dying,
}

#[derive(Debug)]
struct Record {
    function: Digest,
    state: State,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<WorkerId>,
    waiting: VecDeque<TicketId>,
    starting: usize,
}

/// How many workers are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) starting: u32,
    pub(crate) idle: u32,
    pub(crate) busy: u32,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Workers {
    ledger: Ledger,
    pools: FxHashMap<Digest, Pool>,
    records: FxHashMap<WorkerId, Record>,
    census: Census,
    next_id: u64,
}

impl Workers {
    /// No workers, and `memory` bytes for them.
    pub(crate) fn new(memory: u64) -> Self {
        Self {
            ledger: Ledger::new(memory),
            pools: FxHashMap::default(),
            records: FxHashMap::default(),
            census: Census::default(),
            next_id: 0,
        }
    }

    /// Admits a call of `function`, each worker of which holds `memory` bytes.
    ///
    /// # Errors
    /// A worker would have to be started, and there is no memory for it. Nothing has changed then.
    pub(crate) fn admit(&mut self, ticket: TicketId, function: &Digest, memory: u64) -> Result<Admission, NoRoom> {
        let pool = self.pools.entry(function.clone()).or_default();
        if let Some(worker) = pool.idle.pop() {
            self.ledger.withdraw_offer(worker);
            self.set_state(worker, State::Busy);
            return Ok(Admission::Taken(worker));
        }
        if pool.starting > pool.waiting.len() {
            // A worker whose call was served by another, or went away, will be there first.
            pool.waiting.push_back(ticket);
            return Ok(Admission::Waiting);
        }
        match self.claim(function, memory) {
            Ok(start) => {
                self.records.insert(start.worker, Record { function: function.clone(), state: State::Starting });
                self.census.starting += 1;
                let pool = self.pools.entry(function.clone()).or_default();
                pool.starting += 1;
                pool.waiting.push_back(ticket);
                Ok(Admission::Starting(start))
            }
            Err(no_room) => {
                self.forget_if_empty(function);
                Err(no_room)
            }
        }
    }

    /// Claims memory for a job that is not a worker; it ends with [`dead`](Self::dead).
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn claim(&mut self, function: &Digest, memory: u64) -> Result<Start, NoRoom> {
        let worker = WorkerId(self.next_id);
        let victims = self.ledger.claim(worker, function, memory)?;
        self.next_id += 1;
        for victim in &victims {
            self.take_from_idle(*victim);
            self.set_state(*victim, State::Dying);
        }
        Ok(Start { worker, victims })
    }

    /// The waiting call is gone.
    pub(crate) fn withdraw(&mut self, ticket: TicketId, function: &Digest) {
        if let Some(pool) = self.pools.get_mut(function) {
            pool.waiting.retain(|waiting| *waiting != ticket);
        }
        self.forget_if_empty(function);
    }

    /// A starting worker is ready.
    pub(crate) fn start_succeeded(&mut self, worker: WorkerId) -> Next {
        self.leave_starting(worker);
        self.next(worker)
    }

    /// A starting worker is dying. Returns the call that fails with it, if any waits that no other start is for.
    pub(crate) fn start_failed(&mut self, worker: WorkerId) -> Option<TicketId> {
        let function = self.leave_starting(worker)?;
        self.set_state(worker, State::Dying);
        let pool = self.pools.get_mut(&function)?;
        let failed = if pool.waiting.len() > pool.starting { pool.waiting.pop_front() } else { None };
        self.forget_if_empty(&function);
        failed
    }

    /// A busy worker can take another call.
    pub(crate) fn freed(&mut self, worker: WorkerId) -> Option<Next> {
        let is_busy = self.records.get(&worker).is_some_and(|record| record.state == State::Busy);
        is_busy.then(|| self.next(worker))
    }

    /// A busy worker is dying: it takes no more calls.
    pub(crate) fn retire(&mut self, worker: WorkerId) {
        self.set_state(worker, State::Dying);
    }

    /// An idle worker has been idle for too long. Returns whether it was idle indeed, and is dying now.
    pub(crate) fn expire(&mut self, worker: WorkerId) -> bool {
        let is_idle = self.records.get(&worker).is_some_and(|record| record.state == State::Idle);
        if is_idle {
            self.take_from_idle(worker);
            self.ledger.withdraw_offer(worker);
            self.set_state(worker, State::Dying);
        }
        is_idle
    }

    /// The process of the worker, or job, is dead. Returns the claim that may start now.
    pub(crate) fn dead(&mut self, worker: WorkerId) -> Option<WorkerId> {
        self.take_from_idle(worker);
        if let Some(record) = self.records.remove(&worker) {
            self.census.count(record.state, |count| count.saturating_sub(1));
            self.forget_if_empty(&record.function);
        }
        self.ledger.release(worker)
    }

    /// Idle workers of `function`.
    pub(crate) fn warm(&self, function: &Digest) -> usize {
        self.pools.get(function).map_or(0, |pool| pool.idle.len())
    }

    /// How many workers are in which state.
    pub(crate) const fn census(&self) -> Census {
        self.census
    }

    /// Bytes held, dying workers included.
    pub(crate) const fn memory_held(&self) -> u64 {
        self.ledger.held()
    }

    fn next(&mut self, worker: WorkerId) -> Next {
        let Some(function) = self.records.get(&worker).map(|record| record.function.clone()) else { return Next::Idle };
        let pool = self.pools.entry(function).or_default();
        if let Some(ticket) = pool.waiting.pop_front() {
            self.set_state(worker, State::Busy);
            return Next::Take(ticket);
        }
        pool.idle.push(worker);
        self.set_state(worker, State::Idle);
        self.ledger.offer(worker);
        Next::Idle
    }

    fn leave_starting(&mut self, worker: WorkerId) -> Option<Digest> {
        let function = self.records.get(&worker)?.function.clone();
        if let Some(pool) = self.pools.get_mut(&function) {
            pool.starting = pool.starting.saturating_sub(1);
        }
        Some(function)
    }

    fn take_from_idle(&mut self, worker: WorkerId) {
        let Some(record) = self.records.get(&worker) else { return };
        if record.state == State::Idle
            && let Some(pool) = self.pools.get_mut(&record.function)
        {
            pool.idle.retain(|idle| *idle != worker);
        }
    }

    fn set_state(&mut self, worker: WorkerId, state: State) {
        if let Some(record) = self.records.get_mut(&worker) {
            self.census.count(record.state, |count| count.saturating_sub(1));
            self.census.count(state, |count| count + 1);
            record.state = state;
        }
    }

    /// Versions of functions come and go; their empty pools must not pile up.
    fn forget_if_empty(&mut self, function: &Digest) {
        if let Some(pool) = self.pools.get(function)
            && pool.idle.is_empty()
            && pool.waiting.is_empty()
            && pool.starting == 0
        {
            self.pools.remove(function);
        }
    }
}

impl Census {
    fn count(&mut self, state: State, change: impl Fn(u32) -> u32) {
        let place = match state {
            State::Starting => &mut self.starting,
            State::Idle => &mut self.idle,
            State::Busy => &mut self.busy,
            State::Dying => return,
        };
        *place = change(*place);
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

    fn started(workers: &mut Workers, ticket: u64, function: &Digest) -> WorkerId {
        match workers.admit(TicketId(ticket), function, 1) {
            Ok(Admission::Starting(start)) => start.worker,
            other => panic!("{other:?}"),
        }
    }

    /// `count` busy workers of one function.
    fn busy(workers: &mut Workers, function: &Digest, count: u64) -> Vec<WorkerId> {
        let started: Vec<_> = (0..count).map(|ticket| started(workers, ticket, function)).collect();
        for worker in &started {
            assert!(matches!(workers.start_succeeded(*worker), Next::Take(_)));
        }
        started
    }

    // Case 24.
    #[test]
    fn idle_workers_are_taken_last_in_first_out_and_each_once() {
        let (mut workers, f) = (Workers::new(100), function("f"));
        let all = busy(&mut workers, &f, 10);
        for worker in &all {
            assert_eq!(workers.freed(*worker), Some(Next::Idle));
        }
        assert_eq!(workers.warm(&f), 10);
        let taken: Vec<_> = (100..110).map(|ticket| workers.admit(TicketId(ticket), &f, 1).unwrap()).collect();
        let expected: Vec<_> = all.iter().rev().map(|worker| Admission::Taken(*worker)).collect();
        assert_eq!(taken, expected);
        assert_eq!(workers.warm(&f), 0);
        assert!(matches!(workers.admit(TicketId(110), &f, 1), Ok(Admission::Starting(_))));
    }

    // Case 24: acquired (here: dying) tokens are skipped.
    #[test]
    fn workers_that_are_dying_are_not_taken() {
        let (mut workers, f) = (Workers::new(100), function("f"));
        let all = busy(&mut workers, &f, 3);
        for worker in &all {
            workers.freed(*worker);
        }
        assert!(workers.expire(all[2]));
        assert!(!workers.expire(all[2]));
        workers.dead(all[1]);
        assert_eq!(workers.admit(TicketId(9), &f, 1), Ok(Admission::Taken(all[0])));
        assert!(!workers.expire(all[0]), "it is busy");
    }

    // Case 25.
    #[test]
    fn a_worker_is_started_iff_fewer_are_starting_than_calls_wait() {
        let (mut workers, f) = (Workers::new(100), function("f"));
        // One waiter and nothing: yes.
        let first = started(&mut workers, 1, &f);
        // Starters < waiters: yes.
        let second = started(&mut workers, 2, &f);
        // The first started worker serves the first call; the second call is withdrawn: one starts, nobody waits.
        assert_eq!(workers.start_succeeded(first), Next::Take(TicketId(1)));
        workers.withdraw(TicketId(2), &f);
        // Starters ≥ waiters: no.
        assert_eq!(workers.admit(TicketId(3), &f, 1), Ok(Admission::Waiting));
        // Starters < waiters: yes.
        let third = started(&mut workers, 4, &f);
        assert_eq!(workers.start_succeeded(second), Next::Take(TicketId(3)));
        assert_eq!(workers.start_succeeded(third), Next::Take(TicketId(4)));
        // Idle ≥ waiters: no start, the idle one is taken.
        assert_eq!(workers.freed(first), Some(Next::Idle));
        assert_eq!(workers.admit(TicketId(5), &f, 1), Ok(Admission::Taken(first)));
        // No waiters: no start.
        assert_eq!(workers.census(), Census { starting: 0, idle: 0, busy: 3 });
    }

    #[test]
    fn a_waiting_call_is_served_by_whichever_worker_comes_first() {
        let (mut workers, f) = (Workers::new(100), function("f"));
        let old = busy(&mut workers, &f, 1)[0];
        let new = started(&mut workers, 7, &f);
        assert_eq!(workers.freed(old), Some(Next::Take(TicketId(7))));
        assert_eq!(workers.start_succeeded(new), Next::Idle);
        assert_eq!(workers.warm(&f), 1);
    }

    // Case 35, SlotErrorRetention.
    #[test]
    fn a_failed_start_fails_one_waiting_call_and_no_later_one() {
        let (mut workers, f) = (Workers::new(100), function("f"));
        let (first, second) = (started(&mut workers, 1, &f), started(&mut workers, 2, &f));
        assert_eq!(workers.start_failed(second), Some(TicketId(1)));
        workers.dead(second);
        assert_eq!(workers.start_succeeded(first), Next::Take(TicketId(2)));
        // A surplus start fails nobody.
        let third = started(&mut workers, 3, &f);
        workers.freed(first);
        assert_eq!(workers.start_failed(third), None);
    }

    // Case 29, PlainNoEvict and PlainDoEvict.
    #[test]
    fn busy_workers_are_not_evicted_and_idle_ones_of_other_functions_are() {
        let mut workers = Workers::new(160);
        let (a, b) = (function("a"), function("b"));
        let Ok(Admission::Starting(start)) = workers.admit(TicketId(1), &a, 128) else { panic!() };
        // Starting: not evicted (HungFDKNoEvict).
        assert_eq!(workers.admit(TicketId(2), &b, 128), Err(NoRoom));
        workers.start_succeeded(start.worker);
        // Busy: not evicted.
        assert_eq!(workers.admit(TicketId(3), &b, 128), Err(NoRoom));
        workers.freed(start.worker);
        let Ok(Admission::Starting(next)) = workers.admit(TicketId(4), &b, 128) else { panic!() };
        assert_eq!(next.victims, [start.worker]);
        assert_eq!((workers.warm(&a), workers.memory_held()), (0, 256));
        assert_eq!(workers.dead(start.worker), Some(next.worker));
        assert_eq!(workers.memory_held(), 128);
    }

    // Case 28.
    #[test]
    fn of_twenty_concurrent_calls_as_many_run_as_memory_allows_and_the_others_are_refused() {
        let (mut workers, f) = (Workers::new(280), function("f"));
        let admitted = (0..20).filter(|ticket| workers.admit(TicketId(*ticket), &f, 50).is_ok()).count();
        assert_eq!(admitted, 5);
    }

    proptest! {
        /// Whatever happens: every waiting call has a start of its own to come, no call is lost or served twice, nothing leaks.
        #[test]
        fn every_waiting_call_has_a_worker_on_its_way(steps in proptest::collection::vec((0_u8..6, 0_usize..8), 0..150)) {
            let mut workers = Workers::new(12);
            let functions = [function("a"), function("b")];
            let mut open: Vec<(TicketId, usize)> = Vec::new();
            let mut served = std::collections::HashSet::new();
            let (mut starting, mut running, mut idle) = (Vec::new(), Vec::new(), Vec::new());
            let mut dying: Vec<WorkerId> = Vec::new();
            for (step, (what, which)) in steps.into_iter().enumerate() {
                let mut settle = |next: Next, worker, running: &mut Vec<_>, idle: &mut Vec<_>, open: &mut Vec<(TicketId, usize)>| match next {
                    Next::Take(ticket) => {
                        assert!(served.insert(ticket));
                        assert!(open.iter().any(|(waiting, _)| *waiting == ticket));
                        open.retain(|(waiting, _)| *waiting != ticket);
                        running.push(worker);
                    }
                    Next::Idle => idle.push(worker),
                };
                match what {
                    0 | 1 => {
                        let ticket = TicketId(u64::try_from(step).unwrap());
                        match workers.admit(ticket, &functions[which % 2], 3) {
                            Ok(Admission::Taken(worker)) => {
                                idle.retain(|other| *other != worker);
                                running.push(worker);
                            }
                            Ok(Admission::Starting(start)) => {
                                open.push((ticket, which % 2));
                                starting.push(start.worker);
                                idle.retain(|other| !start.victims.contains(other));
                                dying.extend(start.victims);
                            }
                            Ok(Admission::Waiting) => open.push((ticket, which % 2)),
                            Err(NoRoom) => {}
                        }
                    }
                    2 if which < starting.len() => {
                        let worker = starting.remove(which);
                        let next = workers.start_succeeded(worker);
                        settle(next, worker, &mut running, &mut idle, &mut open);
                    }
                    3 if which < starting.len() => {
                        let worker = starting.remove(which);
                        if let Some(ticket) = workers.start_failed(worker) {
                            open.retain(|(waiting, _)| *waiting != ticket);
                        }
                        dying.push(worker);
                    }
                    4 if which < running.len() => {
                        let worker = running.remove(which);
                        let next = workers.freed(worker).unwrap();
                        settle(next, worker, &mut running, &mut idle, &mut open);
                    }
                    5 if which < dying.len() => {
                        workers.dead(dying.remove(which));
                    }
                    5 if which < open.len() => {
                        let (ticket, name) = open.remove(which);
                        workers.withdraw(ticket, &functions[name]);
                    }
                    _ => {}
                }
                for (name, function) in functions.iter().enumerate() {
                    let (waiting, coming) = workers.pools.get(function).map_or((0, 0), |pool| (pool.waiting.len(), pool.starting));
                    prop_assert_eq!(waiting, open.iter().filter(|(_, of)| *of == name).count());
                    prop_assert!(waiting <= coming, "a call waits for nothing");
                    prop_assert!(waiting == 0 || workers.warm(function) == 0, "a call waits beside an idle worker");
                }
                let census = workers.census();
                prop_assert_eq!(
                    (census.starting, census.idle, census.busy),
                    (starting.len() as u32, idle.len() as u32, running.len() as u32)
                );
            }
            for worker in starting.into_iter().chain(running).chain(idle).chain(dying) {
                workers.dead(worker);
            }
            prop_assert_eq!(workers.memory_held(), 0);
            prop_assert_eq!(workers.census(), Census::default());
        }
    }
}
