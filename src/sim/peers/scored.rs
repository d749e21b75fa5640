//! The rules that Prequal was compared with (NSDI'24), each choosing at arrival; the call then queues at its runner or shares its cores.
//!
//! * `p2c-q`: of two random runners the one with fewer of this balancer's calls (the closed form of the power of two is about this rule);
//! * `yarp-p2c`: the same by the calls that runners reported last (YARP polls);
//! * `least-loaded-q`: of all runners the one with the fewest of this balancer's calls, ties at random;
//! * `c3`: the least latency · (1 + own calls · balancers + calls told)³ of all runners (NSDI'15; both averaged over answers);
//! * `wrr`: in turn, weighted by what each runner's cores could do lately. Real ones work it out of goodput and CPU use; this one is told,
//!   averaged over its reports.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::known::Known;
use crate::placement::{CallNumber, Event, Moment, Step};
use crate::sim::rule::Rule;
use crate::sim::runner::{ModelRunner, OnFull};

/// How runners are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Score {
    FewerOfTwo,
    FewerReportedOfTwo,
    Fewest,
    C3,
    Weighted,
}

/// What is remembered of a runner.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    latency: Option<f64>,
    told: Option<f64>,
    weight: Option<f64>,
    /// Of a smooth weighted turn.
    credit: f64,
}

/// The rule.
#[derive(Debug)]
pub(super) struct Scored {
    score: Score,
    known: Known,
    balancers: u32,
    memory: Vec<Memory>,
    began: HashMap<CallNumber, Moment>,
    rng: StdRng,
}

impl Scored {
    pub(super) fn new(score: Score, balancers: u32, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { score, known: Known::default(), balancers, memory: Vec::new(), began: HashMap::new(), rng }
    }

    fn choose(&mut self) -> Option<usize> {
        let count = self.known.runners.len();
        if count == 0 {
            return None;
        }
        let runners = &self.known.runners;
        match self.score {
            Score::FewerOfTwo | Score::FewerReportedOfTwo => {
                let one = self.rng.random_range(0..count);
                let other = if count == 1 { one } else { (one + self.rng.random_range(1..count)) % count };
                let load = |index: usize| match self.score {
                    Score::FewerOfTwo => runners[index].in_flight,
                    _ => runners[index].reported,
                };
                Some(if load(other) < load(one) { other } else { one })
            }
            Score::Fewest | Score::C3 => {
                let start = self.rng.random_range(0..count);
                let cost = |index: usize| {
                    let own = f64::from(runners[index].in_flight);
                    if self.score == Score::Fewest {
                        return own;
                    }
                    let memory = self.memory.get(runners[index].place.0 as usize).copied().unwrap_or_default();
                    let queue = 1.0 + own * f64::from(self.balancers) + memory.told.unwrap_or(0.0);
                    memory.latency.unwrap_or(0.0) * queue.powi(3)
                };
                (0..count).map(|step| (start + step) % count).min_by(|one, other| cost(*one).total_cmp(&cost(*other)))
            }
            Score::Weighted => {
                let mut total = 0.0;
                for runner in runners {
                    let memory = remember(&mut self.memory, runner.place.0 as usize);
                    let weight = memory.weight.unwrap_or(1.0);
                    // Balancers that begin alike would go on alike.
                    if memory.weight.is_none() && memory.credit == 0.0 {
                        memory.credit = self.rng.random::<f64>();
                    }
                    memory.credit += weight;
                    total += weight;
                }
                let credit = |index: &usize| self.memory[runners[*index].place.0 as usize].credit;
                let chosen = (0..count).max_by(|one, other| credit(one).total_cmp(&credit(other)))?;
                self.memory[runners[chosen].place.0 as usize].credit -= total;
                Some(chosen)
            }
        }
    }
}

impl Rule for Scored {
    fn step(&mut self, event: &Event, now: Moment, truth: &[ModelRunner], steps: &mut Vec<Step>) {
        // Where the call is has to be known before its end is noted.
        if let Event::Committed { call, news, .. } = event
            && let Some(place) = self.known.place(*call)
        {
            let memory = remember(&mut self.memory, place.0 as usize);
            if let Some(load) = news.load {
                average(&mut memory.told, f64::from(load.in_flight), 0.1);
            }
            if let Some(began) = self.began.remove(call) {
                average(&mut memory.latency, (now - began).as_secs_f64(), 0.1);
            }
        }
        self.known.note(event);
        let call = match event {
            Event::Arrived { call, .. } | Event::Refused { call, .. } => *call,
            Event::Ended { call, .. } => {
                self.began.remove(call);
                return;
            }
            Event::Reported { runner, .. } if self.score == Score::Weighted => {
                if let Some(model) = truth.get(runner.0 as usize) {
                    average(&mut remember(&mut self.memory, runner.0 as usize).weight, model.capacity(), 0.1);
                }
                return;
            }
            _ => return,
        };
        match self.choose() {
            Some(index) => {
                self.began.insert(call, now);
                self.known.try_on(call, self.known.runners[index].place, steps);
            }
            None => self.known.give_up(call, steps),
        }
    }

    fn on_full(&self) -> OnFull {
        OnFull::Queue
    }
}

fn remember(memory: &mut Vec<Memory>, index: usize) -> &mut Memory {
    if memory.len() <= index {
        memory.resize(index + 1, Memory::default());
    }
    &mut memory[index]
}

fn average(mean: &mut Option<f64>, value: f64, share: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + share * (value - mean)));
}
