//! One function as the placing loop knows it: what it costs, and where it is warm.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::placement::event::{FunctionFacts, FunctionNumber};
use crate::pool::RunnerPlace;

/// Weight of the newest value in an average: about the last ten count.
const NEWEST: f64 = 0.1;

/// A moving average of durations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usual(Option<f64>);

impl Usual {
    /// Takes a value in.
    pub(super) fn add(&mut self, value: Duration) {
        let value = value.as_secs_f64();
        // An average of nothing was a guess.
        let usual = self.0.filter(|usual| *usual > 0.0);
        self.0 = Some(usual.map_or(value, |usual| usual + NEWEST * (value - usual)));
    }

    /// The average, if there was a value.
    pub(super) fn get(self) -> Option<Duration> {
        self.0.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

/// Workers of one function on one runner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Workers {
    /// Idle ones, as far as we know.
    pub(super) idle: u32,
    /// Calls of ours there.
    pub(super) own: u32,
    /// Position in `warm_on`, if any is idle.
    pub(super) position: u32,
}

/// One function.
#[derive(Clone, Debug)]
pub struct FunctionState {
    pub(super) facts: FunctionFacts,
    pub(super) number: FunctionNumber,
    /// What a call takes with a warm worker.
    pub(super) service: Usual,
    /// What starting a worker adds.
    pub(super) cold: Usual,
    pub(super) workers: FxHashMap<RunnerPlace, Workers>,
    /// Runners with an idle worker, each once, in no order.
    pub(super) warm_on: Vec<RunnerPlace>,
    /// Calls of ours that are tried or running.
    pub(super) own: u32,
    /// Idle workers in all.
    pub(super) idle: u32,
    /// Its first homes, and of which ring.
    pub(super) homes: Vec<RunnerPlace>,
    pub(super) homes_of: u64,
}

impl FunctionState {
    pub(super) fn new(number: FunctionNumber, facts: FunctionFacts) -> Self {
        Self {
            facts,
            number,
            service: Usual::default(),
            cold: Usual::default(),
            workers: FxHashMap::default(),
            warm_on: Vec::new(),
            own: 0,
            idle: 0,
            homes: Vec::new(),
            homes_of: u64::MAX,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// All that was told of it.
    pub const fn facts(&self) -> &FunctionFacts {
        &self.facts
    }

    /// Its number.
    pub const fn number(&self) -> FunctionNumber {
        self.number
    }

    /// What a call takes with a warm worker, on average; `None` before the first.
    pub fn service(&self) -> Option<Duration> {
        self.service.get()
    }

    /// What starting a worker adds, on average; `None` before the first.
    pub fn cold(&self) -> Option<Duration> {
        self.cold.get()
    }

    /// Calls of ours that are tried or running.
    pub const fn own(&self) -> u32 {
        self.own
    }

    /// Idle workers that are known, on all runners.
    pub const fn idle(&self) -> u32 {
        self.idle
    }

    /// Idle workers that are known to be on this runner.
    pub fn idle_on(&self, runner: RunnerPlace) -> u32 {
        self.workers.get(&runner).map_or(0, |workers| workers.idle)
    }

    /// Calls of ours of this function on this runner.
    pub fn own_on(&self, runner: RunnerPlace) -> u32 {
        self.workers.get(&runner).map_or(0, |workers| workers.own)
    }

    /// Runners that are known to have an idle worker, in no order.
    pub fn warm_on(&self) -> &[RunnerPlace] {
        &self.warm_on
    }

    /// Its homes: runners in an order that all balancers agree on, the same for as long as the runners stay. The first few only.
    pub fn homes(&self) -> &[RunnerPlace] {
        &self.homes
    }
}
