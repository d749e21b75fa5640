//! `[front.tls]`, `[admin.tls]`, `[runner.tls]`; `[pool.tls]`, `[runner.register.tls]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity::PeerIdentity;
use crate::model::{InvalidValue, human_duration, validate_identities};

/// Whether clients of a listener have to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    None,
    /// They are asked; one that is shown must be right.
    Optional,
    /// They must show one.
    Required,
}

/// TLS of one listener. Without a certificate it speaks cleartext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTlsConfig {
    /// PEM file with the listener's certificate, and those between it and its root. Relative to the configuration, as all files here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// PEM file with the roots that client certificates are checked against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show a certificate.
    pub client_certificates: ClientCertificates,
    /// Whose certificates come in: `spiffe://…`, `dns:…`, `cn:…`; every one that `client_ca` signed if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
    /// How long a handshake may take.
    #[serde(with = "human_duration")]
    pub handshake_timeout: Duration,
}

impl Default for ServerTlsConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            client_certificates: ClientCertificates::None,
            identities: Vec::new(),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

impl ServerTlsConfig {
    /// Whether the listener speaks TLS.
    pub const fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    /// Whether nobody comes in without a certificate that was checked.
    pub const fn authenticates(&self) -> bool {
        self.is_on() && matches!(self.client_certificates, ClientCertificates::Required)
    }

    /// Whether the owner of a certificate that was checked may come in.
    pub(super) fn admits(&self, identity: &PeerIdentity) -> bool {
        self.identities.is_empty() || self.identities.iter().any(|name| identity.is(name))
    }

    /// The values that cannot be used. What is in the files is not looked at ([`super::ServerTls::check`] does).
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = both("certificate", self.certificate.as_deref(), "key", self.key.as_deref());
        match (&self.client_ca, self.client_certificates) {
            (None, ClientCertificates::Optional | ClientCertificates::Required) => {
                let expected = "\"none\", or client_ca beside it, a file with the roots that they are checked against";
                invalid.push(InvalidValue::new("client_certificates", expected));
            }
            (Some(_), ClientCertificates::None) => {
                let expected =
                    "client_certificates = \"required\" or \"optional\" beside it, as nobody is asked for a certificate";
                invalid.push(InvalidValue::new("client_ca", expected));
            }
            _ => {}
        }
        if self.client_certificates != ClientCertificates::None && !self.is_on() {
            invalid
                .push(InvalidValue::new("client_certificates", "certificate and key beside it, since there is no TLS without"));
        }
        if !self.identities.is_empty() && self.client_certificates == ClientCertificates::None {
            let expected = "client_certificates = \"required\" or \"optional\" beside it, as nobody is asked for a certificate";
            invalid.push(InvalidValue::new("identities", expected));
        }
        invalid.extend(validate_identities(&self.identities));
        if self.handshake_timeout.is_zero() {
            invalid.push(InvalidValue::new("handshake_timeout", "more than 0s"));
        }
        invalid
    }
}

/// TLS of the connections that we make. Without roots they are cleartext.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTlsConfig {
    /// PEM file with the roots that the other end's certificate is checked against. Relative to the configuration, as all files here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that we show when asked, for mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name that the other end's certificate must have, for all of them; the host of its address if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl ClientTlsConfig {
    /// Whether the connections are TLS.
    pub const fn is_on(&self) -> bool {
        self.ca.is_some()
    }

    /// The values that cannot be used. What is in the files is not looked at ([`super::ClientTls::check`] does).
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = both("certificate", self.certificate.as_deref(), "key", self.key.as_deref());
        if !self.is_on() && (self.certificate.is_some() || self.server_name.is_some()) {
            invalid.push(InvalidValue::new("ca", "a file with roots: without it the connections are not TLS at all"));
        }
        let is_name = |name: &str| rustls::pki_types::ServerName::try_from(name).is_ok();
        if self.server_name.as_deref().is_some_and(|name| !is_name(name)) {
            invalid.push(InvalidValue::new("server_name", "a DNS name or an IP address, without port"));
        }
        invalid
    }
}

/// Two files of which neither is of use without the other.
fn both(first: &str, first_file: Option<&Path>, second: &str, second_file: Option<&Path>) -> Vec<InvalidValue> {
    match (first_file, second_file) {
        (Some(_), None) => vec![InvalidValue::new(second, format!("a file, as there is one for {first}")).beside(first)],
        (None, Some(_)) => vec![InvalidValue::new(first, format!("a file, as there is one for {second}")).beside(second)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(invalid: Vec<InvalidValue>) -> String {
        invalid.into_iter().map(|value| value.key).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_tls_of_a_listener_cannot_be_is_named() {
        let off = ServerTlsConfig::default();
        assert_eq!(keys(off.validate()), "");
        let on = ServerTlsConfig { certificate: Some("c".into()), key: Some("k".into()), ..off.clone() };
        assert_eq!(keys(on.validate()), "");
        assert!(on.is_on() && !on.authenticates() && !off.is_on());
        let mutual =
            ServerTlsConfig { client_ca: Some("a".into()), client_certificates: ClientCertificates::Required, ..on.clone() };
        assert_eq!(keys(mutual.validate()), "");
        assert!(mutual.authenticates());
        assert_eq!(keys(ServerTlsConfig { key: None, ..on.clone() }.validate()), "key");
        assert_eq!(keys(ServerTlsConfig { certificate: None, ..on.clone() }.validate()), "certificate");
        assert_eq!(keys(ServerTlsConfig { client_ca: None, ..mutual.clone() }.validate()), "client_certificates");
        assert_eq!(keys(ServerTlsConfig { client_ca: mutual.client_ca.clone(), ..on }.validate()), "client_ca");
        let nothing = ServerTlsConfig { certificate: None, key: None, handshake_timeout: Duration::ZERO, ..mutual };
        assert_eq!(keys(nothing.validate()), "client_certificates handshake_timeout");
    }

    #[test]
    fn what_tls_of_a_client_cannot_be_is_named() {
        let off = ClientTlsConfig::default();
        assert_eq!(keys(off.validate()), "");
        let named = ClientTlsConfig { server_name: Some("runner".into()), ..off };
        assert_eq!(keys(named.validate()), "ca");
        let on = ClientTlsConfig { ca: Some("ca".into()), ..named };
        assert_eq!(keys(on.validate()), "");
        let wrong = ClientTlsConfig { server_name: Some("a b".into()), certificate: Some("c".into()), ..on };
        assert_eq!(keys(wrong.validate()), "key server_name");
    }
}
