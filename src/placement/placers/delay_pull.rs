//! `delay-pull`: an idle warm worker of the function; else wait for one, as long as that is cheaper than to start another.
//!
//! What decides the tail of a busy pool is who gets a freed slot. Handed out in turn, it goes to any function; the runner starts a worker for it and ends
//! another's; starts eat slots, the pool falls behind, and nearly every call is a start: a storm that does not end by itself. Here a freed slot
//! goes to a call that fits it.
//!
//! **A call comes**, and none of its function waits:
//!
//! 1. an idle worker of it is known on a runner with room: the least loaded of these, unless that one is much fuller than the pool is on average while others
//!    are mostly idle;
//! 2. else the first of its [`homes`](DelayPullConfig::homes) that is not fuller than the pool is on average, times [`home_slack`](DelayPullConfig::home_slack),
//!    and that starts no more workers than it may (the **cold gate**);
//! 3. else it waits.
//!
//! Where runners are mostly idle ([`idle_share`](DelayPullConfig::idle_share)) there is no gate and no waiting: a burst on an idle pool spreads at once.
//! A call with a hint goes to the first of the hint's homes that has room.
//!
//! **A runner has room**, and calls wait. Of the waiting functions, those may have it that
//!
//! * have an idle worker there, or
//! * have no worker anywhere: there is nothing to wait for, or
//! * have waited as long as a start of theirs costs, times [`home_patience`](DelayPullConfig::home_patience) at one of their two first homes and
//!   [`patience`](DelayPullConfig::patience) elsewhere: delay scheduling (Zaharia et al., EuroSys 2010), with workers in place of data blocks;
//!
//! and who needs a start must pass the cold gate. The slot goes to the greatest of *waited ÷ cost* (highest response ratio next, Brinch Hansen 1971), where cost is what a call of
//! the function takes, and a start is charged [`start_price`](DelayPullConfig::start_price) times over, since it costs the others too: it takes a slot for longer, and
//! ends somebody's idle worker. If nobody may have the slot, it stays free until somebody may.
//!
//! **Fair** it is by response ratio: all wait in proportion to what they cost. So that a function's own backlog does not outweigh everybody for as long as it lasts, a
//! function whose backlog needs longer than [`fair_backlog`](DelayPullConfig::fair_backlog) to drain yields to functions of which no call runs.
//!
//! **Wait or start** ([`wait_or_start`](DelayPullConfig::wait_or_start)): a call that comes also waits if one of its function's running calls is expected to end sooner than a
//! start would, unless a mostly idle runner takes it. It saves a third of the starts.
//!
//! **Nothing is warm** for jobs that are one process a call, and on servers that tell nothing: there it takes the least loaded, and hands slots out by response
//! ratio.
//!
//! Cost: constant for a call that comes; for a slot, up to 128 waiting functions are looked at. Use it where starts are dear, memory is short, or load is high. `runpool sim` compares it with the others.

use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Offer, Placer, Pull, Question, Reason};
use crate::model::{InvalidValue, human_duration};
use crate::placement::event::FunctionNumber;
use crate::placement::moment::Moment;
use crate::placement::view::{FunctionState, RunnerState, View};

/// `[placement.delay_pull]`. The defaults are those of the published tables.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DelayPullConfig {
    /// What a start is taken to cost before one was seen.
    #[serde(with = "human_duration")]
    pub unknown_start: Duration,
    /// How many homes of a function a call that comes may start a worker on, 1 to 8.
    pub homes: usize,
    /// How much fuller than the pool on average a home may be for that: a factor, 1 or more. The call itself is not counted.
    pub home_slack: f64,
    /// How long a call waits for a warm worker before one is started at one of its function's two first homes, in starts of its function.
    pub home_patience: f64,
    /// The same for any other runner.
    pub patience: f64,
    /// What a start weighs against running, when waiting calls are compared.
    pub start_price: f64,
    /// The share of a runner's slots in which workers may be starting, above 0; at least one may. 1 opens the cold gate.
    pub starting_share: f64,
    /// The same for functions that have no worker anywhere.
    pub first_starting_share: f64,
    /// A runner that has no more than this share of its slots taken with the call (or none but this call's) starts what comes, without gate and
    /// patience: nothing is gained by waiting beside idle slots. 0 to 1.
    pub idle_share: f64,
    /// A function whose backlog needs longer than this to drain, were all slots its own, yields to functions of which no call runs.
    #[serde(with = "human_duration")]
    pub fair_backlog: Duration,
    /// Whether a call that comes also waits when a running call of its function is expected to end before a start would.
    pub wait_or_start: bool,
}

impl Default for DelayPullConfig {
    fn default() -> Self {
        Self {
            unknown_start: Duration::from_millis(400),
            homes: 2,
            home_slack: 1.25,
            home_patience: 1.0,
            patience: 2.0,
            start_price: 30.0,
            starting_share: 0.125,
            first_starting_share: 0.25,
            idle_share: 0.5,
            fair_backlog: Duration::from_secs(1),
            wait_or_start: true,
        }
    }
}

