//! `[placement]`: the strategy and its times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::FunctionFacts;
use super::placers::delay_pull::DelayPullConfig;
use super::placers::prequal::PrequalConfig;
use super::placers::ring_bounded::RingBoundedConfig;
use super::placers::two_choices::TwoChoicesConfig;
use super::placing_loop::LoopRules;
use super::wait_queue::WaitLimits;
use crate::model::{ByteSize, Format, Function, FunctionName, InvalidValue, human_duration};

/// The strategies that a configuration can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacerChoice {
    /// Every runner in turn, from a random start.
    Naive,
    /// Consistent hash of the function's name: the same runner first, while it is there.
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
    /// An idle warm worker, else wait for one as long as that is cheaper than a start; the least loaded, where nothing is warm.
    #[default]
    DelayPull,
}

impl PlacerChoice {
    /// Every strategy.
    pub const ALL: [Self; 9] = [
        Self::Naive,
        Self::Ch,
        Self::RingBounded,
        Self::P2c,
        Self::P2cEwma,
        Self::LeastLoaded,
        Self::IdlePull,
        Self::Prequal,
        Self::DelayPull,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Ch => "ch",
            Self::RingBounded => "ring-bounded",
            Self::P2c => "p2c",
            Self::P2cEwma => "p2c-ewma",
            Self::LeastLoaded => "least-loaded",
            Self::IdlePull => "idle-pull",
            Self::Prequal => "prequal",
            Self::DelayPull => "delay-pull",
        }
    }
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// The strategy of functions that do not name one.
    pub placer: PlacerChoice,
    /// What is special about single functions.
    pub function: BTreeMap<FunctionName, FunctionPlacement>,
    /// Who shares fairly while calls wait.
    pub fair_between: FairBetween,
    /// The most calls that wait; one more is refused.
    pub max_waiting: usize,
    /// The most bytes of bodies that waiting calls hold.
    pub max_waiting_bytes: ByteSize,
    /// The least pause before a runner that refused without saying when to come back is tried again. Runners that report their load are
    /// not tried before they say that they have room.
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
    /// A file that every event and decision is appended to, for `runpool sim --replay`. Grows by some hundred bytes a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
    /// Settings of `delay-pull`.
    pub delay_pull: DelayPullConfig,
    /// Settings of `prequal`.
    pub prequal: PrequalConfig,
    /// Settings of `ring-bounded`.
    pub ring_bounded: RingBoundedConfig,
    /// Settings of `p2c-ewma`.
    pub p2c: TwoChoicesConfig,
}

/// `[placement.function.NAME]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionPlacement {
    /// Its strategy; by default that of `[placement]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placer: Option<PlacerChoice>,
    /// Its share of what comes free while calls wait, against the other functions'; by default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Who takes turns while calls wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FairBetween {
    /// Functions.
    #[default]
    Functions,
    /// Apps: all functions of an app share one turn.
    Apps,
}

/// The times that placing a call obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long placing a call may take.
    pub placer_timeout: Duration,
    /// The same for a detached call.
    pub detached_placer_timeout: Duration,
    /// How soon a pool that was empty is asked again, at first.
    pub retry_all_delay: Duration,
}

/// The weight of a function of which nothing is said.
pub const DEFAULT_FUNCTION_WEIGHT: u32 = 100;

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            placer: PlacerChoice::default(),
            function: BTreeMap::new(),
            fair_between: FairBetween::default(),
            max_waiting: 10_000,
            max_waiting_bytes: ByteSize::mib(256),
            retry_all_delay: Duration::from_millis(10),
            placer_timeout: Duration::from_secs(360),
            detached_placer_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(5),
            record: None,
            delay_pull: DelayPullConfig::default(),
            prequal: PrequalConfig::default(),
            ring_bounded: RingBoundedConfig::default(),
            p2c: TwoChoicesConfig::default(),
        }
    }
}

impl PlacementConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let times = [
            // Without a pause a call that nobody takes would spin.
            ("retry_all_delay", self.retry_all_delay),
            ("placer_timeout", self.placer_timeout),
            ("detached_placer_timeout", self.detached_placer_timeout),
            ("attempt_timeout", self.attempt_timeout),
        ];
        let zero = times.into_iter().filter(|(_, duration)| duration.is_zero());
        let mut invalid: Vec<InvalidValue> = zero.map(|(key, _)| InvalidValue::new(key, "more than 0s")).collect();
        let weightless = self.function.iter().filter(|(_, function)| function.weight == Some(0));
        invalid.extend(weightless.map(|(name, _)| InvalidValue::new(format!("function.{name}.weight"), "1 or more")));
        let sections = [
            ("delay_pull", self.delay_pull.validate()),
            ("prequal", self.prequal.validate()),
            ("ring_bounded", self.ring_bounded.validate()),
            ("p2c", self.p2c.validate()),
        ];
        for (section, values) in sections {
            invalid.extend(values.into_iter().map(|value| value.within(section)));
        }
        invalid
    }

    /// The times that placing a call obeys.
    pub const fn times(&self) -> Times {
        Times {
            placer_timeout: self.placer_timeout,
            detached_placer_timeout: self.detached_placer_timeout,
            retry_all_delay: self.retry_all_delay,
        }
    }

    /// What the placing loop obeys.
    pub fn loop_rules(&self) -> LoopRules {
        LoopRules {
            retry_all_delay: self.retry_all_delay,
            waiting: WaitLimits { calls: self.max_waiting, bytes: self.max_waiting_bytes.bytes() },
            placers: PlacerSettings {
                delay_pull: self.delay_pull,
                prequal: self.prequal,
                ring_bounded: self.ring_bounded,
                p2c: self.p2c,
            },
        }
    }

    /// The strategy of a function.
    pub fn placer_of(&self, function: &FunctionName) -> PlacerChoice {
        self.function.get(function).and_then(|special| special.placer).unwrap_or(self.placer)
    }

    /// What placement has to know of a function.
    pub fn facts(&self, function: &Function) -> FunctionFacts {
        let special = self.function.get(function.name()).copied().unwrap_or_default();
        let name = function.name().to_string();
        FunctionFacts {
            placer: self.placer_of(function.name()),
            weight: special.weight.unwrap_or(DEFAULT_FUNCTION_WEIGHT),
            flow: match self.fair_between {
                FairBetween::Functions => name.clone(),
                FairBetween::Apps => function.spec.app.clone(),
            },
            memory: function.spec.memory.bytes(),
            concurrency: function.spec.concurrency,
            keeps_workers: function.spec.format == Format::HttpStream,
            name,
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
