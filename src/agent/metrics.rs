//! What an agent counts, under names that begin with `runner_`.

use super::asking::RoomEnd;
use super::gate::GateGauges;
use super::workers::Census;
use crate::model::{FunctionName, Outcome};
use crate::protocol::RefusalReason;
use crate::telemetry::metrics::{
    Counter, CounterFamily, Gauge, HandleCache, Histogram, HistogramFamily, Label, LabelFilter, Metrics,
};

/// The families and handles of an agent.
#[derive(Debug)]
pub struct AgentMetrics {
    calls: CounterFamily,
    init: HistogramFamily,
    scheduling: HistogramFamily,
    execution: HistogramFamily,
    cold_starts: CounterFamily,
    refusals: [Counter; RefusalReason::ALL.len()],
    evictions: Counter,
    room_granted: Counter,
    room_none: Counter,
    room_refused: Counter,
    gate: GateGauges,
    slots: Gauge,
    memory: Gauge,
    memory_used: Gauge,
    workers_starting: Gauge,
    workers_idle: Gauge,
    workers_busy: Gauge,
    filter: LabelFilter,
    handles: HandleCache<FunctionName, Handles>,
    /// Made when first used: most outcomes never happen to most functions, and each series costs every scrape.
    outcomes: HandleCache<(FunctionName, Outcome), Counter>,
}

/// The handles of one function.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) init: Histogram,
    pub(crate) scheduling: Histogram,
    pub(crate) execution: Histogram,
    pub(crate) cold_starts: Counter,
}

impl AgentMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        let refusals = metrics.counter("runner_refusals", "Calls refused, by reason (label outcome): none of them ran");
        let refusals =
            RefusalReason::ALL.map(|reason| refusals.get_or_create_owned(&metrics.labels(&[(Label::Outcome, reason.as_str())])));
        let room = metrics.counter(
            "runner_room_requests",
            "Balancers' requests for room that ended, by outcome: a slot was lent, there was none in time, or they were refused",
        );
        let room = |outcome| room.get_or_create_owned(&metrics.labels(&[(Label::Outcome, outcome)]));
        let (room_granted, room_none, room_refused) = (room("granted"), room("none"), room("refused"));
        let evictions = metrics.counter("runner_evictions", "Idle workers killed to make room for another function");
        let mut gauge = |name, help| metrics.gauge(name, help).get_or_create_owned(&Vec::new());
        let in_flight = gauge("runner_in_flight", "Calls in slots");
        let waiting = gauge("runner_room_waiting", "Balancers that wait for a slot");
        let slots = gauge("runner_slots", "Calls that may run at once");
        let memory = gauge("runner_memory_bytes", "Memory that workers may be admitted with");
        let memory_used = gauge("runner_memory_used_bytes", "Memory that living workers are admitted with");
        let workers_starting = gauge("runner_workers_starting", "Workers that are starting");
        let workers_idle = gauge("runner_workers_idle", "Warm workers without a call");
        let workers_busy = gauge("runner_workers_busy", "Workers that run a call");
        Self {
            calls: metrics.counter("runner_calls", "Calls that the agent took, by outcome; detached ones when they end"),
            init: metrics.durations("runner_init_seconds", "Time from the start of a worker's process until it listens"),
            scheduling: metrics.durations(
                "runner_scheduling_seconds",
                "Time from the acceptance of a call until a worker took it, its start included",
            ),
            execution: metrics.durations("runner_execution_seconds", "Time from when a worker took a call until the call ended"),
            cold_starts: metrics.counter("runner_cold_starts", "Workers started"),
            refusals,
            room_granted,
            room_none,
            room_refused,
            evictions: evictions.get_or_create_owned(&Vec::new()),
            gate: GateGauges { in_flight, waiting },
            slots,
            memory,
            memory_used,
            workers_starting,
            workers_idle,
            workers_busy,
            filter: metrics.label_filter(),
            handles: HandleCache::default(),
            outcomes: HandleCache::default(),
        }
    }

    /// The handles of one function.
    pub(crate) fn handles(&self, function: &FunctionName) -> &Handles {
        self.handles.get(function, || {
            let labels = self.filter.labels(&[(Label::Function, function.as_str())]);
            Handles {
                init: self.init.get_or_create_owned(&labels),
                scheduling: self.scheduling.get_or_create_owned(&labels),
                execution: self.execution.get_or_create_owned(&labels),
                cold_starts: self.cold_starts.get_or_create_owned(&labels),
            }
        })
    }

    /// Counts the end of a call.
    pub(crate) fn ended(&self, function: &FunctionName, outcome: Outcome) {
        let counter = self.outcomes.get(&(function.clone(), outcome), || {
            let labels = [(Label::Function, function.as_str()), (Label::Outcome, outcome.as_str())];
            self.calls.get_or_create_owned(&self.filter.labels(&labels))
        });
        counter.inc();
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, reason: RefusalReason) {
        let index = RefusalReason::ALL.iter().position(|other| *other == reason);
        if let Some(counter) = index.and_then(|index| self.refusals.get(index)) {
            counter.inc();
        }
    }

    /// Counts the end of a request for room.
    pub(crate) fn asked(&self, end: &RoomEnd) {
        let counter = match end {
            RoomEnd::Granted(_) => &self.room_granted,
            RoomEnd::NoneInTime => &self.room_none,
            RoomEnd::Refused(_) => &self.room_refused,
        };
        counter.inc();
    }

    /// Counts evicted workers.
    pub(crate) fn evicted(&self, count: usize) {
        self.evictions.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// What the gate sets.
    pub(crate) fn gate(&self) -> GateGauges {
        self.gate.clone()
    }

    /// Sets what never changes.
    pub(crate) fn set_limits(&self, slots: u32, memory: u64) {
        self.slots.set(i64::from(slots));
        self.memory.set(i64::try_from(memory).unwrap_or(i64::MAX));
    }

    /// Sets what changes with every worker.
    pub(crate) fn set_workers(&self, census: Census, memory_used: u64) {
        self.workers_starting.set(i64::from(census.starting));
        self.workers_idle.set(i64::from(census.idle));
        self.workers_busy.set(i64::from(census.busy));
        self.memory_used.set(i64::try_from(memory_used).unwrap_or(i64::MAX));
    }
}
