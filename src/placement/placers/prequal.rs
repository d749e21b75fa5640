//! `prequal`: probed load and latency, by the hot-cold rule.
//!
//! Rule and parameters: Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance: introducing Prequal", NSDI 2024.
//!
//! * Every call sends [`PrequalConfig::probes`] probes to runners drawn without replacement; nobody waits for the answers. An answer (calls
//!   in flight, *RIF*, and what a call takes there at that load) goes into a pool of at most [`PrequalConfig::pool`] entries, one for each runner, the
//!   newest; a full pool loses its oldest.
//! * An entry is used at most *max(1, (1 + δ) / ((1 − m/n) · probes − remove))* times, rounded at random so that the mean is right, and for at
//!   most [`PrequalConfig::age`]. With *n* runners of which nearly all are in the pool of *m* the quotient is not positive: then age alone bounds it. Its use adds
//!   one to the entry's RIF.
//! * With every call [`PrequalConfig::remove`] entries leave: the oldest and the worst in turn. The worst is the hot one with most RIF, or, if none is hot,
//!   the one with the longest latency.
//! * **Hot** is an entry with more RIF than the [`PrequalConfig::hot_quantile`] quantile of the last [`RECENT`] RIFs heard of. Of the cold ones the one with the
//!   shortest latency is chosen; if all are hot, the one with the least RIF.
//! * With fewer than two entries that would take the call, a runner with room is drawn.
//!
//! Not the paper's: an entry of a runner that fails is passed over as often as its calls failed of late, up to 98 %, since a runner that fails
//! fast shows the least load and the shortest latency (the paper names this "sinkholing" and leaves its guard open). There are no probes without calls.
//!
//! Cost: a look at 16 entries, no allocation; and three probes for each call, which the runners have to answer. Use it for stateless calls over runners that share
//! their machines with others, and with many balancers; it is blind to where a function is warm.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _};
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Noted, Placer, Question, Reason};
use crate::model::{InvalidValue, human_duration};
use crate::placement::moment::Moment;
use crate::placement::view::View;
use crate::pool::RunnerPlace;

/// How many RIFs make the distribution of which [`PrequalConfig::hot_quantile`] is taken.
pub const RECENT: usize = 128;
/// The greatest part of its chances that a failing runner loses: it must be seen to be well again.
const MOST_PASSED_OVER: f64 = 0.98;

/// `[placement.prequal]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrequalConfig {
    /// Probes for each call, `r_probe`; a fraction is rounded at random. 0 to 16.
    pub probes: f64,
    /// The most entries, `m`. 2 to 64.
    pub pool: usize,
    /// How long an answer is of use.
    #[serde(with = "human_duration")]
    pub age: Duration,
    /// Entries that leave with each call, `r_remove`; a fraction is rounded at random. 0 to 16.
    pub remove: f64,
    /// `δ`: how much more often than they come entries may be used. More than −1.
    pub delta: f64,
    /// `Q_RIF`: from which quantile of the calls in flight on a runner is hot. 0 to 1: 0 goes by calls in flight alone, 1 by latency alone.
    pub hot_quantile: f64,
}

impl Default for PrequalConfig {
    fn default() -> Self {
        Self { probes: 3.0, pool: 16, age: Duration::from_secs(1), remove: 1.0, delta: 1.0, hot_quantile: 0.84 }
    }
}

impl PrequalConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let rules = [
            ("probes", (0.0..=16.0).contains(&self.probes), "0 to 16"),
            ("pool", (2..=64).contains(&self.pool), "2 to 64"),
            ("age", !self.age.is_zero(), "more than 0s"),
            ("remove", (0.0..=16.0).contains(&self.remove), "0 to 16"),
            ("delta", self.delta > -1.0 && self.delta.is_finite(), "more than -1"),
            ("hot_quantile", (0.0..=1.0).contains(&self.hot_quantile), "0 to 1"),
        ];
        rules
            .into_iter()
            .filter(|(_, is_usable, _)| !is_usable)
            .map(|(key, _, expected)| InvalidValue::new(key, expected))
            .collect()
    }
}

/// The strategy of this page.
#[derive(Debug)]
pub struct Prequal {
    config: PrequalConfig,
    /// Oldest first.
    pool: Vec<Entry>,
    /// The last RIFs, in the order they came, and sorted.
    recent: Vec<u32>,
    sorted: Vec<u32>,
    next_recent: usize,
    /// What the next removal takes.
    removes: Removes,
}

/// An answered probe.
#[derive(Clone, Copy, Debug)]
struct Entry {
    runner: RunnerPlace,
    in_flight: u32,
    latency: Duration,
    heard: Moment,
    used: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removes {
    Oldest,
    Worst,
}

impl Prequal {
    /// The strategy with these settings.
    pub fn new(config: PrequalConfig) -> Self {
        Self {
            config,
            pool: Vec::with_capacity(config.pool + 1),
            recent: Vec::with_capacity(RECENT),
            sorted: Vec::with_capacity(RECENT + 1),
            next_recent: 0,
            removes: Removes::Oldest,
        }
    }

    /// How often an entry may be used, with so many runners; rounded at random.
    fn reuse_budget(&self, members: usize, random: &mut SmallRng) -> u32 {
        let PrequalConfig { probes, pool, remove, delta, .. } = self.config;
        let net = (1.0 - pool as f64 / members.max(1) as f64) * probes - remove;
        if net <= 0.0 {
            return u32::MAX;
        }
        rounded(((1.0 + delta) / net).max(1.0), random)
    }

