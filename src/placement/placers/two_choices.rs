//! `p2c` and `p2c-ewma`: of two random runners with room the cheaper one.
//!
//! Rule: the power of two choices (Mitzenmacher 2001): two different runners with room, every pair as likely as any other.
//!
//! * `p2c`: the one that is less full (calls in flight against slots).
//! * `p2c-ewma`: the one with the smaller *latency × (calls in flight + 1) / weight*. The latency is the peak-sensitive moving average (Finagle, tower) of **this
//!   function** on that runner: a slower sample counts at once, a faster one with weight 1 − e^(−elapsed / decay). A mean over all functions would
//!   say more about which functions a runner happens to serve than about the runner.
//!   * A runner from which nothing was heard of this function is taken to be a little better than average: [`HOPE`] of the function's usual time on
//!     all runners. With a fixed default of 1 s, as in tower, new runners starve until it has decayed (tower's pull request 134). What is known
//!     fades towards the same value with the same decay, so that a runner which was once slow is tried again; towards the average itself it would stay
//!     a hair's breadth dearer for ever.
//!   * A failure costs the runner [`TwoChoicesConfig::failure_penalty`] on top, whatever the function, and fades likewise (Linkerd's `load-biaser`): a runner that fails fast
//!     looks quick and would attract calls.
//!
//! Cost: constant, no allocation once the table has grown; at most [`TwoChoicesConfig::pairs`] pairs of runner and function are remembered. Use it for
//! stateless calls over runners that differ, with any number of balancers: each draws for itself, and no herd forms. It does not know where
//! a function is warm.

use std::time::Duration;

use rand::Rng as _;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Noted, Placer, Question, Reason};
use crate::model::{InvalidValue, human_duration};
use crate::placement::event::{EndedHow, FunctionNumber, RefusedKind};
use crate::placement::moment::Moment;
use crate::placement::view::View;
use crate::pool::RunnerPlace;

/// What a function's call is taken to cost while nothing is known, in seconds. It is the same for all runners, so that only the calls in flight decide.
const UNKNOWN_LATENCY: f64 = 1.0;

/// `[placement.p2c]`, of `p2c-ewma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwoChoicesConfig {
    /// How fast a latency or a penalty is forgotten: after this long, 37 % of it are left.
    #[serde(with = "human_duration")]
    pub decay: Duration,
    /// What a failure adds to a runner's latency.
    #[serde(with = "human_duration")]
    pub failure_penalty: Duration,
    /// The most pairs of runner and function whose latency is remembered.
    pub pairs: usize,
}

impl Default for TwoChoicesConfig {
    fn default() -> Self {
        Self { decay: Duration::from_secs(10), failure_penalty: Duration::from_secs(5), pairs: 1 << 16 }
    }
}

impl TwoChoicesConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.decay.is_zero() {
            invalid.push(InvalidValue::new("decay", "more than 0s"));
        }
        if self.pairs == 0 {
            invalid.push(InvalidValue::new("pairs", "at least 1"));
        }
        invalid
    }
}

/// What a runner is taken to need of the function's usual time while nothing else is known.
pub const HOPE: f64 = 0.5;

/// The strategies of this page.
#[derive(Debug)]
pub struct TwoChoices {
    latencies: Option<Latencies>,
}

impl TwoChoices {
    /// By calls in flight.
    pub const fn least_loaded() -> Self {
        Self { latencies: None }
    }

    /// By latency and calls in flight.
    pub fn peak_ewma(config: TwoChoicesConfig) -> Self {
        Self { latencies: Some(Latencies { config, pairs: FxHashMap::default(), penalties: Vec::new() }) }
    }

    fn cost(&self, view: &View, runner: RunnerPlace, function: FunctionNumber, now: Moment) -> f64 {
        let Some(state) = view.runner(runner) else { return f64::INFINITY };
        match &self.latencies {
            None => f64::from(state.load(1 << 20)),
            Some(latencies) => {
                let waiting = f64::from(state.in_flight()) + 1.0;
                latencies.latency(view, runner, function, now) * waiting * 100.0 / f64::from(state.weight().max(1))
            }
        }
    }
}

