//! A runner as the simulation knows it: slots, memory, workers, what it tells.
//!
//! A call needs a slot and a worker of its function. Without an idle worker one is started: the call holds its slot for the cold start
//! too. Without a slot, or without memory that idle workers could be evicted for, the call is refused, or waits in the runner's own
//! queue if the runner has one (only rules that are simulated for comparison want that).
//!
//! Truth stays in here. What a balancer learns, it learns as the protocol tells it: see [`ModelRunner::news`].

mod room;
mod sharing;
mod warm;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use room::RoomTimes;
pub use warm::Eviction;

use room::Slots;
use sharing::SharedCores;
use warm::{WarmWorkers, Worker};

use super::workload::ModelFunction;
use crate::placement::{FunctionNumber, RefusedKind, RunnerNews, StartKind};
use crate::protocol::LoadReport;

/// What a model runner is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunnerModel {
    /// Slots: calls at a time.
    pub slots: u32,
    /// Memory for workers, in MB; 0 is without end.
    pub memory_mb: u64,
    /// How fast it executes, 1.0 being the speed at which durations were measured. Cold starts are as fast.
    pub speed: f64,
    /// Whether running calls get in each other's way.
    pub execution: Execution,
    /// How long a worker stays idle before it ends; zero is for ever.
    pub keep_alive: Duration,
    /// Which idle worker goes first when memory is short.
    pub eviction: Eviction,
    /// How freed slots are lent to several balancers.
    pub room: RoomTimes,
}

/// Whether running calls get in each other's way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Execution {
    /// Each slot is a core of its own.
    Slots,
    /// All slots share so many cores; a call never gets more than one.
    SharedCores(f64),
}

impl Default for RunnerModel {
    fn default() -> Self {
        Self {
            slots: 8,
            memory_mb: 0,
            speed: 1.0,
            execution: Execution::Slots,
            keep_alive: Duration::from_secs(600),
            eviction: Eviction::default(),
            room: RoomTimes::default(),
        }
    }
}

/// What a runner does with a call that finds no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It refuses: what an agent does.
    Refuse,
    /// It queues the call, first in, first out: what the runners of some rules do that are simulated for comparison.
    Queue,
}

/// What a runner is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Up,
    /// Nobody listens.
    Down,
    /// Every call fails at once.
    FailsFast,
}

/// What became of a call that reached a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It runs.
    Runs(Started),
    /// It waits in the runner's queue.
    Queued,
    /// It was refused.
    Refused(RefusedKind),
    /// It was taken, and fails at once.
    FailsAtOnce,
}

/// A call that began to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) call: usize,
    /// How.
    pub(super) start: StartKind,
    /// When it ends, if that does not depend on others.
    pub(super) ends_at: Option<u64>,
}

/// A call as a runner sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    pub(super) call: usize,
    pub(super) function: u32,
    pub(super) service_ns: u64,
    pub(super) balancer: u32,
}

/// A runner.
#[derive(Debug)]
pub struct ModelRunner {
    model: RunnerModel,
    on_full: OnFull,
    functions: Arc<[ModelFunction]>,
    workers: WarmWorkers,
    cores: Option<SharedCores>,
    slots: Slots,
    /// When the engine looks after the room next.
    room_due_at: u64,
    queue: VecDeque<Visitor>,
    running: HashMap<usize, (Visitor, u64, u32)>,
    health: Health,
    /// What each balancer knows of the lost workers.
    told_losses: Vec<u64>,
    latencies: Latencies,
}

impl ModelRunner {
    pub(super) fn new(model: RunnerModel, on_full: OnFull, functions: Arc<[ModelFunction]>, balancers: usize) -> Self {
        let keep_alive = u64::try_from(model.keep_alive.as_nanos()).unwrap_or(u64::MAX / 4);
        let cores = match model.execution {
            Execution::Slots => None,
            Execution::SharedCores(cores) => Some(SharedCores::new(cores, model.speed)),
        };
        Self {
            workers: WarmWorkers::new(Arc::clone(&functions), model.memory_mb, keep_alive, model.eviction),
            model,
            on_full,
            functions,
            cores,
            slots: Slots::new(model.slots, model.room),
            room_due_at: u64::MAX,
            queue: VecDeque::new(),
            running: HashMap::new(),
            health: Health::Up,
            told_losses: vec![0; balancers],
            latencies: Latencies::default(),
        }
    }