impl DelayPullConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        let is_factor = |factor: f64| factor.is_finite() && factor >= 0.0;
        [
            ("unknown_start", !self.unknown_start.is_zero(), "more than 0s"),
            ("homes", (1..=8).contains(&self.homes), "1 to 8"),
            ("home_slack", self.home_slack.is_finite() && self.home_slack >= 1.0, "1 or more"),
            ("home_patience", is_factor(self.home_patience), "0 or more"),
            ("patience", is_factor(self.patience), "0 or more"),
            ("start_price", is_factor(self.start_price), "0 or more"),
            ("idle_share", (0.0..=1.0).contains(&self.idle_share), "0 to 1"),
            ("starting_share", is_share(self.starting_share), "more than 0, at most 1"),
            ("first_starting_share", is_share(self.first_starting_share), "more than 0, at most 1"),
        ]
        .into_iter()
        .filter(|(_, is_right, _)| !is_right)
        .map(|(key, _, expected)| InvalidValue::new(key, expected))
        .collect()
    }
}

/// Waiting functions that are looked at for one slot, the fairest first.
const LOOKED_AT: usize = 128;
/// Homes at which less patience is needed.
const NEAR_HOMES: usize = 2;
/// The least that a call is taken to cost.
const LEAST_COST_SECONDS: f64 = 0.001;
/// A runner of which the slots are not known is taken for one of so many.
const UNKNOWN_SLOTS: u32 = 64;

/// The strategy of this page.
#[derive(Clone, Copy, Debug)]
pub struct DelayPull {
    config: DelayPullConfig,
}

/// A waiting function that may have the slot.
#[derive(Clone, Copy, Debug)]
struct Fit {
    function: FunctionNumber,
    reason: Reason,
    response_ratio: f64,
}

/// Whether a function may have a slot.
enum Fits {
    Yes(Fit),
    /// Not before then.
    NotBefore(Moment),
    /// Not before something changes on the runner.
    NotYet,
}

impl DelayPull {
    /// The strategy with these settings.
    pub const fn new(config: DelayPullConfig) -> Self {
        Self { config }
    }

    fn start_seconds(&self, function: &FunctionState) -> f64 {
        function.cold().unwrap_or(self.config.unknown_start).as_secs_f64()
    }

    /// Whether a runner stays mostly idle with one call more.
    fn is_idle(&self, runner: &RunnerState) -> bool {
        let slots = f64::from(runner.slots().unwrap_or(UNKNOWN_SLOTS));
        f64::from(runner.in_flight() + 1) <= (self.config.idle_share * slots).max(1.0)
    }

    /// Whether another worker may be started on this runner for this function.
    fn passes_gate(&self, runner: &RunnerState, function: &FunctionState) -> bool {
        let share = if has_worker(function) { self.config.starting_share } else { self.config.first_starting_share };
        let slots = f64::from(runner.slots().unwrap_or(UNKNOWN_SLOTS));
        f64::from(runner.starting()) < (share * slots).max(1.0)
    }

    /// Whether a running call of the function is expected to end before a new worker would have started.
    fn ends_before_a_start(&self, function: &FunctionState) -> bool {
        let Some(service) = function.service() else { return false };
        function.own() > 0 && service.as_secs_f64() / f64::from(function.own()) < self.start_seconds(function)
    }

    /// Whether a runner is not much fuller than the pool is on average.
    fn has_slack(&self, view: &View, runner: &RunnerState) -> bool {
        let totals = view.totals();
        let slots = f64::from(runner.slots().unwrap_or(UNKNOWN_SLOTS).max(1));
        let mean = totals.in_flight as f64 / totals.slots.max(1) as f64;
        f64::from(runner.in_flight()) <= mean * self.config.home_slack * slots
    }

    fn fits(&self, offer: &Offer<'_>, function: FunctionNumber) -> Fits {
        let (Some(runner), Some(head)) = (offer.view.runner(offer.runner), offer.queue.head(function)) else {
            return Fits::NotYet;
        };
        let known = offer.view.function(function);
        let waited = (offer.now - head.since).as_secs_f64();
        let run = known.service().unwrap_or_default().as_secs_f64().max(LEAST_COST_SECONDS);
        if known.idle_on(offer.runner) > 0 {
            return Fits::Yes(Fit { function, reason: Reason::Warm, response_ratio: waited / run });
        }
        if runner.slots().is_none() || !known.facts().keeps_workers {
            return Fits::Yes(Fit { function, reason: Reason::Next, response_ratio: waited / run });
        }
        let is_idle = self.is_idle(runner);
        if !is_idle && !self.passes_gate(runner, known) {
            return Fits::NotYet;
        }
        let start = self.start_seconds(known);
        let is_home = known.homes().iter().take(NEAR_HOMES).any(|home| *home == offer.runner);
        let (patience, reason) = match (has_worker(known), is_home) {
            (false, _) => (0.0, Reason::StartsSooner),
            (true, true) if is_idle => (0.0, Reason::Home),
            (true, false) if is_idle => (0.0, Reason::StartsSooner),
            (true, true) => (self.config.home_patience, Reason::Home),
            (true, false) => (self.config.patience, Reason::WaitedLong),
        };
        let left = patience.mul_add(start, -waited);
        if left > 0.0 {
            let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
            return Fits::NotBefore(offer.now + left + Duration::from_micros(100));
        }
        Fits::Yes(Fit { function, reason, response_ratio: waited / self.config.start_price.mul_add(start, run) })
    }

