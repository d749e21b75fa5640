//! The bytes of a connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What a connection is made of.
#[derive(Debug)]
pub(super) enum Stream {
    /// Cleartext.
    Tcp(TcpStream),
    /// TLS. On the heap, so that cleartext connections do not pay for its size.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// An error that the kernel knows of and nobody was told yet: that the other side has reset the connection. Costs a system call.
    pub(super) fn pending_error(&self) -> Option<io::Error> {
        match self.socket().take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }

    /// Has the connection reset when it is closed. What was written and not sent yet is lost.
    pub(super) fn reset_at_end(&self) {
        // Fails only if the connection is gone.
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Whether the kernel, or TLS, has bytes that were not read. The runtime may not have been told of them yet; it will be. Costs a system call.
    pub(super) fn has_unread(&self) -> bool {
        let mut first = [MaybeUninit::uninit()];
        let is_decrypted = match self {
            Self::Tcp(_) => false,
            // It wants to read as long as there is nothing to be taken from it.
            Self::Tls(stream) => !stream.get_ref().1.wants_read(),
        };
        is_decrypted || SockRef::from(self.socket()).peek(&mut first).is_ok_and(|length| length > 0)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