    /// Calls here, running and queued.
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.running.len() + self.queue.len()).unwrap_or(u32::MAX)
    }

    /// Its slots.
    pub const fn slots(&self) -> u32 {
        self.model.slots
    }

    /// Idle workers of a function.
    pub fn idle_workers(&self, function: FunctionNumber) -> u32 {
        self.workers.idle(function.0)
    }

    /// How fast all its cores together are now, in cores of speed 1.
    pub fn capacity(&self) -> f64 {
        self.cores.as_ref().map_or(f64::from(self.model.slots) * self.model.speed, SharedCores::capacity)
    }

    /// Whether a worker of this function could be started now, idle workers of others evicted if need be.
    pub fn has_memory_for(&self, function: FunctionNumber) -> bool {
        self.workers.has_memory(function.0)
    }

    /// A call reaches the runner.
    pub(super) fn admit(&mut self, visitor: Visitor, now: u64) -> Admitted {
        match self.health {
            Health::Down => return Admitted::Refused(RefusedKind::Unreachable),
            Health::FailsFast => return Admitted::FailsAtOnce,
            Health::Up => {}
        }
        if self.on_full == OnFull::Queue {
            self.queue.push_back(visitor);
            return match self.start_next(now) {
                Some(started) => Admitted::Runs(started),
                None => Admitted::Queued,
            };
        }
        if !self.slots.enter(visitor.balancer, now) {
            return Admitted::Refused(RefusedKind::Busy);
        }
        match self.start(visitor, now) {
            Some(started) => Admitted::Runs(started),
            None => {
                // Who waits is served at the next tick.
                let _ = self.slots.give_back(now);
                Admitted::Refused(RefusedKind::Memory)
            }
        }
    }

    /// Starts the first of the queue if there is room for it.
    pub(super) fn start_next(&mut self, now: u64) -> Option<Started> {
        if self.free_slots() == 0 {
            return None;
        }
        let visitor = *self.queue.front()?;
        let started = self.start(visitor, now)?;
        self.queue.pop_front();
        Some(started)
    }

    fn start(&mut self, visitor: Visitor, now: u64) -> Option<Started> {
        let facts = &self.functions[visitor.function as usize];
        // A function whose starts cost nothing needs no worker.
        let cold_ns = if facts.cold_ns == 0 {
            None
        } else {
            match self.workers.take(visitor.function, now) {
                Worker::Warm => None,
                Worker::Cold => Some(facts.cold_ns),
                Worker::NoMemory => return None,
            }
        };
        let work = visitor.service_ns + cold_ns.unwrap_or(0);
        let before = self.in_flight();
        self.running.insert(visitor.call, (visitor, now, before));
        let ends_at = match &mut self.cores {
            None => Some(now + self.at_speed(work)),
            Some(cores) => {
                cores.begin(visitor.call, work, now);
                None
            }
        };
        let start = cold_ns.map_or(StartKind::Warm, |cold| StartKind::Cold(Duration::from_nanos(self.at_speed(cold))));
        Some(Started { call: visitor.call, start, ends_at })
    }

    fn at_speed(&self, work: u64) -> u64 {
        // Exact for the usual runner: no rounding where there is nothing to round.
        if self.model.speed == 1.0 { work } else { (work as f64 / self.model.speed).round() as u64 }
    }

    /// A call is done: its slot and its worker are free. Answers the balancers that a slot is lent to because of it.
    pub(super) fn finish(&mut self, call: usize, now: u64) -> Vec<u32> {
        let Some((visitor, began, before)) = self.running.remove(&call) else { return Vec::new() };
        if self.functions[visitor.function as usize].cold_ns > 0 {
            self.workers.give_back(visitor.function, now);
        }
        self.latencies.note(before, now - began);
        if self.on_full == OnFull::Queue { Vec::new() } else { self.slots.leave(now) }
    }

    /// The same for an answer: the slot of the call that it ends is counted, and once more if it is somebody else's from now on.
    pub(super) fn news_of_end(&mut self, function: u32, balancer: u32, now: u64) -> RunnerNews {
        let mut news = self.news(function, balancer);
        if let Some(load) = &mut news.load
            && self.on_full == OnFull::Refuse
            && self.slots.is_promised(now)
        {
            load.in_flight += 1;
        }
        news
    }

    /// When a call ends next on shared cores.
    pub(super) fn next_shared_end(&self) -> Option<u64> {
        self.cores.as_ref().and_then(SharedCores::next_end)
    }

    /// A call that ended by `now` on shared cores.
    pub(super) fn take_shared_end(&mut self, now: u64) -> Option<usize> {
        self.cores.as_mut()?.take_ended(now)
    }

    /// What an answer or a refusal tells `balancer`: the load, idle workers of the call's function, workers lost since it last heard.
    pub(super) fn news(&mut self, function: u32, balancer: u32) -> RunnerNews {
        if self.health == Health::Down {
            return RunnerNews::default();
        }
        // Lent slots are not to be had.
        let taken = self.in_flight() + self.slots.lent();
        let load = LoadReport { in_flight: taken, slots: self.model.slots, warm: self.workers.idle(function) };
        let mut lost_warm: Vec<(FunctionNumber, u32)> = Vec::new();
        let told = &mut self.told_losses[balancer as usize];
        for function in self.workers.lost_since(*told) {
            match lost_warm.iter_mut().find(|(other, _)| other.0 == function) {
                Some((_, count)) => *count += 1,
                None => lost_warm.push((FunctionNumber(function), 1)),
            }
        }
        *told = self.workers.losses();
        RunnerNews { load: Some(load), lost_warm }
    }

    /// The idle workers of all functions, for a whole status.
    pub(super) fn warm(&self) -> Vec<(FunctionNumber, u32)> {
        self.workers.all_idle().map(|(function, count)| (FunctionNumber(function), count)).collect()
    }

    /// What a probe is answered: calls in flight, and what a call took lately that found about as many.
    pub(super) fn probe(&self) -> (u32, Duration) {
        (self.in_flight(), Duration::from_nanos(self.latencies.at(self.in_flight())))
    }

    /// A balancer asks for a slot. Answers the balancers that one is lent to.
    pub(super) fn ask_room(&mut self, balancer: u32, now: u64) -> Vec<u32> {
        if self.health == Health::Up { self.slots.ask(balancer, now) } else { Vec::new() }
    }

    /// The balancers that wait for a slot.
    pub(super) fn waiting_for_room(&self) -> Vec<u32> {
        self.slots.waiting().collect()
    }

    /// When [`ModelRunner::room_due`] has something to do, if that is sooner than what was answered before.
    pub(super) fn take_next_room(&mut self) -> Option<u64> {
        let due = self.slots.next_tick().filter(|due| *due < self.room_due_at)?;
        self.room_due_at = due;
        Some(due)
    }

    /// Balancers that are lent a slot now.
    pub(super) fn room_due(&mut self, now: u64) -> Vec<u32> {
        self.room_due_at = u64::MAX;
        self.slots.tick(now)
    }

    pub(super) fn set_health(&mut self, health: Health) {
        self.health = health;
    }

    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// Others take all but this share of the shared cores.
    pub(super) fn set_factor(&mut self, factor: f64, now: u64) {
        if let Some(cores) = &mut self.cores {
            cores.set_factor(factor, now);
        }
    }

    /// The runner went down: all its calls and workers are gone. Answers the calls.
    pub(super) fn lose_all(&mut self) -> Vec<usize> {
        let mut calls: Vec<usize> = self.running.drain().map(|(call, _)| call).collect();
        calls.extend(self.queue.drain(..).map(|visitor| visitor.call));
        calls.sort_unstable();
        self.workers.clear();
        self.slots = Slots::new(self.model.slots, self.model.room);
        if let Some(cores) = &mut self.cores {
            cores.clear();
        }
        calls
    }

    fn free_slots(&self) -> u32 {
        self.model.slots.saturating_sub(u32::try_from(self.running.len()).unwrap_or(u32::MAX))
    }
}

