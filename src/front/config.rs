//! `[front]`, `[admin]` and `[[route]]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, FunctionName, human_duration};
use crate::server::{ConnectionLimits, Exposure};

/// `[front]`: where clients call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrontConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Needed for an address that is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
    /// Calls in hand at once; one more is answered 503 `overloaded`.
    pub max_in_flight: usize,
    /// The longest body of a call; a longer one is answered 413.
    pub max_body: ByteSize,
    /// A body up to this length is held until a runner took the call, so that several can be tried. A longer one streams.
    pub held_body: ByteSize,
    /// How long a body that is to be held may take to arrive.
    #[serde(with = "human_duration")]
    pub body_timeout: Duration,
    /// Limits of the listener.
    pub limits: ConnectionLimits,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            expose: None,
            max_in_flight: 10_000,
            max_body: ByteSize::gib(1),
            held_body: ByteSize::kib(64),
            body_timeout: Duration::from_secs(60),
            limits: ConnectionLimits::default(),
        }
    }
}

/// `[admin]`: where operators look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Needed for an address that is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
    /// Runners that the pool must have before `/readyz` says ready.
    pub ready_runners: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), expose: None, ready_runners: 1 }
    }
}

/// What of the client's path reaches the runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The whole path, unchanged.
    AsIs,
    /// The path below the route's.
    #[default]
    BelowRoute,
}

/// One `[[route]]`: which requests go to which function. The longest matching path wins; a route with a host wins over one without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The host the client asked for, without port; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path prefix, in whole segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    pub path: String,
    /// The function.
    pub function: FunctionName,
    /// What of the path reaches the runner.
    #[serde(default)]
    pub forward: Forward,
}

/// `[shutdown]`: how long ending may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// From the signal until the listeners close: `/readyz` answers 503, calls are still taken, whoever balances before us looks away.
    #[serde(with = "human_duration")]
    pub grace: Duration,
    /// From then until calls in flight are cut.
    #[serde(with = "human_duration")]
    pub deadline: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(2), deadline: Duration::from_secs(30) }
    }
}
