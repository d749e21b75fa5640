//! `[pool.health]`: when a runner is left out, and when it is let in again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{InvalidValue, human_duration};

/// How a plain server is asked whether it is well. Agents are always asked for their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainCheck {
    /// Not at all: only what happens to calls counts, and an ejected server is tried again when its time is over; one that cannot be reached, when a
    /// connection can be made again.
    #[default]
    None,
    /// By making a connection.
    Connect,
    /// By a GET of `path`, which must be answered with a status from 200 to 399.
    Get,
}

/// `[pool.health]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// How plain servers are asked: `none`, `connect`, or `get`.
    pub plain_check: PlainCheck,
    /// What `get` asks for.
    pub path: String,
    /// Time between two questions to one runner, with a jitter of a tenth; longer where that would be more than 1,000 questions in a second. Zero asks
    /// nobody.
    #[serde(with = "human_duration")]
    pub interval: Duration,
    /// The same while the runner is ejected: how soon it is seen that it is back. One that cannot be reached is knocked at each 20 milliseconds at first,
    /// then each two-hundredth of its time away, up to this.
    #[serde(with = "human_duration")]
    pub return_interval: Duration,
    /// How long an answer may take. Longer than the status function, if agents have one.
    #[serde(with = "human_duration")]
    pub timeout: Duration,
    /// Questions without a good answer, one after the other, that eject.
    pub failed_checks: u32,
    /// Calls that fail one after the other that eject.
    pub failed_calls: u32,
    /// The share of calls that must succeed within `window`; 0 does not look at it.
    pub success_rate: f64,
    /// Calls within `window` below which their share says nothing.
    pub success_rate_calls: u32,
    /// How long calls count for their share.
    #[serde(with = "human_duration")]
    pub window: Duration,
    /// How long a runner whose calls failed is left out: this, times how often it was lately.
    #[serde(with = "human_duration")]
    pub ejection: Duration,
    /// But no longer than this.
    #[serde(with = "human_duration")]
    pub max_ejection: Duration,
    /// The largest share of the pool that may be ejected at once. The last runner never is.
    pub max_ejected_share: f64,
    /// How long the weight of a runner that is let in, or joins a pool that is in use, grows from a tenth to the whole. Zero: at once.
    #[serde(with = "human_duration")]
    pub slow_start: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            plain_check: PlainCheck::None,
            path: "/".to_owned(),
            interval: Duration::from_secs(1),
            return_interval: Duration::from_millis(200),
            timeout: Duration::from_millis(500),
            failed_checks: 2,
            failed_calls: 5,
            success_rate: 0.5,
            success_rate_calls: 20,
            window: Duration::from_secs(10),
            ejection: Duration::from_secs(5),
            max_ejection: Duration::from_secs(60),
            max_ejected_share: 0.5,
            slow_start: Duration::ZERO,
        }
    }
}

impl HealthConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.path.parse::<http::uri::PathAndQuery>().is_err() || !self.path.starts_with('/') {
            invalid.push(InvalidValue::new("path", "a path that begins with /"));
        }
        for (key, duration) in [
            ("return_interval", self.return_interval),
            ("timeout", self.timeout),
            ("window", self.window),
            ("ejection", self.ejection),
        ] {
            if duration.is_zero() {
                invalid.push(InvalidValue::new(key, "more than 0s"));
            }
        }
        if self.max_ejection < self.ejection {
            invalid.push(InvalidValue::new("max_ejection", "not less than ejection"));
        }
        for (key, number) in [("failed_checks", self.failed_checks), ("failed_calls", self.failed_calls)] {
            if number == 0 {
                invalid.push(InvalidValue::new(key, "at least 1"));
            }
        }
        for (key, share) in [("success_rate", self.success_rate), ("max_ejected_share", self.max_ejected_share)] {
            if !(0.0..=1.0).contains(&share) {
                invalid.push(InvalidValue::new(key, "from 0.0 to 1.0"));
            }
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(HealthConfig::default().validate(), []);
        let config = HealthConfig {
            path: "healthz".into(),
            timeout: Duration::ZERO,
            max_ejection: Duration::ZERO,
            failed_calls: 0,
            max_ejected_share: 1.5,
            ..HealthConfig::default()
        };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["path", "timeout", "max_ejection", "failed_calls", "max_ejected_share"]);
    }
}
