//! A CA for tests, made a moment ago.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{ClientCertificates, ClientTlsConfig, ServerTlsConfig};

/// A CA, and the directory in which its certificates are.
pub(crate) struct TestCa {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `{file}.pem` and `{file}.key`, for the DNS name and common name `name`.
    pub(crate) fn issue(&self, file: &str, name: &str) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// A listener with the certificate of `server`.
    pub(crate) fn server(&self, asked: ClientCertificates) -> ServerTlsConfig {
        ServerTlsConfig {
            certificate: Some(self.file("server.pem")),
            key: Some(self.file("server.key")),
            client_ca: (asked != ClientCertificates::None).then(|| self.file("ca.pem")),
            client_certificates: asked,
            ..ServerTlsConfig::default()
        }
    }

    /// A client with the certificate of `own`.
    pub(crate) fn client(&self, own: Option<&str>) -> ClientTlsConfig {
        ClientTlsConfig {
            ca: Some(self.file("ca.pem")),
            certificate: own.map(|own| self.file(&format!("{own}.pem"))),
            key: own.map(|own| self.file(&format!("{own}.key"))),
            server_name: None,
        }
    }
}
