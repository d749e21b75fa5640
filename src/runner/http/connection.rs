//! One open connection, and how it is read: without a buffer of its own as long as nothing comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::record::OpenConnection;
use super::watch::Watch;
use crate::tls::{Stream, poll_read_more};

/// One open connection. Dropping it closes it at once, whatever it was doing.
///
/// It can be read and written past HTTP, which is what a tunnel does. The fields are dropped in this order: who waits for the connection's end
/// finds it closed and counted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// What was read and not used yet. Without memory when empty.
    pub(super) read: BytesMut,
    /// Its clock, once a call had to wait for its answer: kept, as making one costs more than setting it.
    pub(super) watch: Option<Watch>,
    /// The worker whose runtime drives the stream.
    pub(super) worker: usize,
    /// Counted as open.
    _open: OpenConnection,
    /// Waited for when the runner is closed.
    _token: TaskTrackerToken,
}

impl Connection {
    pub(super) fn new(stream: Stream, worker: usize, open: OpenConnection, token: TaskTrackerToken) -> Self {
        Self { stream, read: BytesMut::new(), watch: None, worker, _open: open, _token: token }
    }

    /// Reads more, of which `expected` bytes are certain to come; 0 if that is not known. Returns how many came; none at the end.
    pub(super) fn poll_read_more(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        poll_read_more(&mut self.stream, cx, &mut self.read, expected)
    }

    /// Gives up the memory of the buffer, which a part of an answer may share, if it holds nothing.
    pub(super) fn let_go_of_memory(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