/// What calls took that found so many others: for each number, the last few, as Prequal's servers keep them.
#[derive(Clone, Debug, Default)]
struct Latencies {
    by_load: Vec<VecDeque<u64>>,
}

impl Latencies {
    const KEPT: usize = 16;
    const LEVELS: u32 = 256;

    fn note(&mut self, in_flight: u32, latency: u64) {
        let level = in_flight.min(Self::LEVELS) as usize;
        if self.by_load.len() <= level {
            self.by_load.resize(level + 1, VecDeque::new());
        }
        let kept = &mut self.by_load[level];
        if kept.len() == Self::KEPT {
            kept.pop_front();
        }
        kept.push_back(latency);
    }

    /// The median at the level nearest to `in_flight` that has any; 0 if nothing ran yet.
    fn at(&self, in_flight: u32) -> u64 {
        let level = in_flight.min(Self::LEVELS) as usize;
        let near =
            (0..self.by_load.len()).filter(|index| !self.by_load[*index].is_empty()).min_by_key(|index| index.abs_diff(level));
        let Some(near) = near else { return 0 };
        let mut sorted: Vec<u64> = self.by_load[near].iter().copied().collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn runner(slots: u32, on_full: OnFull) -> ModelRunner {
        let function = ModelFunction { name: "f".into(), cold_ns: 400 * MS, memory_mb: 100, app: "f".into() };
        let model = RunnerModel { slots, memory_mb: 1_000, ..RunnerModel::default() };
        ModelRunner::new(model, on_full, [function].into(), 1)
    }

    fn visitor(call: usize) -> Visitor {
        Visitor { call, function: 0, service_ns: 10 * MS, balancer: 0 }
    }

    #[test]
    fn a_cold_start_holds_its_slot_and_the_next_call_is_warm() {
        let mut runner = runner(1, OnFull::Refuse);
        let Admitted::Runs(first) = runner.admit(visitor(0), 0) else { panic!() };
        assert_eq!((first.start, first.ends_at), (StartKind::Cold(Duration::from_millis(400)), Some(410 * MS)));
        assert_eq!(runner.admit(visitor(1), 5), Admitted::Refused(RefusedKind::Busy));
        assert_eq!(runner.finish(0, 410 * MS), [0; 0]);
        let Admitted::Runs(second) = runner.admit(visitor(1), 410 * MS) else { panic!() };
        assert_eq!((second.start, second.ends_at), (StartKind::Warm, Some(420 * MS)));
    }

    #[test]
    fn a_runner_with_a_queue_starts_the_next_when_one_ends() {
        let mut runner = runner(1, OnFull::Queue);
        assert!(matches!(runner.admit(visitor(0), 0), Admitted::Runs(_)));
        assert_eq!(runner.admit(visitor(1), 0), Admitted::Queued);
        assert_eq!(runner.in_flight(), 2);
        runner.finish(0, 410 * MS);
        assert_eq!(runner.start_next(410 * MS).map(|started| started.call), Some(1));
    }

    #[test]
    fn lost_workers_are_told_once() {
        let function = |name: &str| ModelFunction { name: name.into(), cold_ns: MS, memory_mb: 600, app: name.into() };
        let model = RunnerModel { memory_mb: 1_000, ..RunnerModel::default() };
        let mut runner = ModelRunner::new(model, OnFull::Refuse, [function("a"), function("b")].into(), 2);
        runner.admit(visitor(0), 0);
        runner.finish(0, MS);
        runner.admit(Visitor { function: 1, ..visitor(1) }, 2 * MS);
        for balancer in [0, 1] {
            assert_eq!(runner.news(0, balancer).lost_warm, [(FunctionNumber(0), 1)]);
            assert_eq!(runner.news(0, balancer).lost_warm, []);
        }
    }
}
