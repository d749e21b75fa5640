//! What a certificate says about its owner.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// The names in a verified certificate: its alternative names, and its common name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The SPIFFE ID: the one URI among the alternative names, if it begins with `spiffe://`. A certificate with several URIs has none
    /// (SPIFFE X.509-SVID, section 2: it must be rejected).
    pub spiffe: Option<String>,
    /// The DNS names, in lower case.
    pub dns_names: Vec<String>,
    /// The common name of the subject.
    pub common_name: Option<String>,
}

impl PeerIdentity {
    /// Reads the names of a certificate. That it was verified is for the caller to know. One that cannot be read says nothing.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Self::default() };
        let mut identity = Self::default();
        let mut uris = Vec::new();
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => identity.dns_names.push(name.to_ascii_lowercase()),
                _ => {}
            }
        }
        if let [uri] = uris[..] {
            identity.spiffe = uri.starts_with("spiffe://").then(|| uri.to_owned());
        }
        identity.common_name = common_name(&parsed);
        identity
    }

    /// The identity of whoever showed this chain, if anybody showed one.
    pub(super) fn of_chain(chain: Option<&[CertificateDer<'_>]>) -> Option<Arc<Self>> {
        chain.and_then(<[_]>::first).map(|own| Arc::new(Self::of(own)))
    }

    /// Whether this is whom `text` names: `spiffe://…`, `dns:…`, `cn:…`.
    pub fn is(&self, text: &str) -> bool {
        if let Some(name) = text.strip_prefix("dns:") {
            self.dns_names.iter().any(|own| own.eq_ignore_ascii_case(name))
        } else if let Some(name) = text.strip_prefix("cn:") {
            self.common_name.as_deref() == Some(name)
        } else {
            self.spiffe.as_deref() == Some(text)
        }
    }
}

/// The common name, if there is exactly one: of several, a CA that checks one might not have checked the other.
fn common_name(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    let only = names.next()?.as_str().ok()?;
    names.next().is_none().then(|| only.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn identity(sans: Vec<SanType>, common_name: Option<&str>) -> PeerIdentity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PeerIdentity::of(certificate.der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn a_certificate_is_known_by_each_of_its_names() {
        let dns = SanType::DnsName("Balancer.example".try_into().unwrap());
        let identity = identity(vec![uri("spiffe://cluster/balancer"), dns], Some("the balancer"));
        for name in ["spiffe://cluster/balancer", "dns:balancer.example", "dns:BALANCER.example", "cn:the balancer"] {
            assert!(identity.is(name), "{name}");
        }
        for name in ["spiffe://cluster/balance", "dns:balancer", "dns:the balancer", "cn:The balancer", "the balancer", ""] {
            assert!(!identity.is(name), "{name}");
        }
    }

    #[test]
    fn a_certificate_with_several_uris_has_no_spiffe_id() {
        let several = identity(vec![uri("spiffe://a/b"), uri("spiffe://a/c")], None);
        assert_eq!(several, PeerIdentity::default());
        assert_eq!(identity(vec![uri("https://a/b")], None), PeerIdentity::default());
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        assert_eq!(PeerIdentity::of(&CertificateDer::from_slice(b"junk")), PeerIdentity::default());
        assert!(!PeerIdentity::default().is("cn:") && !PeerIdentity::default().is(""));
    }
}
