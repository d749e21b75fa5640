//! `[pool]`: which runners there are and how they are spoken to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{human_duration, option_human_duration};
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
