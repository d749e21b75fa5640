//! A runner's workers: which functions have an idle one, what they hold, which is evicted next.
//!
//! A call takes an idle worker of its function, the last used first. If there is none, one is started; when memory is short, idle
//! workers are evicted, the least worth first:
//!
//! * least recently used: what our agent does, and what the baseline of placement.md must have had (its cold shares come out with this rule,
//!   and with the other they do not);
//! * greedy-dual (FaasCache, ASPLOS'21): a worker is worth `clock + uses · cold / size` when it becomes idle; the clock rises to the worth
//!   of what is evicted. Uses are counted for each function, and forgotten with its last worker.
//!
//! What an idle worker is lost to (eviction or the end of its keep-alive) is kept in a short log, as the agent keeps it for `runpool-lost`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sim::workload::ModelFunction;

/// Which idle worker goes first when memory is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The least worth: rarely used, cheap to start, large.
    GreedyDual,
    /// The longest idle: what our agent does.
    #[default]
    LeastRecentlyUsed,
}

/// How a call gets its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    Warm,
    Cold,
    /// Memory is short, and no more idle worker can be evicted.
    NoMemory,
}

/// Lost workers that a message can tell of.
const TOLD_LOSSES: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Idle {
    worth: f64,
    since: u64,
}

#[derive(Clone, Debug, Default)]
struct Workers {
    /// By the time they became idle.
    idle: VecDeque<Idle>,
    busy: u32,
    uses: u32,
}

/// All workers of a runner.
#[derive(Clone, Debug)]
pub(super) struct WarmWorkers {
    known: Arc<[ModelFunction]>,
    memory_mb: u64,
    used_mb: u64,
    idle_mb: u64,
    keep_alive_ns: u64,
    eviction: Eviction,
    clock: f64,
    functions: Vec<Workers>,
    /// The functions that have an idle worker.
    with_idle: Vec<u32>,
    /// No worker expires before this.
    next_expiry: u64,
    losses: u64,
    lost: VecDeque<u32>,
}

impl WarmWorkers {
    /// `memory_mb` and `keep_alive_ns` of 0 are without end.
    pub(super) fn new(known: Arc<[ModelFunction]>, memory_mb: u64, keep_alive_ns: u64, eviction: Eviction) -> Self {
        Self {
            functions: vec![Workers::default(); known.len()],
            known,
            memory_mb: if memory_mb == 0 { u64::MAX } else { memory_mb },
            used_mb: 0,
            idle_mb: 0,
            keep_alive_ns,
            eviction,
            clock: 0.0,
            with_idle: Vec::new(),
            next_expiry: u64::MAX,
            losses: 0,
            lost: VecDeque::with_capacity(TOLD_LOSSES),
        }
    }

    /// Idle workers of a function.
    pub(super) fn idle(&self, function: u32) -> u32 {
        self.functions.get(function as usize).map_or(0, |workers| u32::try_from(workers.idle.len()).unwrap_or(u32::MAX))
    }

    /// The functions with idle workers, each with how many.
    pub(super) fn all_idle(&self) -> impl Iterator<Item = (u32, u32)> {
        self.with_idle.iter().map(|function| (*function, self.idle(*function)))
    }

    /// Whether a new worker of `function` finds memory, idle ones evicted if need be.
    pub(super) fn has_memory(&self, function: u32) -> bool {
        self.used_mb - self.idle_mb + self.size(function) <= self.memory_mb
    }

    /// Takes a worker for a call of `function`, evicting idle ones if it must.
    pub(super) fn take(&mut self, function: u32, now: u64) -> Worker {
        self.expire(now);
        let size = self.size(function);
        if self.functions[function as usize].idle.is_empty() {
            if !self.has_memory(function) {
                return Worker::NoMemory;
            }
            while self.used_mb + size > self.memory_mb && self.evict_one() {}
            self.used_mb += size;
            self.functions[function as usize].begin();
            return Worker::Cold;
        }
        let workers = &mut self.functions[function as usize];
        workers.idle.pop_back();
        workers.begin();
        self.idle_mb -= size;
        if workers.idle.is_empty() {
            self.with_idle.retain(|other| *other != function);
        }
        Worker::Warm
    }

    /// The worker of a call that ended is idle again.
    pub(super) fn give_back(&mut self, function: u32, now: u64) {
        let facts = &self.known[function as usize];
        let workers = &mut self.functions[function as usize];
        workers.busy = workers.busy.saturating_sub(1);
        let worth = match self.eviction {
            Eviction::GreedyDual => {
                self.clock + f64::from(workers.uses) * (facts.cold_ns as f64 / 1e6) / f64::from(facts.memory_mb.max(1))
            }
            Eviction::LeastRecentlyUsed => now as f64,
        };
        if workers.idle.is_empty() {
            self.with_idle.push(function);
        }
        workers.idle.push_back(Idle { worth, since: now });
        self.idle_mb += u64::from(facts.memory_mb);
        if self.keep_alive_ns > 0 {
            self.next_expiry = self.next_expiry.min(now + self.keep_alive_ns);
        }
    }

