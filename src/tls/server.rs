//! TLS of a listener.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::PROVIDER;
use super::config::{ClientCertificates, ServerTlsConfig};
use super::files::{self, TlsFileError};
use super::identity::PeerIdentity;
use super::metrics::{HandshakeResult, TlsMetrics};
use super::reload::{Reloadable, Seen, present, tell};
use crate::model::format_duration;

/// A listener's certificate and what it asks of clients. New connections use what was loaded last.
#[derive(Debug)]
pub struct ServerTls {
    /// The listener, as metrics and logs name it.
    name: &'static str,
    config: ServerTlsConfig,
    current: ArcSwap<ServerConfig>,
    /// Protects the last look at the files, and that they are loaded once; held while files are read.
    seen: Mutex<Seen>,
    metrics: TlsMetrics,
}

/// A connection that did not become a TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client took its time.
    #[error("the TLS handshake took longer than {}", format_duration(*.0))]
    TimedOut(Duration),
    /// The client, or what it showed, would not do.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[source] std::io::Error),
    /// The client's certificate is right, and that of somebody whom the configuration does not name.
    #[error("the client's certificate is of none of `identities`")]
    NotAdmitted,
}

/// What is offered, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl ServerTls {
    /// TLS as configured; `None` if nothing is. `name` is how metrics and logs name the listener.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn load(name: &'static str, config: &ServerTlsConfig, metrics: &TlsMetrics) -> Result<Option<Arc<Self>>, TlsFileError> {
        let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else { return Ok(None) };
        let files = files_of(config);
        let seen = Seen::now(&files);
        let (made, expires_s) = make(config, certificate, key)?;
        metrics.loaded(name, Some(expires_s));
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
    pub fn check(config: &ServerTlsConfig) -> Result<(), TlsFileError> {
        let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else { return Ok(()) };
        make(config, certificate, key).map(drop)
    }

    /// Makes a TLS connection of an accepted one, and says whose certificate it saw. Dropping the future ends the connection.
    ///
    /// # Errors
    /// The client took too long, speaks something else, or its certificate will not do. It was told so, as far as it listened.
    pub async fn accept<IO>(&self, stream: IO) -> Result<(TlsStream<IO>, Option<Arc<PeerIdentity>>), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.config.handshake_timeout;
        let handshake = TlsAcceptor::from(self.current.load_full()).accept(stream);
        match timeout(limit, handshake).await {
            Ok(Ok(stream)) => {
                let identity = PeerIdentity::of_chain(stream.get_ref().1.peer_certificates());
                if identity.as_ref().is_some_and(|identity| !self.config.admits(identity)) {
                    self.metrics.ended(self.name, HandshakeResult::NotAdmitted);
                    return Err(HandshakeError::NotAdmitted);
                }
                self.metrics.ended(self.name, HandshakeResult::Ok);
                Ok((stream, identity))
            }
            Ok(Err(error)) => {
                self.metrics.ended(self.name, HandshakeResult::of(&error));
                Err(HandshakeError::Failed(error))
            }
            Err(_) => {
                self.metrics.ended(self.name, HandshakeResult::TimedOut);
                Err(HandshakeError::TimedOut(limit))
            }
        }
    }
}

impl Reloadable for ServerTls {
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
        let (Some(certificate), Some(key)) = (&self.config.certificate, &self.config.key) else { return };
        let result = make(&self.config, certificate, key).map(|(made, expires_s)| {
            self.current.store(made);
            self.metrics.loaded(self.name, Some(expires_s));
        });
        if result.is_err() {
            self.metrics.failed(self.name);
        }
        tell(self.name, result);
    }
}

fn files_of(config: &ServerTlsConfig) -> Vec<&Path> {
    present([&config.certificate, &config.key, &config.client_ca])
}

fn make(config: &ServerTlsConfig, certificate: &Path, key: &Path) -> Result<(Arc<ServerConfig>, i64), TlsFileError> {
    let own = files::own_certificate(certificate, key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| files::refused(certificate, key, &error))?;
    let builder = match (config.client_certificates, &config.client_ca) {
        (ClientCertificates::None, _) | (_, None) => builder.with_no_client_auth(),
        (asked, Some(ca)) => {
            let roots = Arc::new(files::roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
            let verifier = if asked == ClientCertificates::Optional { verifier.allow_unauthenticated() } else { verifier };
            let refused = |error: rustls::server::VerifierBuilderError| TlsFileError::Refused {
                file: ca.clone(),
                reason: error.to_string(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(refused)?)
        }
    };
    let made = builder.with_single_cert(own.chain, own.key);
    let mut made = made.map_err(|error| files::refused(certificate, key, &error))?;
    made.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok((Arc::new(made), own.expires_s))
}
