//! An authority that lives as long as the command: its key is never written.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::San;

/// The authority.
pub(super) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate to be issued.
pub(super) struct Wanted<'a> {
    /// The common name.
    pub(super) name: &'static str,
    /// Its names beside those of this machine.
    pub(super) sans: &'a [San],
    /// How long it holds.
    pub(super) days: u32,
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// No key could be made.
    pub(super) fn new(days: u32) -> anyhow::Result<Self> {
        let mut params = params("runpool test authority", days);
        // It issues certificates of balancers and runners, and no further authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("could not make the authority's key")?;
        let certificate = params.self_signed(&key).context("could not sign the authority's certificate")?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its certificate, in PEM.
    pub(super) fn certificate(&self) -> String {
        self.certificate.clone()
    }

    /// Issues a certificate for both ends of a connection: balancers call runners, and runners register with balancers.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub(super) fn issue(&self, wanted: &Wanted<'_>) -> anyhow::Result<Issued> {
        let mut params = params(wanted.name, wanted.days);
        let this_machine =
            [San::Dns("localhost".to_owned()), San::Ip([127, 0, 0, 1].into()), San::Ip(std::net::Ipv6Addr::LOCALHOST.into())];
        let own = San::Dns(wanted.name.to_owned());
        for san in this_machine.iter().chain([&own]).chain(wanted.sans) {
            params.subject_alt_names.push(in_certificate(san)?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| format!("could not make the key of the {}", wanted.name))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("could not sign the certificate of the {}", wanted.name))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    // Clocks of other machines may be a little behind.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
    params
}

fn in_certificate(san: &San) -> anyhow::Result<SanType> {
    Ok(match san {
        San::Dns(name) => {
            SanType::DnsName(name.as_str().try_into().with_context(|| format!("`{name}` cannot stand in a certificate"))?)
        }
        San::Ip(address) => SanType::IpAddress(*address),
        San::Uri(uri) => SanType::URI(uri.as_str().try_into().with_context(|| format!("`{uri}` cannot stand in a certificate"))?),
    })
}
