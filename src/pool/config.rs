//! `[pool]`: which runners there are and how they are spoken to.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::snapshot::DuplicateRunner;
use crate::model::{human_duration, option_human_duration};
use crate::runner::http::{HttpRunnerSettings, InvalidAddress, Protocol, RunnerAddress};

/// `[pool]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How the balancer speaks to its runners.
    pub protocol: Protocol,
    /// Addresses, `host:port`, each once. A name is looked up whenever a connection is made.
    pub runners: Vec<String>,
    /// How long making a connection may take before the attempt counts as refused.
    #[serde(with = "human_duration")]
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Default: 60 s to agents, which never close first; 4 s to plain servers, of which
    /// many close after 5 s.
    #[serde(with = "option_human_duration", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Unused connections kept for each runner; 0 makes a new one for every call.
    pub max_idle_connections: usize,
    /// Statuses of a plain server that mean "not taken, try another", 400 to 599. 503 counts only together with `Retry-After`: a bare one
    /// is an answer, since functions use it for failures of their own, after they ran.
    pub refusal_statuses: Vec<u16>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            protocol: Protocol::Agent,
            runners: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            idle_timeout: None,
            max_idle_connections: 1_024,
            refusal_statuses: vec![503],
        }
    }
}

/// A `[pool]` that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPoolConfig {
    /// A runner has no proper address.
    #[error("pool.runners[{index}]: {source}")]
    Address {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: InvalidAddress,
    },
    /// A runner is there twice.
    #[error("pool.runners[{index}] is `{address}`, as is pool.runners[{first}]: expected every runner once")]
    Duplicate {
        /// Its place in the list, from 0.
        index: usize,
        /// The place of the same runner before.
        first: usize,
        /// The runner.
        address: String,
    },
    /// Two runners are known by one name, which the checks before do not let through.
    #[error("pool.runners: {0}")]
    OneName(#[from] DuplicateRunner),
    /// A status that is no error cannot be a refusal.
    #[error("pool.refusal_statuses has {status}: expected statuses from 400 to 599")]
    RefusalStatus {
        /// The status.
        status: u16,
    },
    /// No connection can be made in no time.
    #[error("pool.connect_timeout is 0s: expected a duration above zero, such as \"1s\"")]
    ConnectTimeout,
}

impl PoolConfig {
    /// Checks everything that can be checked without asking a runner.
    ///
    /// # Errors
    /// The first value that is wrong, with its key and what was expected.
    pub fn validate(&self) -> Result<(), InvalidPoolConfig> {
        let mut seen = HashMap::with_capacity(self.runners.len());
        for (index, text) in self.runners.iter().enumerate() {
            let address: RunnerAddress = text.parse().map_err(|source| InvalidPoolConfig::Address { index, source })?;
            let place = (address.host().to_owned(), address.port());
            if let Some(first) = seen.insert(place, index) {
                return Err(InvalidPoolConfig::Duplicate { index, first, address: text.clone() });
            }
        }
        if let Some(status) = self.refusal_statuses.iter().copied().find(|status| !(400..=599).contains(status)) {
            return Err(InvalidPoolConfig::RefusalStatus { status });
        }
        if self.connect_timeout.is_zero() {
            return Err(InvalidPoolConfig::ConnectTimeout);
        }
        Ok(())
    }

    /// The settings of every runner of this pool. `attempt_timeout` is that of `[placement]`.
    pub fn runner_settings(&self, attempt_timeout: Duration) -> HttpRunnerSettings {
        HttpRunnerSettings {
            protocol: self.protocol,
            connect_timeout: self.connect_timeout,
            attempt_timeout,
            idle_timeout: self.idle_timeout.unwrap_or_else(|| self.protocol.default_idle_timeout()),
            max_idle_connections: self.max_idle_connections,
            refusal_statuses: self.refusal_statuses.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(runners: &[&str]) -> PoolConfig {
        PoolConfig { runners: runners.iter().map(|&runner| runner.to_owned()).collect(), ..PoolConfig::default() }
    }

    #[test]
    fn a_wrong_pool_names_the_key_the_value_and_what_was_expected() {
        let wrong = [
            (
                pool(&["127.0.0.1:9001", "9002"]),
                "pool.runners[1]: `9002` is not the address of a runner: it has no port; expected `host:port`, such as",
            ),
            (
                pool(&["Runner:9001", "other:9001", "runner:9001"]),
                "pool.runners[2] is `runner:9001`, as is pool.runners[0]: expected every runner once",
            ),
            (
                PoolConfig { refusal_statuses: vec![503, 200], ..pool(&[]) },
                "pool.refusal_statuses has 200: expected statuses from 400 to 599",
            ),
            (
                PoolConfig { connect_timeout: Duration::ZERO, ..pool(&[]) },
                "pool.connect_timeout is 0s: expected a duration above zero",
            ),
        ];
        for (config, expected) in wrong {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(pool(&["127.0.0.1:9001", "127.0.0.1:9002", "[::1]:9001"]).validate(), Ok(()));
    }

    #[test]
    fn unused_connections_are_kept_shorter_to_plain_servers_unless_configured() {
        let plain = PoolConfig { protocol: Protocol::Plain, ..pool(&[]) };
        let kept = |config: &PoolConfig| config.runner_settings(Duration::from_secs(5)).idle_timeout;
        assert_eq!(kept(&plain), Duration::from_secs(4));
        assert_eq!(kept(&pool(&[])), Duration::from_secs(60));
        assert_eq!(kept(&PoolConfig { idle_timeout: Some(Duration::from_secs(1)), ..plain }), Duration::from_secs(1));
    }
}