    /// Whether a function's backlog is so long that it yields.
    fn yields(&self, offer: &Offer<'_>, function: FunctionNumber) -> bool {
        let service = offer.view.function(function).service().unwrap_or_default().as_secs_f64();
        let slots = offer.view.totals().slots.max(1) as f64;
        offer.queue.waiting(function) as f64 * service / slots > self.config.fair_backlog.as_secs_f64()
    }
}

impl Placer for DelayPull {
    fn name(&self) -> &'static str {
        "delay-pull"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let draw = question.random.next_u64();
        let view = question.view;
        let known = view.function(question.function);
        if question.is_hinted {
            // Whoever gives a hint wants to be where the others with it were, warm or not.
            if let Some(home) = question.homes.iter().copied().find(|home| question.can_take(*home)) {
                return Decision::Try(home, Reason::Home);
            }
        }
        let least_loaded = |fits: &dyn Fn(&RunnerState) -> bool| {
            view.by_load(draw).find(|runner| question.can_take(*runner)).filter(|runner| view.runner(*runner).is_some_and(fits))
        };
        if view.totals().slots == 0 || !known.facts().keeps_workers {
            let next = least_loaded(&|_| true);
            return next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::LeastLoaded));
        }
        let warm = view.least_loaded_warm(question.function, draw).filter(|runner| !question.refused.contains(runner));
        let is_even = |runner: &RunnerState| self.has_slack(view, runner);
        if let Some(runner) = warm.filter(|runner| view.runner(*runner).is_some_and(is_even)) {
            return Decision::Try(runner, Reason::Warm);
        }
        if warm.is_none() && self.config.wait_or_start && self.ends_before_a_start(known) {
            return Decision::Park;
        }
        let may_start = |home: &RunnerState| {
            self.has_slack(view, home) && (self.is_idle(home) || (warm.is_none() && self.passes_gate(home, known)))
        };
        let homes = question.homes.iter().take(self.config.homes);
        let home = homes.copied().find(|home| question.can_take(*home) && view.runner(*home).is_some_and(may_start));
        if let Some(home) = home {
            return Decision::Try(home, Reason::Home);
        }
        // No home is even with the others: on a mostly idle pool anybody is better than to wait, or to crowd where it is warm.
        if let Some(runner) = least_loaded(&|runner| self.is_idle(runner)) {
            return Decision::Try(runner, Reason::LeastLoaded);
        }
        warm.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::Warm))
    }

    fn pull(&mut self, offer: Offer<'_>) -> Pull {
        let (mut best, mut best_without_any): (Option<Fit>, Option<Fit>) = (None, None);
        let mut again: Option<Moment> = None;
        for function in offer.queue.functions(offer.group).take(LOOKED_AT) {
            if !offer.view.can_take(offer.runner, function) {
                continue;
            }
            match self.fits(&offer, function) {
                Fits::Yes(fit) => {
                    best = greater(best, fit);
                    if offer.view.function(function).own() == 0 {
                        best_without_any = greater(best_without_any, fit);
                    }
                }
                Fits::NotBefore(at) => again = Some(again.map_or(at, |known| known.min(at))),
                Fits::NotYet => {}
            }
        }
        let Some(mut fit) = best else { return Pull::Leave(again) };
        if let Some(first) = best_without_any
            && self.yields(&offer, fit.function)
        {
            fit = first;
        }
        Pull::Give(fit.function, fit.reason)
    }
}

fn greater(best: Option<Fit>, fit: Fit) -> Option<Fit> {
    match best {
        Some(best) if best.response_ratio >= fit.response_ratio => Some(best),
        _ => Some(fit),
    }
}

fn has_worker(function: &FunctionState) -> bool {
    function.own() + function.idle() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_setting_is_named() {
        assert_eq!(DelayPullConfig::default().validate(), []);
        let wrong = DelayPullConfig { homes: 9, starting_share: 0.0, patience: f64::NAN, ..DelayPullConfig::default() };
        let keys: Vec<String> = wrong.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["homes", "patience", "starting_share"]);
    }
}
