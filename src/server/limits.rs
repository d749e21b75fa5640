//! What one listener allows: part of `[front]` and `[runner]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, InvalidValue, human_duration};

/// The word with which an operator opens a listener beyond loopback although nothing there asks who is calling (P8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// Anybody who can reach the address may use it.
    WithoutAuthentication,
}

impl Exposure {
    /// What is wrong with listening on `listen` under the word `exposure`, if anything: key `listen`.
    pub fn check(exposure: Option<Self>, listen: SocketAddr) -> Option<InvalidValue> {
        let is_allowed = listen.ip().is_loopback() || exposure == Some(Self::WithoutAuthentication);
        let expected =
            "a loopback address, or expose = \"without-authentication\" beside it, since nothing there asks who is calling";
        (!is_allowed).then(|| InvalidValue::new("listen", expected))
    }
}

/// Limits of one listener. Every one is a bound that a client cannot pass (P5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionLimits {
    /// Connections at once. Beyond it, no more are accepted until one ends: they wait in the kernel's queue.
    pub max_connections: usize,
    /// How long the head of a request may take from the connection's first byte, or from the end of the last answer.
    #[serde(with = "human_duration")]
    pub header_timeout: Duration,
    /// The longest head of a request.
    pub max_header_size: ByteSize,
    /// The most header fields of a request.
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            header_timeout: Duration::from_secs(30),
            max_header_size: ByteSize::kib(64),
            max_headers: 100,
            max_streams: 200,
        }
    }
}

impl ConnectionLimits {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.max_connections == 0 {
            invalid.push(InvalidValue::new("max_connections", "at least 1"));
        }
        if self.header_timeout.is_zero() {
            invalid.push(InvalidValue::new("header_timeout", "more than 0s"));
        }
        // Below 8 KiB hyper has no room to read, above 4 GiB HTTP/2 has no number for it; a sensible bound is far below.
        if !(ByteSize::kib(8)..=ByteSize::mib(16)).contains(&self.max_header_size) {
            invalid.push(InvalidValue::new("max_header_size", "from 8KiB to 16MiB"));
        }
        // A header map holds at most 32,768 fields.
        if !(1..=10_000).contains(&self.max_headers) {
            invalid.push(InvalidValue::new("max_headers", "from 1 to 10000"));
        }
        if self.max_streams == 0 {
            invalid.push(InvalidValue::new("max_streams", "at least 1"));
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_beyond_loopback_needs_the_word() {
        let check = |exposure, address: &str| Exposure::check(exposure, address.parse().unwrap()).is_none();
        assert!(check(None, "127.0.0.1:80") && check(None, "[::1]:80"));
        assert!(!check(None, "0.0.0.0:80") && !check(None, "[::]:80") && !check(None, "10.0.0.1:80"));
        assert!(check(Some(Exposure::WithoutAuthentication), "0.0.0.0:80"));
    }

    #[test]
    fn limits_of_zero_are_named() {
        assert_eq!(ConnectionLimits::default().validate(), []);
        let zero = ConnectionLimits {
            max_connections: 0,
            header_timeout: Duration::ZERO,
            max_header_size: ByteSize(0),
            max_headers: 0,
            max_streams: 0,
        };
        let keys: Vec<String> = zero.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["max_connections", "header_timeout", "max_header_size", "max_headers", "max_streams"]);
    }
}
