//! `[front]`, `[admin]` and `[[route]]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forwarding::ForwardedStyle;
use crate::model::{ByteSize, FunctionName, InvalidValue, human_duration};
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
    /// Memory for bodies that are held, of all calls together; a call that finds none is answered 503 `overloaded`.
    pub max_buffered: ByteSize,
    /// Whether other processes of the same user may listen on the same address, for a restart without a gap: the next process listens before this one ends.
    pub reuse_port: bool,
    /// The name that runners read in `Via`; empty: there is none. A request that has passed this name already is answered 508.
    pub via: String,
    /// Proxies before this one whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_hops: u32,
    /// How runners are told who called.
    pub forwarded: ForwardedStyle,
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
            max_buffered: ByteSize::mib(256),
            reuse_port: false,
            via: "runpool".to_owned(),
            trusted_hops: 0,
            forwarded: ForwardedStyle::default(),
            limits: ConnectionLimits::default(),
        }
    }
}

impl FrontConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid: Vec<InvalidValue> = Exposure::check(self.expose, self.listen).into_iter().collect();
        if self.max_in_flight == 0 {
            invalid.push(InvalidValue::new("max_in_flight", "at least 1"));
        }
        if self.held_body > self.max_body {
            invalid.push(InvalidValue::new("held_body", format!("at most max_body ({})", self.max_body)));
        }
        if self.body_timeout.is_zero() {
            invalid.push(InvalidValue::new("body_timeout", "more than 0s"));
        }
        if self.max_buffered < self.held_body {
            invalid.push(InvalidValue::new("max_buffered", format!("at least held_body ({})", self.held_body)));
        }
        // A pseudonym is a token (RFC 9110 section 7.6.3).
        if !self.via.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte)) {
            invalid.push(InvalidValue::new("via", "a name of letters, digits and `-._~:`, or \"\" for none"));
        }
        invalid.extend(self.limits.validate().into_iter().map(|value| value.within("limits")));
        invalid
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
    /// Calls of which the balancer remembers why they went where they went, for `runpool explain`; 0 is none. Some hundred bytes each.
    pub explained_calls: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), expose: None, ready_runners: 1, explained_calls: 4_096 }
    }
}

/// All that are remembered are looked through for one.
const MOST_EXPLAINED: usize = 1_000_000;

impl AdminConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid: Vec<InvalidValue> = Exposure::check(self.expose, self.listen).into_iter().collect();
        if self.explained_calls > MOST_EXPLAINED {
            invalid.push(InvalidValue::new("explained_calls", format!("at most {MOST_EXPLAINED}")));
        }
        invalid
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
    /// Protocols that clients may switch to here, such as `websocket`; of all others no runner hears. Only plain runners are asked to switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrade: Vec<String>,
}

impl RouteConfig {
    /// The values that cannot be used. Whether the function exists is not known here.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if !self.path.starts_with('/') || self.path.contains(['?', '#']) {
            invalid.push(InvalidValue::new("path", "a path that starts with `/` and has no query, such as \"/\" or \"/shop\""));
        }
        // A colon would be a port, unless it belongs to an IPv6 address in brackets.
        let is_host =
            |host: &str| !host.is_empty() && !host.contains(['/', ' ', '@']) && (host.starts_with('[') || !host.contains(':'));
        if self.host.as_deref().is_some_and(|host| !is_host(host)) {
            invalid.push(InvalidValue::new("host", "a host name without scheme, port and path, such as \"shop.example\""));
        }
        invalid
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(invalid: Vec<InvalidValue>) -> Vec<String> {
        invalid.into_iter().map(|value| value.key).collect()
    }

    #[test]
    fn what_a_front_cannot_be_is_named() {
        assert_eq!(FrontConfig::default().validate(), []);
        let mut config = FrontConfig {
            listen: "0.0.0.0:80".parse().unwrap(),
            max_in_flight: 0,
            max_body: ByteSize(1),
            body_timeout: Duration::ZERO,
            ..FrontConfig::default()
        };
        config.limits.max_streams = 0;
        assert_eq!(keys(config.validate()), ["listen", "max_in_flight", "held_body", "body_timeout", "limits.max_streams"]);
        let admin = AdminConfig { listen: "0.0.0.0:81".parse().unwrap(), ..AdminConfig::default() };
        assert_eq!(keys(admin.validate()), ["listen"]);
    }

    #[test]
    fn what_a_route_cannot_be_is_named() {
        let route = |host: Option<&str>, path: &str| RouteConfig {
            host: host.map(str::to_owned),
            path: path.to_owned(),
            function: "f".parse().unwrap(),
            forward: Forward::AsIs,
            upgrade: Vec::new(),
        };
        for (host, path) in [(None, "/"), (Some("shop.example"), "/a/b"), (Some("[::1]"), "/")] {
            assert_eq!(route(host, path).validate(), [], "{host:?} {path}");
        }
        for path in ["", "a", "/a?b", "/a#b"] {
            assert_eq!(keys(route(None, path).validate()), ["path"], "{path}");
        }
        for host in ["", "http://shop", "shop:80", "a b"] {
            assert_eq!(keys(route(Some(host), "/").validate()), ["host"], "{host}");
        }
    }
}
