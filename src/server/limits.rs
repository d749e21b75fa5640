//! What one listener allows: part of `[front]` and `[runner]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http1::HeadLimits;
use crate::model::{ByteSize, InvalidValue, human_duration};

/// The word with which an operator opens a listener beyond loopback although nothing there asks who is calling (P8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// Anybody who can reach the address may use it.
    WithoutAuthentication,
}

/// Who comes in at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Whoever reaches it. What would change that, to be read after "or": `tls.client_certificates = "required"`.
    Anybody(&'static str),
    /// Who has shown who it is, by a token or a certificate.
    Authenticated,
}

impl Exposure {
    /// What is wrong with listening on `listen` under the word `exposure`, if anything: key `listen`.
    pub fn check(exposure: Option<Self>, listen: SocketAddr, admitted: Admitted) -> Option<InvalidValue> {
        let Admitted::Anybody(remedy) = admitted else { return None };
        let is_allowed = listen.ip().is_loopback() || exposure == Some(Self::WithoutAuthentication);
        let expected = format!(
            "a loopback address, or {remedy}, or expose = \"without-authentication\" beside it, since nothing there asks who is calling"
        );
        (!is_allowed).then(|| InvalidValue::new("listen", expected))
    }
}

/// Limits of one listener. Every one is a bound that a client cannot pass (P5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionLimits {
    /// Connections at once. Beyond it, no more are accepted until one ends: they wait in the kernel's queue.
    pub max_connections: usize,
    /// Of them, from one address; 0 is no limit. More are closed at once. Clients on this machine are not counted.
    pub max_connections_per_client: usize,
    /// How long the head of a request may take from its first byte, and the first head from the beginning of the connection.
    #[serde(with = "human_duration")]
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    #[serde(with = "human_duration")]
    pub idle_timeout: Duration,
    /// How long a body may stand still while it is read.
    #[serde(with = "human_duration")]
    pub body_timeout: Duration,
    /// How long an answer may stand still because its client takes nothing.
    #[serde(with = "human_duration")]
    pub write_timeout: Duration,
    /// How long a request may take from its head to the last byte of its answer. A tunnel has no such limit.
    #[serde(with = "human_duration")]
    pub total_timeout: Duration,
    /// The longest head of a request.
    pub max_header_size: ByteSize,
    /// The longest target of a request.
    pub max_target_size: ByteSize,
    /// The most header fields of a request.
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_connections_per_client: 4_096,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(3_600),
            max_header_size: ByteSize::kib(64),
            max_target_size: ByteSize::kib(16),
            max_headers: 100,
            max_streams: 200,
        }
    }
}

impl ConnectionLimits {
    /// What a head may be.
    pub(super) fn head(&self) -> HeadLimits {
        let size = |size: ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        HeadLimits { max_size: size(self.max_header_size), max_target: size(self.max_target_size), max_fields: self.max_headers }
    }

    /// The shortest of the times: how often a connection has to look at its clock.
    pub(super) fn shortest_time(&self) -> Duration {
        self.header_timeout.min(self.idle_timeout).min(self.body_timeout).min(self.write_timeout).min(self.total_timeout)
    }

    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.max_connections == 0 {
            invalid.push(InvalidValue::new("max_connections", "at least 1"));
        }
        let times = [
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("body_timeout", self.body_timeout),
            ("write_timeout", self.write_timeout),
            ("total_timeout", self.total_timeout),
        ];
        let zero = times.iter().filter(|(_, time)| time.is_zero());
        invalid.extend(zero.map(|(name, _)| InvalidValue::new(*name, "more than 0s")));
        // Below 8 KiB hyper has no room to read, above 4 GiB HTTP/2 has no number for it; a sensible bound is far below.
        if !(ByteSize::kib(8)..=ByteSize::mib(16)).contains(&self.max_header_size) {
            invalid.push(InvalidValue::new("max_header_size", "from 8KiB to 16MiB"));
        }
        if !(ByteSize(256)..=self.max_header_size).contains(&self.max_target_size) {
            invalid.push(InvalidValue::new("max_target_size", "from 256B to max_header_size"));
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
        let check =
            |exposure, address: &str| Exposure::check(exposure, address.parse().unwrap(), Admitted::Anybody("a lock")).is_none();
        assert!(check(None, "127.0.0.1:80") && check(None, "[::1]:80"));
        assert!(!check(None, "0.0.0.0:80") && !check(None, "[::]:80") && !check(None, "10.0.0.1:80"));
        assert!(check(Some(Exposure::WithoutAuthentication), "0.0.0.0:80"));
        assert_eq!(Exposure::check(None, "0.0.0.0:80".parse().unwrap(), Admitted::Authenticated), None);
        let told = Exposure::check(None, "0.0.0.0:80".parse().unwrap(), Admitted::Anybody("a lock")).unwrap();
        assert!(told.expected.starts_with("a loopback address, or a lock, or expose = "), "{told:?}");
    }

    #[test]
    fn limits_of_zero_are_named() {
        assert_eq!(ConnectionLimits::default().validate(), []);
        let zero = ConnectionLimits {
            max_connections: 0,
            max_connections_per_client: 0,
            header_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            total_timeout: Duration::ZERO,
            max_header_size: ByteSize(0),
            max_target_size: ByteSize(0),
            max_headers: 0,
            max_streams: 0,
        };
        let keys: Vec<String> = zero.validate().into_iter().map(|value| value.key).collect();
        let expected = [
            "max_connections",
            "header_timeout",
            "idle_timeout",
            "body_timeout",
            "write_timeout",
            "total_timeout",
            "max_header_size",
            "max_target_size",
            "max_headers",
            "max_streams",
        ];
        assert_eq!(keys, expected);
    }
}