    /// Everything is gone: the runner went down.
    pub(super) fn clear(&mut self) {
        (self.used_mb, self.idle_mb, self.clock) = (0, 0, 0.0);
        self.functions.iter_mut().for_each(|workers| *workers = Workers::default());
        self.with_idle.clear();
        self.losses += 1;
        self.lost.clear();
    }

    /// How many workers were lost so far.
    pub(super) const fn losses(&self) -> u64 {
        self.losses
    }

    /// The functions of the workers lost since the `seen`-th, as far back as a message can tell.
    pub(super) fn lost_since(&self, seen: u64) -> impl Iterator<Item = u32> {
        let new = usize::try_from(self.losses.saturating_sub(seen)).unwrap_or(usize::MAX).min(self.lost.len());
        self.lost.iter().skip(self.lost.len() - new).copied()
    }

    fn size(&self, function: u32) -> u64 {
        self.known.get(function as usize).map_or(0, |facts| u64::from(facts.memory_mb))
    }

    /// Ends the workers that have been idle for too long.
    fn expire(&mut self, now: u64) {
        if now < self.next_expiry {
            return;
        }
        let mut next = u64::MAX;
        for function in self.with_idle.clone() {
            while let Some(idle) = self.functions[function as usize].idle.front() {
                if idle.since + self.keep_alive_ns > now {
                    next = next.min(idle.since + self.keep_alive_ns);
                    break;
                }
                self.lose(function);
            }
        }
        self.next_expiry = next;
    }

    fn evict_one(&mut self) -> bool {
        let worth = |function: &u32| self.functions[*function as usize].idle.front().map_or(f64::INFINITY, |idle| idle.worth);
        // Within a function the one idle for longest is worth least: clock and uses only rise while it has workers.
        let victim = self.with_idle.iter().copied().min_by(|one, other| worth(one).total_cmp(&worth(other)).then(one.cmp(other)));
        let Some(victim) = victim else { return false };
        self.clock = self.clock.max(worth(&victim));
        self.lose(victim);
        true
    }

    fn lose(&mut self, function: u32) {
        let size = self.size(function);
        let workers = &mut self.functions[function as usize];
        if workers.idle.pop_front().is_none() {
            return;
        }
        self.used_mb -= size;
        self.idle_mb -= size;
        if workers.idle.is_empty() {
            if workers.busy == 0 {
                workers.uses = 0;
            }
            self.with_idle.retain(|other| *other != function);
        }
        self.losses += 1;
        if self.lost.len() == TOLD_LOSSES {
            self.lost.pop_front();
        }
        self.lost.push_back(function);
    }
}

impl Workers {
    const fn begin(&mut self) {
        self.busy += 1;
        self.uses += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, cold_ms: u64, memory_mb: u32) -> ModelFunction {
        ModelFunction { name: name.into(), cold_ns: cold_ms * 1_000_000, memory_mb, app: name.into() }
    }

    fn run(workers: &mut WarmWorkers, function: u32, now: u64) -> Worker {
        let worker = workers.take(function, now);
        if worker != Worker::NoMemory {
            workers.give_back(function, now);
        }
        worker
    }

    #[test]
    fn an_idle_worker_is_used_again_and_expires_after_its_keep_alive() {
        let mut workers = WarmWorkers::new([function("a", 400, 100)].into(), 0, 1_000, Eviction::default());
        assert_eq!(run(&mut workers, 0, 0), Worker::Cold);
        assert_eq!(run(&mut workers, 0, 900), Worker::Warm);
        assert_eq!(run(&mut workers, 0, 1_800), Worker::Warm, "idle since 900");
        assert_eq!(run(&mut workers, 0, 2_800), Worker::Cold, "idle for 1,000");
        assert_eq!(workers.lost_since(0).collect::<Vec<_>>(), [0]);
        assert_eq!(workers.lost_since(workers.losses()).count(), 0);
    }

    #[test]
    fn greedy_dual_keeps_what_is_dear_and_used_and_lru_what_is_recent() {
        let known: Arc<[ModelFunction]> =
            [function("dear", 4_000, 100), function("cheap", 100, 100), function("new", 100, 100)].into();
        for (eviction, victim) in [(Eviction::GreedyDual, 1), (Eviction::LeastRecentlyUsed, 0)] {
            let mut workers = WarmWorkers::new(Arc::clone(&known), 200, 0, eviction);
            for (now, number) in [(1, 0), (2, 1)] {
                assert_eq!(run(&mut workers, number, now), Worker::Cold);
            }
            assert_eq!(run(&mut workers, 2, 3), Worker::Cold);
            assert_eq!(workers.lost_since(0).collect::<Vec<_>>(), [victim], "{eviction:?}");
            assert_eq!(workers.used_mb, 200);
        }
    }

    #[test]
    fn busy_workers_are_never_evicted() {
        let mut workers = WarmWorkers::new([function("a", 1, 100), function("b", 1, 60)].into(), 150, 0, Eviction::default());
        assert_eq!(workers.take(0, 0), Worker::Cold);
        assert_eq!(workers.take(1, 1), Worker::NoMemory);
        workers.give_back(0, 2);
        assert_eq!(workers.take(1, 3), Worker::Cold);
    }
}