impl Placer for TwoChoices {
    fn name(&self) -> &'static str {
        if self.latencies.is_some() { "p2c-ewma" } else { "p2c" }
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let Question { view, function, now, .. } = question;
        let pair = view.two_open_at_random(question.random.next_u64());
        let [first, second] = pair.map(|runner| runner.filter(|runner| question.can_take(*runner)));
        let chosen = match (first, second) {
            (Some(first), Some(second)) => {
                let second_is_cheaper = self.cost(view, second, function, now) < self.cost(view, first, function, now);
                Some(if second_is_cheaper { second } else { first })
            }
            (first, second) => first.or(second),
        };
        if let Some(runner) = chosen {
            return Decision::Try(runner, Reason::Cheaper);
        }
        let start = question.random.next_u64() % u64::from(view.places().max(1));
        let next = view.open_from(start as u32).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::AtRandom))
    }

    fn observe(&mut self, noted: Noted, view: &View, now: Moment) {
        let Some(latencies) = &mut self.latencies else { return };
        match noted {
            Noted::Ended { runner, how: EndedHow::Failed, .. }
            | Noted::Refused { runner, why: RefusedKind::Unreachable | RefusedKind::Status } => latencies.punish(runner, now),
            Noted::Ended { runner, function, took, how: EndedHow::Ok } => latencies.add(runner, function, took, now),
            Noted::RunnerChanged { runner } if view.runner(runner).is_none() => latencies.forget(runner),
            _ => {}
        }
    }
}

/// What is remembered of latencies.
#[derive(Debug)]
struct Latencies {
    config: TwoChoicesConfig,
    /// Seconds, by runner and function.
    pairs: FxHashMap<(RunnerPlace, FunctionNumber), Fading>,
    /// Seconds, by runner.
    penalties: Vec<Fading>,
}

/// A value as it was then.
#[derive(Clone, Copy, Debug, Default)]
struct Fading {
    value: f64,
    at: Moment,
}

impl Latencies {
    /// What is left after this long, as a part.
    fn left(&self, since: Moment, now: Moment) -> f64 {
        (-(now - since).as_secs_f64() / self.config.decay.as_secs_f64()).exp()
    }

    fn latency(&self, view: &View, runner: RunnerPlace, function: FunctionNumber, now: Moment) -> f64 {
        let usual = view.function(function).service().map_or(UNKNOWN_LATENCY, |service| service.as_secs_f64());
        let hoped = usual * HOPE;
        let known = self.pairs.get(&(runner, function));
        let latency = known.map_or(hoped, |known| (known.value - hoped).mul_add(self.left(known.at, now), hoped));
        let penalty = self.penalties.get(runner.index()).filter(|penalty| penalty.value > 0.0);
        latency + penalty.map_or(0.0, |penalty| penalty.value * self.left(penalty.at, now))
    }

    fn add(&mut self, runner: RunnerPlace, function: FunctionNumber, took: Duration, now: Moment) {
        let took = took.as_secs_f64();
        let pair = (runner, function);
        if let Some(known) = self.pairs.get(&pair).copied() {
            let left = self.left(known.at, now);
            let value = if took > known.value { took } else { known.value.mul_add(left, took * (1.0 - left)) };
            self.pairs.insert(pair, Fading { value, at: now });
            return;
        }
        if self.pairs.len() >= self.config.pairs {
            self.make_room(now);
        }
        self.pairs.insert(pair, Fading { value: took, at: now });
    }

    /// Drops what has faded; everything, if that is too little: it is soon known again, and a scan at every new pair is not worth it.
    fn make_room(&mut self, now: Moment) {
        let decay = self.config.decay;
        self.pairs.retain(|_, known| now - known.at < decay);
        if self.pairs.len() > self.config.pairs / 4 * 3 {
            self.pairs.clear();
        }
    }

    fn punish(&mut self, runner: RunnerPlace, now: Moment) {
        if self.penalties.len() <= runner.index() {
            self.penalties.resize(runner.index() + 1, Fading::default());
        }
        self.penalties[runner.index()] = Fading { value: self.config.failure_penalty.as_secs_f64(), at: now };
    }

    fn forget(&mut self, runner: RunnerPlace) {
        self.pairs.retain(|(of, _), _| *of != runner);
        if let Some(penalty) = self.penalties.get_mut(runner.index()) {
            *penalty = Fading::default();
        }
    }
}
