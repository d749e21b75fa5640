//! Certificates and keys out of PEM files (RFC 7468), and what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file that cannot be used, by its name; or two that do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It could not be read.
    #[error("could not read the {what} in {}: {reason}", file.display())]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// It is something else, or broken. What is in it is not repeated: it may be a key.
    #[error("{}: expected {expected}; {found}", file.display())]
    Unfit {
        /// Which file.
        file: PathBuf,
        /// What would have been right.
        expected: &'static str,
        /// What there was instead.
        found: String,
    },
    /// The certificate is that of another key.
    #[error("{} is not the key of the certificate in {}: expected the two that were made together", key.display(), certificate.display())]
    NotTogether {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls wants none of it.
    #[error("{} cannot be used for TLS: {reason}", file.display())]
    Refused {
        /// The file it is about.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl TlsFileError {
    /// The file that it is about.
    pub fn file(&self) -> &Path {
        match self {
            Self::Unreadable { file, .. }
            | Self::Unfit { file, .. }
            | Self::Refused { file, .. }
            | Self::NotTogether { key: file, .. } => file,
        }
    }
}

/// The largest file that is read: of roots there may be some hundreds.
const MAX_FILE: u64 = 4 * 1024 * 1024;

const CERTIFICATE_EXPECTED: &str = "certificates in PEM, `-----BEGIN CERTIFICATE-----`";
const KEY_EXPECTED: &str = "one private key in PEM without a passphrase, `-----BEGIN PRIVATE KEY-----`";

/// A certificate with those between it and its root, and its key.
pub(super) struct OwnCertificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// Since 1970: when the first certificate of the chain expires.
    pub(super) expires_s: i64,
}

/// The bytes of a file.
pub(super) fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, TlsFileError> {
    let unreadable = |reason| TlsFileError::Unreadable { what, file: file.to_owned(), reason };
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(unreadable(std::io::Error::other(format!("it has {length} bytes, of at most {MAX_FILE}"))));
    }
    std::fs::read(file).map_err(unreadable)
}

/// Reads a certificate and its key.
pub(super) fn own_certificate(certificate: &Path, key: &Path) -> Result<OwnCertificate, TlsFileError> {
    let chain = certificates(certificate, "certificate")?;
    let mut expires_s = i64::MAX;
    for one in &chain {
        let validity = validity(one).map_err(|found| unfit(certificate, CERTIFICATE_EXPECTED, found))?;
        expires_s = expires_s.min(validity);
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if expires_s < i64::try_from(now_s).unwrap_or(i64::MAX) {
        // Whether clients care is theirs to say: a balancer that does not start serves nobody.
        tracing::warn!(file = %certificate.display(), "the certificate has expired: clients will refuse it");
    }
    Ok(OwnCertificate { chain, key: private_key(key)?, expires_s })
}

/// Reads the roots of a CA file.
pub(super) fn roots(file: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "roots")? {
        let added = roots.add(certificate);
        added.map_err(|error| unfit(file, CERTIFICATE_EXPECTED, format!("one of them cannot be a root: {error}")))?;
    }
    Ok(roots)
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let text = read(file, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| unfit(file, CERTIFICATE_EXPECTED, broken(&error)))?;
    if found.is_empty() {
        return Err(unfit(file, CERTIFICATE_EXPECTED, contents(&text)));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let text = read(file, "key")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => unfit(file, KEY_EXPECTED, contents(&text)),
        error => unfit(file, KEY_EXPECTED, broken(&error)),
    })
}

fn unfit(file: &Path, expected: &'static str, found: impl Into<String>) -> TlsFileError {
    TlsFileError::Unfit { file: file.to_owned(), expected, found: found.into() }
}

/// What a PEM file has instead of what was looked for.
fn contents(text: &[u8]) -> String {
    if text.windows(b"ENCRYPTED".len()).any(|part| part == b"ENCRYPTED") {
        return "the key in it is encrypted".to_owned();
    }
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text);
    match sections.next() {
        Some(Ok((SectionKind::Certificate, _))) => "it has a certificate".to_owned(),
        Some(Ok((kind, _))) if is_key(kind) => "it has a private key".to_owned(),
        Some(_) => "it has something else".to_owned(),
        None => "it has no PEM section".to_owned(),
    }
}

const fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey)
}

/// The parser's errors may repeat what it read: only their kind is told.
fn broken(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base 64".to_owned(),
        _ => "a section is broken".to_owned(),
    }
}

/// When a certificate expires, in seconds since 1970.
fn validity(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, parsed)) => Ok(parsed.validity().not_after.timestamp()),
        Err(_) => Err("one of them is no X.509 certificate".to_owned()),
    }
}

/// What rustls says about a certificate and its key.
pub(super) fn refused(certificate: &Path, key: &Path, error: &rustls::Error) -> TlsFileError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsFileError::NotTogether { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        error => TlsFileError::Refused { file: certificate.to_owned(), reason: error.to_string() },
    }
}
