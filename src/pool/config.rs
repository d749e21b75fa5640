//! `[pool]`: which runners there are and how they are spoken to.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::{ADDRESS_EXPECTED, RunnerEntry};
use super::health::HealthConfig;
use super::sources::{DnsConfig, FileConfig, RegistrationConfig};
use crate::model::{InvalidValue, human_duration, option_human_duration};
use crate::runner::http::{HttpRunnerSettings, HttpVersion, InvalidAddress, Protocol, RunnerAddress};
use crate::tls::ClientTlsConfig;

/// `[pool]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How the balancer speaks to its runners.
    pub protocol: Protocol,
    /// Which HTTP plain servers are spoken to in: `"1.1"`, or `"2"` in the clear with prior knowledge (RFC 9113 section 3.3), which gRPC needs.
    pub http: HttpVersion,
    /// The runners, each once: `"host:port"`, or a table with `address`, `weight`, `labels`, `max_in_flight`, `max_connections`, `slots`. A name is
    /// looked up whenever a connection is made.
    pub runners: Vec<RunnerEntry>,
    /// TLS to the runners, all of them or none.
    pub tls: ClientTlsConfig,
    /// How long making a connection may take, the TLS handshake included, before the attempt counts as refused.
    #[serde(with = "human_duration")]
    pub connect_timeout: Duration,
    /// How long the last unused connection is kept; of those that a burst has left, half goes every second. Default: 60 s to agents, which never close
    /// first; 4 s to plain servers, of which many close after 5 s.
    #[serde(with = "option_human_duration", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Unused connections kept for each runner; 0 makes a new one for every call.
    pub max_idle_connections: usize,
    /// Statuses of a plain server that mean "not taken, try another", 400 to 599. 503 counts only together with `Retry-After`: a bare one
    /// is an answer, since functions use it for failures of their own, after they ran.
    pub refusal_statuses: Vec<u16>,
    /// Whether a 503 without `Retry-After` is a refusal too: only for servers that never answer so after they have run something.
    pub bare_503_refuses: bool,
    /// When a runner is left out, and when it is let in again.
    pub health: HealthConfig,
    /// Runners listed in a file of their own.
    pub file: FileConfig,
    /// Runners listed by a name server.
    pub dns: DnsConfig,
    /// Runners that register themselves.
    pub registration: RegistrationConfig,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            protocol: Protocol::Agent,
            http: HttpVersion::Http1,
            runners: Vec::new(),
            tls: ClientTlsConfig::default(),
            connect_timeout: Duration::from_secs(1),
            idle_timeout: None,
            max_idle_connections: 1_024,
            refusal_statuses: vec![503],
            bare_503_refuses: false,
            health: HealthConfig::default(),
            file: FileConfig::default(),
            dns: DnsConfig::default(),
            registration: RegistrationConfig::default(),
        }
    }
}

/// A `[pool]` of which no runners could be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPoolConfig {
    /// A value that [`PoolConfig::validate`] does not let through.
    #[error("pool.{}: expected {}", .0.key, .0.expected)]
    Value(InvalidValue),
    /// A runner has no proper address.
    #[error("pool.runners[{index}]: {source}")]
    Address {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: InvalidAddress,
    },
}

impl PoolConfig {
    /// The values that cannot be used. Nothing is asked of any runner.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        let mut seen = HashSet::with_capacity(self.runners.len());
        for (index, entry) in self.runners.iter().enumerate() {
            let key = || format!("runners[{index}]");
            match entry.address.parse::<RunnerAddress>() {
                Err(_) => invalid.push(InvalidValue::new(key(), ADDRESS_EXPECTED)),
                Ok(address) if !seen.insert((address.host().to_owned(), address.port())) => {
                    invalid.push(InvalidValue::new(key(), "each runner once"));
                }
                Ok(_) => {}
            }
            let others = entry.validate().into_iter().filter(|value| value.key != "address");
            invalid.extend(others.map(|value| value.within(&key())));
        }
        let parts = [
            ("tls", self.tls.validate()),
            ("health", self.health.validate()),
            ("dns", self.dns.validate()),
            ("registration", self.registration.validate()),
        ];
        invalid.extend(parts.into_iter().flat_map(|(name, values)| values.into_iter().map(|value| value.within(name))));
        if self.protocol == Protocol::Agent && self.http != HttpVersion::Http1 {
            invalid.push(InvalidValue::new("http", "\"1.1\" to agents; \"2\" is for protocol = \"plain\""));
        }
        if self.http != HttpVersion::Http1 && self.tls.is_on() {
            invalid.push(InvalidValue::new("http", "\"1.1\" by TLS, which offers no other"));
        }
        if self.connect_timeout.is_zero() {
            invalid.push(InvalidValue::new("connect_timeout", "more than 0s"));
        }
        if self.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
            invalid.push(InvalidValue::new("idle_timeout", "more than 0s; max_idle_connections = 0 keeps none"));
        }
        if self.refusal_statuses.iter().any(|status| !(400..=599).contains(status)) {
            invalid.push(InvalidValue::new("refusal_statuses", "statuses from 400 to 599"));
        }
        invalid
    }

    /// Whether anything is configured that could list a runner.
    pub const fn has_sources(&self) -> bool {
        !self.runners.is_empty() || self.file.path.is_some() || self.dns.name.is_some() || self.registration.enabled
    }

    /// The settings of every runner of this pool, but for TLS, which is files that somebody has to load. `attempt_timeout` is that of
    /// `[placement]`.
    pub fn runner_settings(&self, attempt_timeout: Duration) -> HttpRunnerSettings {
        HttpRunnerSettings {
            protocol: self.protocol,
            http: self.http,
            connect_timeout: self.connect_timeout,
            attempt_timeout,
            idle_timeout: self.idle_timeout.unwrap_or_else(|| self.protocol.default_idle_timeout()),
            max_idle_connections: self.max_idle_connections,
            refusal_statuses: self.refusal_statuses.clone(),
            bare_503_refuses: self.bare_503_refuses,
            ..HttpRunnerSettings::new(self.protocol)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(runners: &[&str]) -> PoolConfig {
        PoolConfig { runners: runners.iter().map(|&runner| runner.into()).collect(), ..PoolConfig::default() }
    }

    #[test]
    fn what_a_pool_cannot_be_is_named() {
        assert_eq!(PoolConfig::default().validate(), []);
        let config = PoolConfig {
            http: HttpVersion::Http2,
            runners: vec!["a:1".into(), "a:1".into(), "b".into()],
            connect_timeout: Duration::ZERO,
            idle_timeout: Some(Duration::ZERO),
            refusal_statuses: vec![503, 200],
            ..PoolConfig::default()
        };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["runners[1]", "runners[2]", "http", "connect_timeout", "idle_timeout", "refusal_statuses"]);
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
