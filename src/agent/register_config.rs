//! `[runner.register]`: with which balancers the agent registers itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::InvalidValue;
use crate::tls::ClientTlsConfig;

/// `[runner.register]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterConfig {
    /// Admin addresses of the balancers, such as `http://10.0.0.1:8081`, or `https://…` with `tls.ca`. Each is told of this runner when it is ready, then again and again, and when
    /// it drains. None: others list it.
    pub balancers: Vec<String>,
    /// A file with the token that balancers want to see. Relative to the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// TLS to the balancers.
    pub tls: ClientTlsConfig,
    /// Where balancers call this runner, `host:port`; where it listens if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its share of new calls, in relation to that of other runners.
    pub weight: u32,
    /// What operators sort runners by, such as `zone`.
    pub labels: BTreeMap<String, String>,
}

impl Default for RegisterConfig {
    fn default() -> Self {
        Self {
            balancers: Vec::new(),
            token_file: None,
            tls: ClientTlsConfig::default(),
            address: None,
            weight: 100,
            labels: BTreeMap::new(),
        }
    }
}

impl RegisterConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        // A token or a certificate is for the balancer alone: with roots to check it by, nothing goes out in clear.
        let (scheme, expected) = if self.tls.is_on() {
            ("https", "https://host:port of an admin listener, since there is tls.ca")
        } else {
            ("http", "http://host:port of an admin listener, or https:// with tls.ca")
        };
        let is_url = |text: &String| {
            text.parse::<http::Uri>()
                .is_ok_and(|uri| uri.scheme_str() == Some(scheme) && uri.host().is_some_and(|host| !host.is_empty()))
        };
        let wrong = self.balancers.iter().enumerate().filter(|(_, url)| !is_url(url));
        let wrong = wrong.map(|(index, _)| InvalidValue::new(format!("balancers[{index}]"), expected));
        wrong.chain(self.tls.validate().into_iter().map(|value| value.within("tls"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_a_balancer_is_named() {
        assert_eq!(RegisterConfig::default().validate(), []);
        let balancers = vec!["http://a:1".into(), "a:1".into(), "https://a:1".into()];
        let keys: Vec<String> =
            RegisterConfig { balancers, ..RegisterConfig::default() }.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["balancers[1]", "balancers[2]"]);
        let tls = ClientTlsConfig { ca: Some("ca.pem".into()), ..ClientTlsConfig::default() };
        let balancers = vec!["https://a:1".into(), "http://a:1".into()];
        let config = RegisterConfig { balancers, tls, ..RegisterConfig::default() };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["balancers[1]"]);
    }
}
