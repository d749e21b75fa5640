//! `[pool]`: which runners there are and how they are spoken to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{InvalidValue, human_duration, option_human_duration};
use crate::runner::http::Protocol;

/// `[pool]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How the balancer speaks to its runners.
    pub protocol: Protocol,
    /// Addresses, `host:port`.
    pub runners: Vec<String>,
    /// How long making a connection may take before the attempt counts as refused.
    #[serde(with = "human_duration")]
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Default: 60 s to agents, which never close first; 4 s to plain servers, of which
    /// many close after 5 s.
    #[serde(with = "option_human_duration", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Unused connections kept for each runner.
    pub max_idle_connections: usize,
    /// Statuses of a plain server that mean "not taken, try another".
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

impl PoolConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        for (index, address) in self.runners.iter().enumerate() {
            let key = format!("runners[{index}]");
            if !is_address(address) {
                invalid.push(InvalidValue::new(key, "host:port, such as \"10.0.0.7:9001\", \"runner-1:9001\" or \"[::1]:9001\""));
            } else if self.runners.iter().take(index).any(|earlier| earlier == address) {
                invalid.push(InvalidValue::new(key, "each runner once"));
            }
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
}

/// Whether the text is `host:port`. Names are looked up only when a connection is made.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    is_host && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for address in ["127.0.0.1:9001", "runner-1:80", "a_b.example:65535", "[::1]:9001"] {
            assert!(is_address(address), "{address}");
        }
        for address in [
            "",
            "host",
            ":80",
            "host:",
            "host:0",
            "host:+80",
            "host:65536",
            "http://host:80",
            "::1:80",
            "[x]:80",
            "u@host:80",
            "a b:80",
        ] {
            assert!(!is_address(address), "{address}");
        }
    }

    #[test]
    fn what_a_pool_cannot_be_is_named() {
        assert_eq!(PoolConfig::default().validate(), []);
        let config = PoolConfig {
            runners: vec!["a:1".into(), "a:1".into(), "b".into()],
            connect_timeout: Duration::ZERO,
            idle_timeout: Some(Duration::ZERO),
            refusal_statuses: vec![503, 200],
            ..PoolConfig::default()
        };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["runners[1]", "runners[2]", "connect_timeout", "idle_timeout", "refusal_statuses"]);
    }
}
