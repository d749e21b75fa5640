//! `delay-pull`: an idle warm worker of the function; else wait for one, as long as that is cheaper than to start another.

use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Offer, Placer, Pull, Question, Reason};
use crate::model::{InvalidValue, human_duration};

/// `[placement.delay_pull]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DelayPullConfig {
    /// What a start is taken to cost before one was seen.
    #[serde(with = "human_duration")]
    pub unknown_start: Duration,
    /// How soon room that was left is offered again.
    #[serde(with = "human_duration")]
    pub look_again: Duration,
}

impl Default for DelayPullConfig {
    fn default() -> Self {
        Self { unknown_start: Duration::from_millis(400), look_again: Duration::from_millis(20) }
    }
}

impl DelayPullConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        Vec::new()
    }
}

/// The strategy of this page.
#[derive(Debug)]
pub struct DelayPull {
    config: DelayPullConfig,
}

impl DelayPull {
    /// The strategy with these settings.
    pub const fn new(config: DelayPullConfig) -> Self {
        Self { config }
    }
}

impl Placer for DelayPull {
    fn name(&self) -> &'static str {
        "delay-pull"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let draw = question.random.next_u64();
        let warm = question.view.least_loaded_warm(question.function, draw);
        if let Some(runner) = warm.filter(|runner| !question.refused.contains(runner)) {
            return Decision::Try(runner, Reason::Warm);
        }
        // Home order with a bound on the mean load.
        let view = question.view;
        let (mut total, mut slots) = (0_u64, 0_u64);
        for (_, runner) in view.runners() {
            total += u64::from(runner.in_flight());
            slots += u64::from(runner.slots().unwrap_or(0));
        }
        let mean = if slots == 0 { 0.0 } else { total as f64 / slots as f64 };
        for home in question.homes {
            let Some(runner) = view.runner(*home) else { continue };
            let load = f64::from(runner.in_flight() + 1) / f64::from(runner.slots().unwrap_or(64).max(1));
            if question.can_take(*home) && load <= (mean * 1.25 + 0.125).min(1.0) {
                return Decision::Try(*home, Reason::Home);
            }
        }
        Decision::Park
    }

    fn pull(&mut self, offer: Offer<'_>) -> Pull {
        let Offer { view, queue, group, runner, now, .. } = offer;
        // The oldest of those that are warm there.
        let warm = queue
            .functions(group)
            .take(128)
            .filter(|function| view.function(*function).idle_on(runner) > 0 && view.can_take(runner, *function))
            .min_by_key(|function| queue.head(*function).map(|head| head.since));
        if let Some(function) = warm {
            return Pull::Give(function, Reason::Warm);
        }
        let cold = |function| view.function(function).cold().unwrap_or(self.config.unknown_start);
        let waited = |function| queue.head(function).map_or(Duration::ZERO, |head| now - head.since);
        let can = |function: &_| view.can_take(runner, *function);
        let mut oldest: Vec<_> = queue.functions(group).take(128).filter(can).collect();
        oldest.sort_by_key(|function| queue.head(*function).map(|head| head.since));
        // Nobody has a worker that could come free: there is nothing to wait for.
        let has_none = |function: &&_| view.function(**function).own() + view.function(**function).idle() == 0;
        if let Some(function) = oldest.iter().find(has_none) {
            return Pull::Give(*function, Reason::StartsSooner);
        }
        let at_home = oldest.iter().find(|function| {
            let homes = view.function(**function).homes();
            homes.iter().take(2).any(|home| *home == runner) && waited(**function) >= cold(**function)
        });
        if let Some(function) = at_home {
            return Pull::Give(*function, Reason::Home);
        }
        if let Some(head) = oldest.first()
            && waited(*head) >= 2 * cold(*head)
        {
            return Pull::Give(*head, Reason::WaitedLong);
        }
        Pull::Leave(Some(now + self.config.look_again))
    }
}