    /// Above this an entry is hot.
    fn hot_above(&self) -> u32 {
        // The least value that so great a part of all do not exceed.
        let rank = (self.config.hot_quantile * self.sorted.len() as f64).ceil() as usize;
        match rank {
            // Goes by calls in flight alone: everything is hot, or has none at all.
            0 => 0,
            _ if self.config.hot_quantile >= 1.0 => u32::MAX,
            _ => self.sorted.get(rank - 1).copied().unwrap_or(u32::MAX),
        }
    }

    /// Where an entry stands, the best least: the cold before the hot, the cold by latency, the hot by calls in flight.
    fn rank(&self, entry: &Entry, hot_above: u32) -> (bool, u128) {
        let is_hot = entry.in_flight > hot_above || self.config.hot_quantile <= 0.0;
        (is_hot, if is_hot { u128::from(entry.in_flight) } else { entry.latency.as_nanos() })
    }

    fn remove_one(&mut self) {
        if self.pool.is_empty() {
            return;
        }
        let (position, next) = match self.removes {
            Removes::Oldest => (0, Removes::Worst),
            Removes::Worst => {
                let hot_above = self.hot_above();
                let worst = (0..self.pool.len()).max_by_key(|position| self.rank(&self.pool[*position], hot_above));
                (worst.unwrap_or(0), Removes::Oldest)
            }
        };
        self.pool.remove(position);
        self.removes = next;
    }

    fn note_in_flight(&mut self, in_flight: u32) {
        if self.recent.len() < RECENT {
            self.recent.push(in_flight);
        } else {
            let old = std::mem::replace(&mut self.recent[self.next_recent], in_flight);
            self.next_recent = (self.next_recent + 1) % RECENT;
            self.sorted.remove(self.sorted.partition_point(|known| *known < old));
        }
        self.sorted.insert(self.sorted.partition_point(|known| *known < in_flight), in_flight);
    }

    fn send_probes(&self, question: &mut Question<'_>) {
        let view = question.view;
        let wanted = (rounded(self.config.probes, question.random) as usize).min(view.members());
        let places = view.places().max(1);
        // Places are numbered densely: a few draws more than wanted find members.
        for _ in 0..wanted * 4 {
            if question.probes.len() >= wanted {
                break;
            }
            let drawn = RunnerPlace(question.random.random_range(0..places));
            if view.runner(drawn).is_some_and(|runner| runner.weight() > 0) && !question.probes.contains(&drawn) {
                question.probes.push(drawn);
            }
        }
    }
}

impl Placer for Prequal {
    fn name(&self) -> &'static str {
        "prequal"
    }

    fn place(&mut self, mut question: Question<'_>) -> Decision {
        self.send_probes(&mut question);
        let view = question.view;
        let (age, now) = (self.config.age, question.now);
        self.pool.retain(|entry| now - entry.heard < age && view.runner(entry.runner).is_some());
        let hot_above = self.hot_above();
        let mut eligible = 0;
        let mut best: Option<((bool, u128), usize)> = None;
        for (position, entry) in self.pool.iter().enumerate() {
            if !question.can_take(entry.runner) {
                continue;
            }
            eligible += 1;
            let failing = view.runner(entry.runner).map_or(0.0, |runner| runner.failing().min(MOST_PASSED_OVER));
            if failing > 0.01 && question.random.random_bool(failing) {
                continue;
            }
            let rank = self.rank(entry, hot_above);
            if best.is_none_or(|(known, _)| rank < known) {
                best = Some((rank, position));
            }
        }
        let decision = match best {
            Some((_, position)) if eligible >= 2 => {
                let budget = self.reuse_budget(view.members(), question.random);
                let entry = &mut self.pool[position];
                let runner = entry.runner;
                entry.in_flight = entry.in_flight.saturating_add(1);
                entry.used += 1;
                if entry.used >= budget {
                    self.pool.remove(position);
                }
                Decision::Try(runner, Reason::Probed)
            }
            _ => at_random(&mut question),
        };
        for _ in 0..rounded(self.config.remove, question.random) {
            self.remove_one();
        }
        decision
    }

    fn observe(&mut self, noted: Noted, view: &View, now: Moment) {
        match noted {
            Noted::Probed { runner, in_flight, latency } if view.runner(runner).is_some() => {
                self.note_in_flight(in_flight);
                self.pool.retain(|entry| entry.runner != runner);
                if self.pool.len() >= self.config.pool {
                    self.pool.remove(0);
                }
                self.pool.push(Entry { runner, in_flight, latency, heard: now, used: 0 });
            }
            Noted::RunnerChanged { runner } if view.runner(runner).is_none() => {
                self.pool.retain(|entry| entry.runner != runner);
            }
            _ => {}
        }
    }
}

/// A runner with room.
fn at_random(question: &mut Question<'_>) -> Decision {
    let drawn = question.view.open_at_random(question.random.next_u64());
    if let Some(runner) = drawn.filter(|runner| question.can_take(*runner)) {
        return Decision::Try(runner, Reason::AtRandom);
    }
    let start = question.random.next_u64() % u64::from(question.view.places().max(1));
    let next = question.view.open_from(start as u32).find(|runner| question.can_take(*runner));
    next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::AtRandom))
}

/// One of the two whole numbers next to a value, such that the mean is the value.
fn rounded(value: f64, random: &mut SmallRng) -> u32 {
    let part = value.fract();
    // The smallest of integers beside; a saturating conversion.
    value.trunc() as u32 + u32::from(part > 0.0 && random.random_bool(part))
}
