//! Opening a listening socket.

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// A listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address} for {purpose}")]
pub struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    source: std::io::Error,
}

/// Listens on `address`; port 0 takes a free one. `purpose` names the listener in the error.
///
/// # Errors
/// The address is taken, not ours, or not allowed.
pub async fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, BindError> {
    // Tokio sets SO_REUSEADDR, so that a restart need not wait for old connections to be forgotten.
    TcpListener::bind(address).await.map_err(|source| BindError { address, purpose, source })
}
