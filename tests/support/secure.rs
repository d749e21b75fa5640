//! Certificates as `runpool ca make` makes them, and clients that speak TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::command_line::{run, text};
use super::http::{Answer, collect, within};

/// A directory of certificates: `ca.pem`, `balancer.pem`, `balancer.key`, `runner.pem`, `runner.key`.
pub struct Certificates {
    pub directory: PathBuf,
}

impl Certificates {
    /// Makes them in `parent/name`.
    pub fn make(parent: &Path, name: &str) -> Self {
        let directory = parent.join(name);
        let output = run(&["ca", "make", directory.to_str().unwrap(), "--balancer-san", "uri:spiffe://cluster/balancer"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        Self { directory }
    }

    pub fn path(&self, file: &str) -> String {
        self.directory.join(file).to_str().unwrap().to_owned()
    }

    /// Puts these certificates in the place of others, whose directory stays where it is.
    pub fn replace_with(&self, other: &Self, files: &[&str]) {
        for file in files {
            std::fs::copy(other.path(file), self.path(&format!("{file}.new"))).unwrap();
            std::fs::rename(self.path(&format!("{file}.new")), self.path(file)).unwrap();
        }
    }

    /// `[table]` of a listener with the certificate of `name`; more of it may follow.
    pub fn server(&self, table: &str, name: &str) -> String {
        format!(
            "[{table}]\ncertificate = '{}'\nkey = '{}'\n",
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key"))
        )
    }

    /// What a listener adds to want a certificate of this CA.
    pub fn wanting(&self, asked: &str) -> String {
        format!("client_ca = '{}'\nclient_certificates = \"{asked}\"\n", self.path("ca.pem"))
    }

    /// `[table]` of a client with the certificate of `name`.
    pub fn client(&self, table: &str, name: &str) -> String {
        format!("{}ca = '{}'\n", self.server(table, name), self.path("ca.pem"))
    }

    /// A client's settings: trusts this CA, shows the certificate of `name` if one is named, and offers these versions.
    pub fn trusted_by_client(&self, own: Option<&str>, versions: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{own}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{own}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = versions.iter().map(|version| version.as_bytes().to_vec()).collect();
        config
    }
}

/// Makes a TLS connection to `address`, which must be `localhost`.
pub async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    within("a TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// The version that was agreed on.
pub fn version(stream: &TlsStream<TcpStream>) -> String {
    String::from_utf8(stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec()).unwrap()
}

/// The certificate that the other side has shown.
pub fn certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// An open connection over which requests go one after the other.
pub enum Open {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Open {
    /// Begins the version that was agreed on.
    pub async fn begin(stream: TlsStream<TcpStream>) -> Self {
        if version(&stream) == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Self::Http1(sender)
        }
    }

    /// POSTs `body` to `path`.
    pub async fn post(&mut self, path: &str, headers: HeaderMap, body: &str) -> hyper::Result<Answer> {
        let mut request =
            Request::post(format!("https://localhost{path}")).body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        *request.headers_mut() = headers;
        let response = match self {
            Self::Http1(sender) => {
                *request.uri_mut() = path.parse().unwrap();
                request.headers_mut().insert("host", "localhost".parse().unwrap());
                // The last byte of the last answer was read; that the connection has seen its end is another matter.
                within("a free connection", sender.ready()).await?;
                within("an answer", sender.send_request(request)).await?
            }
            Self::Http2(sender) => within("an answer", sender.send_request(request)).await?,
        };
        within("the rest of an answer", collect(response)).await
    }
}

/// One POST over a TLS connection of its own.
pub async fn post(address: SocketAddr, config: ClientConfig, path: &str, body: &str) -> Answer {
    let mut open = Open::begin(connect(address, config).await.unwrap()).await;
    open.post(path, HeaderMap::new(), body).await.unwrap()
}
