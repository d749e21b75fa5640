//! `[placement]`: the strategy and its times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::placers::delay_pull::DelayPullConfig;
use super::placers::prequal::PrequalConfig;
use super::placers::ring_bounded::RingBoundedConfig;
use super::placers::two_choices::TwoChoicesConfig;
use super::placing::Rules;
use crate::model::{InvalidValue, human_duration};

/// The strategies that a configuration can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacerChoice {
    /// Every runner in turn, from a random start.
    Naive,
    /// Consistent hash of the function's name: the same runner first, while it is there.
    #[default]
    Ch,
    /// The same, but that no runner is filled beyond a bound.
    RingBounded,
    /// Of two random runners the one with fewer calls.
    P2c,
    /// Of two random runners the one that costs less by latency and calls.
    P2cEwma,
    /// The runner with the fewest calls.
    LeastLoaded,
    /// An idle warm worker, else the runner with the fewest calls.
    IdlePull,
    /// Probed load and latency.
    Prequal,
    /// An idle warm worker, else wait for one as long as that is cheaper than a start.
    DelayPull,
}

/// The strategies' own settings: `[placement.delay_pull]` and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacerSettings {
    /// Of `delay-pull`.
    pub delay_pull: DelayPullConfig,
    /// Of `prequal`.
    pub prequal: PrequalConfig,
    /// Of `ring-bounded`.
    pub ring_bounded: RingBoundedConfig,
    /// Of `p2c-ewma`.
    pub p2c: TwoChoicesConfig,
}

/// `[placement]`. The three times of Fn have Fn's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// The strategy.
    pub placer: PlacerChoice,
    /// Pause after every runner refused, before all are tried again.
    #[serde(with = "human_duration")]
    pub retry_all_delay: Duration,
    /// How long placing a call may take. Does not bound the run itself.
    #[serde(with = "human_duration")]
    pub placer_timeout: Duration,
    /// The same for a detached call: until it has started.
    #[serde(with = "human_duration")]
    pub detached_placer_timeout: Duration,
    /// How long one attempt may stay without a sign of life from the runner: a connection, then the head of the answer or proof
    /// that the agent has the call in hand. A runner that shows none has the call, perhaps: the client gets a 504.
    #[serde(with = "human_duration")]
    pub attempt_timeout: Duration,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            placer: PlacerChoice::default(),
            retry_all_delay: Duration::from_millis(10),
            placer_timeout: Duration::from_secs(360),
            detached_placer_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(5),
        }
    }
}

impl PlacementConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        [
            // Without a pause a call that nobody takes would spin.
            ("retry_all_delay", self.retry_all_delay),
            ("placer_timeout", self.placer_timeout),
            ("detached_placer_timeout", self.detached_placer_timeout),
            ("attempt_timeout", self.attempt_timeout),
        ]
        .into_iter()
        .filter(|(_, duration)| duration.is_zero())
        .map(|(key, _)| InvalidValue::new(key, "more than 0s"))
        .collect()
    }

    /// The times that the placing loop obeys.
    pub const fn rules(&self) -> Rules {
        Rules {
            retry_all_delay: self.retry_all_delay,
            placer_timeout: self.placer_timeout,
            detached_placer_timeout: self.detached_placer_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_zero_are_named() {
        assert_eq!(PlacementConfig::default().validate(), []);
        let config = PlacementConfig { retry_all_delay: Duration::ZERO, ..PlacementConfig::default() };
        assert_eq!(config.validate(), [InvalidValue::new("retry_all_delay", "more than 0s")]);
    }
}
