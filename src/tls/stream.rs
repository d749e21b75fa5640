//! A connection's bytes, in the clear or by TLS: what servers and clients stand on.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::io::poll_read_buf;

use super::socket::{poll_recv, poll_send};

/// How much is read at once through the memory of the thread.
pub const SCRATCH: usize = 16 * 1024;

thread_local! {
    /// Where a read lands whose length is not known before.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// What a connection is made of.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Tcp(TcpStream),
    /// TLS, of either side. On the heap, so that cleartext connections do not pay for its size.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// A connection after its handshake.
    pub fn encrypted(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }

    /// An error that the kernel knows of and nobody was told yet: that the other side has reset the connection. Costs a system call.
    pub fn pending_error(&self) -> Option<io::Error> {
        match self.socket().take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }

    /// Has the connection reset when it is closed. What was written and not sent yet is lost.
    pub fn reset_at_end(&self) {
        // Fails only if the connection is gone.
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Whether the kernel, or TLS, has bytes that were not read. The runtime may not have been told of them yet; it will be. Costs a system call.
    pub fn has_unread(&self) -> bool {
        self.has_decrypted() || self.peek().is_ok_and(|length| length > 0)
    }

    /// Whether the other side has neither closed nor said anything, as the kernel knows it. Costs a system call.
    pub fn is_quiet(&self) -> bool {
        !self.has_decrypted() && self.peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same, as the runtime knows it. No system call unless something has happened; takes a byte that came.
    pub fn seems_quiet(&self) -> bool {
        !self.has_decrypted() && self.socket().try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether a read may find something, as far as the runtime knows; of TLS it knows too little. No system call and no lock.
    pub fn may_be_readable(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Tls(_) => true,
        }
    }

    /// Whether something was decrypted, the end included, that nobody has read: on a connection whose answer is over, it is nobody's.
    pub fn has_decrypted(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            // It wants to read as long as there is nothing to be taken from it.
            Self::Tls(stream) => !stream.get_ref().1.wants_read(),
        }
    }

    /// Reads what there is, through the memory of the thread, and puts it behind `read`: a thousand connections that wait share that memory, and what has come is
    /// copied to memory of exactly its length, which for a message of usual length costs less than a buffer for each. Returns how many bytes came; 0 at the end.
    pub fn poll_read_onto(&mut self, cx: &mut Context<'_>, read: &mut BytesMut) -> Poll<io::Result<usize>> {
        poll_read_onto(self, cx, read)
    }

    fn peek(&self) -> io::Result<usize> {
        SockRef::from(self.socket()).peek(&mut [MaybeUninit::uninit()])
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// See [`Stream::poll_read_onto`].
fn poll_read_onto(stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>, read: &mut BytesMut) -> Poll<io::Result<usize>> {
    LANDING.with_borrow_mut(|landing| {
        let mut buffer = ReadBuf::new(landing);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled();
        if read.is_empty() {
            *read = BytesMut::from(filled);
        } else {
            read.extend_from_slice(filled);
        }
        Poll::Ready(Ok(filled.len()))
    })
}

/// Reads more of a message behind `read`, of which `expected` bytes are certain to come; 0 if that is not known. Long ones are read where they stay, others
/// as by [`Stream::poll_read_onto`]. Returns how many came; none at the end. Holds no memory while nothing comes.
pub fn poll_read_more(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    read: &mut BytesMut,
    expected: u64,
) -> Poll<io::Result<usize>> {
    /// The largest buffer that a long body is read into.
    const LARGEST_READ: usize = 64 * 1024;
    let expected = usize::try_from(expected).unwrap_or(usize::MAX).min(LARGEST_READ);
    if expected <= SCRATCH {
        return poll_read_onto(stream, cx, read);
    }
    read.reserve(expected);
    let polled = poll_read_buf(Pin::new(stream), cx, read);
    if polled.is_pending() && read.is_empty() {
        *read = BytesMut::new();
    }
    polled
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Of room that is not initialized the runtime alone can say how much of it is after the call.
            Self::Tcp(stream) if buffer.initialized().len() == buffer.capacity() && buffer.remaining() > 0 => {
                let read = ready!(poll_recv(stream, cx, buffer.initialize_unfilled()))?;
                buffer.advance(read);
                Poll::Ready(Ok(()))
            }
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) if !bytes.is_empty() => poll_send(stream, cx, bytes),
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
