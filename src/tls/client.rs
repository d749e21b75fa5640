//! TLS of the connections that we make.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PROVIDER;
use super::config::ClientTlsConfig;
use super::files::{self, TlsFileError};
use super::metrics::{HandshakeResult, TlsMetrics};
use super::reload::{Reloadable, Seen, present, tell};

/// The roots that we trust and the certificate that we show. New connections use what was loaded last.
#[derive(Debug)]
pub struct ClientTls {
    /// What the connections are for, as metrics and logs name it.
    name: &'static str,
    config: ClientTlsConfig,
    current: ArcSwap<ClientConfig>,
    /// Protects the last look at the files, and that they are loaded once; held while files are read.
    seen: Mutex<Seen>,
    metrics: TlsMetrics,
}

/// A connection that did not become a TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is nothing in a certificate that this could be compared with.
    #[error("`{0}` is neither a DNS name nor an IP address: no certificate can be for it")]
    Name(String),
    /// The other end, or what it showed, would not do.
    #[error("the TLS handshake with {name} failed: {source}")]
    Failed {
        /// The name that was expected of it.
        name: String,
        /// What happened.
        source: std::io::Error,
    },
}

impl ClientTls {
    /// TLS as configured; `None` if nothing is. `name` is how metrics and logs name its connections.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn load(name: &'static str, config: &ClientTlsConfig, metrics: &TlsMetrics) -> Result<Option<Arc<Self>>, TlsFileError> {
        let Some(ca) = &config.ca else { return Ok(None) };
        let seen = Seen::now(&files_of(config));
        let (made, expires_s) = make(config, ca)?;
        metrics.loaded(name, expires_s);
        Ok(Some(Arc::new(Self {
            name,
            config: config.clone(),
            current: ArcSwap::from(made),
            seen: Mutex::new(seen),
            metrics: metrics.clone(),
        })))
    }

    /// Whether TLS can be had as configured: reads the files, and keeps nothing.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn check(config: &ClientTlsConfig) -> Result<(), TlsFileError> {
        config.ca.as_deref().map_or(Ok(()), |ca| make(config, ca).map(drop))
    }

    /// What rustls makes connections with, as of now. For clients that make their connections by themselves.
    pub fn current(&self) -> Arc<ClientConfig> {
        self.current.load_full()
    }

    /// Makes a TLS connection to `host` of a connection to it. How long that takes is for the caller to limit. Dropping the future ends the
    /// connection.
    ///
    /// # Errors
    /// The other end is not who it should be, or does not want us. Nothing of a request was sent.
    pub async fn connect<IO>(&self, host: &str, stream: IO) -> Result<TlsStream<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let expected = self.config.server_name.as_deref().unwrap_or(host);
        // An IPv6 address stands in brackets where a port may follow.
        let bare = expected.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(expected);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| ConnectError::Name(expected.to_owned()))?;
        match TlsConnector::from(self.current()).connect(name, stream).await {
            Ok(stream) => {
                self.metrics.ended(self.name, HandshakeResult::Ok);
                Ok(stream)
            }
            Err(source) => {
                self.metrics.ended(self.name, HandshakeResult::of(&source));
                Err(ConnectError::Failed { name: expected.to_owned(), source })
            }
        }
    }
}

/// Settings that hold one are the same only if it is the very same.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for ClientTls {}

impl Reloadable for ClientTls {
    fn files(&self) -> Vec<&Path> {
        files_of(&self.config)
    }

    fn reload(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Seen::now(&self.files());
        if *seen == now {
            return;
        }
        *seen = now;
        let Some(ca) = &self.config.ca else { return };
        let result = make(&self.config, ca).map(|(made, expires_s)| {
            self.current.store(made);
            self.metrics.loaded(self.name, expires_s);
        });
        if result.is_err() {
            self.metrics.failed(self.name);
        }
        tell(self.name, result);
    }
}

fn files_of(config: &ClientTlsConfig) -> Vec<&Path> {
    present([&config.ca, &config.certificate, &config.key])
}

fn make(config: &ClientTlsConfig, ca: &Path) -> Result<(Arc<ClientConfig>, Option<i64>), TlsFileError> {
    let refused = |error: rustls::Error| TlsFileError::Refused { file: ca.to_owned(), reason: error.to_string() };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions();
    let builder = builder.map_err(refused)?.with_root_certificates(files::roots(ca)?);
    let (mut made, expires_s) = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let own = files::own_certificate(certificate, key)?;
            let made = builder.with_client_auth_cert(own.chain, own.key);
            (made.map_err(|error| files::refused(certificate, key, &error))?, Some(own.expires_s))
        }
        _ => (builder.with_no_client_auth(), None),
    };
    // Runners are spoken to in HTTP/1.1: one connection carries one call at a time.
    made.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(made), expires_s))
}
