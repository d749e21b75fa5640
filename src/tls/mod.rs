//! TLS: certificates and keys out of files, swapped while connections go on, and who is at the other end of a connection.
//!
//! * [`ServerTls`] is what a listener needs: it makes a TLS connection of an accepted one, and says whose certificate it saw.
//! * [`ClientTls`] is the same for connections that we make: to runners, to balancers.
//! * [`PeerIdentity`] is what a verified certificate says about its owner.
//! * [`TlsMetrics`] count handshakes, and tell when certificates expire.
//!
//! What it promises: files that cannot be used are told with their name and what was expected, and a key is never shown; files that change are
//! taken over by new connections, while old ones go on with what they began with; files that changed for the worse change nothing, and say so.
//! Names are always verified; there is no way to turn that off. Roots come from files only: who may speak here is decided by the
//! operator, not by the system's list.
//!
//! rustls with *ring* does the work. This floor knows TLS and files, and nothing of HTTP; it imports `telemetry`, `files` and `model`.

mod client;
mod config;
mod files;
mod identity;
mod metrics;
mod reload;
mod server;
mod socket;
mod stream;
#[cfg(test)]
pub(crate) mod test_ca;
#[cfg(test)]
mod tests;

pub use client::{ClientTls, ConnectError};
pub use config::{ClientCertificates, ClientTlsConfig, ServerTlsConfig};
pub use files::TlsFileError;
pub use identity::PeerIdentity;
pub use metrics::TlsMetrics;
pub use reload::{Reloadable, follow, reload};
pub use server::{HandshakeError, ServerTls};
pub use stream::{SCRATCH, Stream, poll_read_more};

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// The one provider of cryptography, given to every configuration by hand: no default of the process is needed, and none is changed.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
