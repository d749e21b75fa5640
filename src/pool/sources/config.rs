//! `[pool.file]`, `[pool.dns]`, `[pool.registration]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{NamedToken, validate_names};
use crate::model::{InvalidValue, human_duration};

/// `[pool.file]`: runners listed in a file of their own, which is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// The file: TOML with a list `runners`, or JSON with that or only the list if its name ends in `.json`. Relative to the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// What is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsRecord {
    /// IPv4 addresses; the port is configured.
    #[default]
    A,
    /// IPv6 addresses; the port is configured.
    Aaaa,
    /// Names and ports. Of several priorities the first counts; weights are taken over.
    Srv,
}

/// `[pool.dns]`: runners listed by a name server, asked again when the records' time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// The name, such as `runners.example.org` or `_runpool._tcp.example.org`. Absent: nothing is looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which records.
    pub record: DnsRecord,
    /// The port of all runners; not for SRV, which has its own.
    pub port: u16,
    /// The name server; those of the system if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<SocketAddr>,
    /// Records are not asked for again before this, however short their time.
    #[serde(with = "human_duration")]
    pub min_interval: Duration,
    /// And after this at the latest.
    #[serde(with = "human_duration")]
    pub max_interval: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            name: None,
            record: DnsRecord::A,
            port: 9001,
            server: None,
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
        }
    }
}

impl DnsConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.name.as_deref().is_some_and(|name| hickory_resolver::proto::rr::Name::from_utf8(name).is_err() || name.is_empty())
        {
            invalid.push(InvalidValue::new("name", "a DNS name, such as \"runners.example.org\""));
        }
        if self.port == 0 {
            invalid.push(InvalidValue::new("port", "from 1 to 65535"));
        }
        if self.min_interval.is_zero() {
            invalid.push(InvalidValue::new("min_interval", "more than 0s"));
        }
        if self.max_interval < self.min_interval {
            invalid.push(InvalidValue::new("max_interval", "not less than min_interval"));
        }
        invalid
    }
}

/// `[pool.registration]`: runners that register themselves with `PUT /v1/runners/{incarnation}` on the admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationConfig {
    /// Whether runners may.
    pub enabled: bool,
    /// How long a registration holds unless it is renewed.
    #[serde(with = "human_duration")]
    pub lease: Duration,
    /// The tokens that runners may show: `{ name = "cellar", hash = "sha256:…" }`. With one, one has to be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<NamedToken>,
    /// A file with more hashes, one a line. Relative to the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Lets runners register without a token. Only while the admin listener is on loopback.
    pub insecure: bool,
    /// How many may be registered at once.
    pub max_runners: usize,
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            lease: Duration::from_secs(10),
            tokens: Vec::new(),
            token_file: None,
            insecure: false,
            max_runners: 10_000,
        }
    }
}

impl RegistrationConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.lease < Duration::from_millis(100) {
            invalid.push(InvalidValue::new("lease", "at least 100ms"));
        }
        invalid.extend(validate_names(self.tokens.iter().map(|token| (token.name.as_str(), &token.hash))));
        if self.max_runners == 0 {
            invalid.push(InvalidValue::new("max_runners", "at least 1"));
        }
        invalid
    }

    /// Whether runners have to show a token. If not, the admin listener must know who they are.
    pub const fn wants_tokens(&self) -> bool {
        !self.tokens.is_empty() || self.token_file.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::TokenHash;

    #[test]
    fn what_registration_cannot_be_is_named() {
        let token = NamedToken { name: "a".into(), hash: TokenHash::of("a") };
        let config =
            RegistrationConfig { tokens: vec![token.clone(), token], lease: Duration::ZERO, ..RegistrationConfig::default() };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["lease", "tokens[1].name", "tokens[1].hash"]);
        assert!(config.wants_tokens() && !RegistrationConfig::default().wants_tokens());
    }

    #[test]
    fn a_name_that_is_none_is_named() {
        assert_eq!(DnsConfig::default().validate(), []);
        let config = DnsConfig { name: Some("a..b".into()), port: 0, max_interval: Duration::ZERO, ..DnsConfig::default() };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["name", "port", "max_interval"]);
    }
}
