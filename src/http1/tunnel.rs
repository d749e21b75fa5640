//! What a connection becomes after 101: bytes both ways, and no HTTP any more (RFC 9110 section 7.8).

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a tunnel's end is made of.
pub trait TunnelIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> TunnelIo for T {}

/// One end of a tunnel, in the extensions of an answer with the status 101: whoever writes that answer to the other side takes the end, and joins the two.
///
/// Clones are the same end, which can be taken once: extensions have to be cloned.
#[derive(Clone)]
pub struct Tunnel {
    /// Protects the taking; held for a move of pointers.
    end: Arc<Mutex<Option<TunnelEnd>>>,
}

/// The end itself. Dropping it closes it.
pub struct TunnelEnd {
    /// Where the bytes come from and go to.
    pub io: Box<dyn TunnelIo>,
    /// What came already, behind the head of the answer.
    pub unread: Bytes,
    /// What must live as long as the tunnel.
    pub held: Box<dyn Any + Send>,
}

impl Tunnel {
    /// This end, to be taken by somebody.
    pub fn new(end: TunnelEnd) -> Self {
        Self { end: Arc::new(Mutex::new(Some(end))) }
    }

    /// The end; `None` if it was taken before.
    pub fn take(&self) -> Option<TunnelEnd> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}
