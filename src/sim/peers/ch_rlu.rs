//! `ch-rlu`: consistent hashing with random load updates (Fuerst and Sharma, HPDC 2022).
//!
//! Each function's mean time between arrivals is averaged; the fifth that is called most often is *popular*. A popular function walks the ring from
//! its home and takes the first runner whose last reported load, plus normal noise of mean (arrivals per second / runners / cores) and deviation 0.1, is at
//! most the bound `b`. An unpopular one takes the first with a load of at most min(cold / warm time, 1.2 (b + 1)) − 1. After a full
//! circle a random runner takes the call. Loads are the runners' whole reports, once a second; load is calls over slots.
//!
//! The paper's load is a machine's load average of a minute; that is what shared cores are modelled for. How popular functions are found (SHARDS
//! sampling) is replaced by exact averages.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::known::Known;
use crate::placement::{CallNumber, Event, FunctionNumber, Moment, StartKind, Step};
use crate::sim::rule::Rule;
use crate::sim::runner::{ModelRunner, OnFull};

/// The bound on a runner's load.
const BOUND: f64 = 1.2;
/// Points of a runner on the ring.
const POINTS: u32 = 100;
/// The share of functions that are popular.
const POPULAR: f64 = 0.2;

#[derive(Clone, Copy, Debug, Default)]
struct Habits {
    last: Option<Moment>,
    /// Seconds between arrivals.
    gap: Option<f64>,
    /// Seconds of a warm call, and of a cold one.
    warm: Option<f64>,
    cold: Option<f64>,
}

/// The rule.
#[derive(Debug)]
pub(super) struct ChRlu {
    known: Known,
    ring: Vec<(u64, usize)>,
    habits: Vec<Habits>,
    popular_gap: f64,
    arrivals: u64,
    began: HashMap<CallNumber, (Moment, bool)>,
    rng: StdRng,
}

impl ChRlu {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            known: Known::default(),
            ring: Vec::new(),
            habits: Vec::new(),
            popular_gap: 0.0,
            arrivals: 0,
            began: HashMap::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn renew_ring(&mut self) {
        self.ring.clear();
        for (index, runner) in self.known.runners.iter().enumerate() {
            let point = |n: u32| (xxhash_rust::xxh3::xxh3_64_with_seed(runner.name.as_bytes(), u64::from(n) + 1), index);
            self.ring.extend((0..POINTS).map(point));
        }
        self.ring.sort_unstable();
    }

    fn note_arrival(&mut self, function: FunctionNumber, now: Moment) {
        let index = function.0 as usize;
        if self.habits.len() <= index {
            self.habits.resize(index + 1, Habits::default());
        }
        let habits = &mut self.habits[index];
        if let Some(last) = habits.last.replace(now) {
            average(&mut habits.gap, (now - last).as_secs_f64());
        }
        self.arrivals += 1;
        if self.arrivals % 1_000 == 1 {
            let mut gaps: Vec<f64> = self.habits.iter().filter_map(|habits| habits.gap).collect();
            gaps.sort_by(f64::total_cmp);
            self.popular_gap = gaps.get((gaps.len() as f64 * POPULAR) as usize).copied().unwrap_or(0.0);
        }
    }

    fn choose(&mut self, function: FunctionNumber) -> Option<usize> {
        let count = self.known.runners.len();
        if count == 0 {
            return None;
        }
        let habits = self.habits.get(function.0 as usize).copied().unwrap_or_default();
        let is_popular = habits.gap.is_some_and(|gap| gap <= self.popular_gap);
        let start = self.ring.partition_point(|(point, _)| *point < self.known.key(function));
        let mut seen = vec![false; count];
        for step in 0..self.ring.len() {
            let (_, index) = self.ring[(start + step) % self.ring.len()];
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let runner = &self.known.runners[index];
            let slots = f64::from(runner.slots.max(1));
            let load = f64::from(runner.reported) / slots;
            let accepts = if is_popular {
                let rate = habits.gap.map_or(0.0, |gap| 1.0 / gap.max(1e-6));
                load + rate / count as f64 / slots * habits.warm.unwrap_or(0.0) + 0.1 * normal(&mut self.rng) <= BOUND
            } else {
                let ratio = habits.cold.zip(habits.warm).map_or(f64::INFINITY, |(cold, warm)| cold / warm.max(1e-6));
                load <= ratio.min(1.2 * (BOUND + 1.0)) - 1.0
            };
            if accepts {
                return Some(index);
            }
        }
        Some(self.rng.random_range(0..count))
    }
}

impl Rule for ChRlu {
    fn step(&mut self, event: &Event, now: Moment, _truth: &[ModelRunner], steps: &mut Vec<Step>) {
        let noted = self.known.note(event);
        let call = match event {
            Event::RunnersChanged { .. } => return self.renew_ring(),
            Event::Arrived { call, function, .. } => {
                self.note_arrival(*function, now);
                *call
            }
            Event::Refused { call, .. } => *call,
            Event::Committed { call, start, .. } => {
                if let Some((_, is_cold)) = self.began.get_mut(call) {
                    *is_cold = matches!(start, StartKind::Cold(_));
                }
                return;
            }
            Event::Ended { call, .. } => {
                if let (Some((function, _)), Some((began, is_cold))) = (noted, self.began.remove(call)) {
                    let took = (now - began).as_secs_f64();
                    if let Some(habits) = self.habits.get_mut(function.0 as usize) {
                        average(if is_cold { &mut habits.cold } else { &mut habits.warm }, took);
                    }
                }
                return;
            }
            _ => return,
        };
        match self.choose(self.known.function(call)) {
            Some(index) => {
                self.began.insert(call, (now, false));
                self.known.try_on(call, self.known.runners[index].place, steps);
            }
            None => self.known.give_up(call, steps),
        }
    }

    fn on_full(&self) -> OnFull {
        OnFull::Queue
    }
}

fn average(mean: &mut Option<f64>, value: f64) {
    *mean = Some(mean.map_or(value, |mean| 0.9 * mean + 0.1 * value));
}

fn normal(rng: &mut StdRng) -> f64 {
    let (one, other) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}
