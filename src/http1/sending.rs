//! What is still to be written of a request: bookkeeping over whatever stream it is given, driven by whoever waits for the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::encode::{encode_chunk, encode_last_chunk};
use super::length::BodyLength;
use super::trailers::remove_forbidden_trailers;
use crate::protocol::remove_internal;

/// The longest piece that is copied behind what goes before it, so that both are written by one plain call.
pub const LONGEST_COPIED: usize = 16 * 1024;

/// A request on its way out. By default it is one that was sent.
#[derive(Debug)]
pub struct Sending<B> {
    /// Written first: the head, the line of a chunk, short data.
    first: BytesMut,
    /// Written then: data too long to be copied.
    data: Bytes,
    /// Written last: what ends a chunk.
    last: &'static [u8],
    source: Source<B>,
    /// A byte was written: the request may have an effect.
    is_begun: bool,
}

/// Where the rest of the body comes from.
#[derive(Debug)]
enum Source<B> {
    /// There is no more.
    Over,
    /// To be given with [`Sending::give`].
    Awaited(Framing),
    /// A stream.
    Stream(B, Framing),
}

/// How a body that streams is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes are left.
    Known(u64),
    Chunked,
}

/// Why a request cannot be written to its end.
#[derive(Debug)]
pub enum SendError<E> {
    /// The connection took no more.
    Connection(io::Error),
    /// The body broke off.
    Body(E),
    /// The body is not as long as was announced: sending it would make its reader see another message.
    Length(NotAsAnnounced),
}

/// How the length of a body differs from what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsAnnounced {
    /// More came.
    #[error("it is longer than was announced")]
    Longer,
    /// Less came.
    #[error("it is shorter than was announced")]
    Shorter,
}

impl<B> Default for Sending<B> {
    fn default() -> Self {
        Self { first: BytesMut::new(), data: Bytes::new(), last: b"", source: Source::Over, is_begun: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// A request that is all here: its head, and its body.
    pub fn whole(mut head: BytesMut, body: &Bytes) -> Self {
        let mut data = Bytes::new();
        if body.len() <= LONGEST_COPIED {
            head.extend_from_slice(body);
        } else {
            data = body.clone();
        }
        Self { first: head, data, last: b"", source: Source::Over, is_begun: false }
    }

    /// A request whose body, framed as the head says, is given later.
    pub fn awaiting(head: BytesMut, length: BodyLength) -> Self {
        let source = match length {
            BodyLength::None | BodyLength::Known(0) => Source::Over,
            BodyLength::Known(length) => Source::Awaited(Framing::Known(length)),
            BodyLength::Chunked | BodyLength::UntilClose => Source::Awaited(Framing::Chunked),
        };
        Self { first: head, data: Bytes::new(), last: b"", source, is_begun: false }
    }

    /// Whether a byte was written.
    pub const fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether all was written.
    pub fn is_over(&self) -> bool {
        matches!(self.source, Source::Over) && self.has_nothing_to_write()
    }

    /// Whether all was written but a body that is not given yet.
    pub fn is_awaiting(&self) -> bool {
        matches!(self.source, Source::Awaited(_)) && self.has_nothing_to_write()
    }

    /// Whether the body was not given.
    pub const fn is_without_body(&self) -> bool {
        matches!(self.source, Source::Awaited(_))
    }

    /// Gives the body that was awaited.
    pub fn give(&mut self, body: B) {
        if let Source::Awaited(framing) = self.source {
            self.source = Source::Stream(body, framing);
        }
    }

    fn has_nothing_to_write(&self) -> bool {
        self.first.is_empty() && self.data.is_empty() && self.last.is_empty()
    }

    /// Writes until all is written, or a body is awaited.
    pub fn poll(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<B::Error>>> {
        // What is there of a body goes out with its head. If nothing is, it will wake us.
        if !self.is_begun && self.data.is_empty() && self.last.is_empty() && self.first.len() <= LONGEST_COPIED {
            let _ = self.poll_body(cx)?;
        }
        loop {
            ready!(self.poll_write(stream, cx)).map_err(SendError::Connection)?;
            if !matches!(self.source, Source::Stream(..)) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_body(cx))?;
        }
    }

    /// Takes what comes next of a body that streams.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<B::Error>>> {
        let Source::Stream(body, framing) = &mut self.source else { return Poll::Ready(Ok(())) };
        let mut framing = *framing;
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Err(error)) => return Poll::Ready(Err(SendError::Body(error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => self.add(data, &mut framing).map_err(SendError::Length)?,
                Err(frame) => self.end(framing, frame.into_trailers().ok()).map_err(SendError::Length)?,
            },
            None => self.end(framing, None).map_err(SendError::Length)?,
        }
        if let Source::Stream(_, kept) = &mut self.source {
            *kept = framing;
        }
        Poll::Ready(Ok(()))
    }

    /// Frames data of the body.
    fn add(&mut self, data: Bytes, framing: &mut Framing) -> Result<(), NotAsAnnounced> {
        match framing {
            Framing::Known(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(NotAsAnnounced::Longer)?;
                // A body of known length ends with its last byte, whether or not its end was looked at.
                if *left == 0 {
                    self.source = Source::Over;
                }
            }
            Framing::Chunked => {
                encode_chunk(&mut self.first, data.len());
                self.last = b"\r\n";
            }
        }
        if data.len() > LONGEST_COPIED {
            self.data = data;
        } else {
            self.first.extend_from_slice(&data);
            self.first.extend_from_slice(std::mem::take(&mut self.last));
        }
        Ok(())
    }

    /// The body is over, with these fields after it.
    fn end(&mut self, framing: Framing, trailers: Option<HeaderMap>) -> Result<(), NotAsAnnounced> {
        match framing {
            Framing::Known(0) => {}
            Framing::Known(_) => return Err(NotAsAnnounced::Shorter),
            Framing::Chunked => {
                let mut trailers = trailers.unwrap_or_default();
                remove_forbidden_trailers(&mut trailers);
                remove_internal(&mut trailers);
                encode_last_chunk(&mut self.first, &trailers);
            }
        }
        self.source = Source::Over;
        Ok(())
    }

    fn poll_write(&mut self, stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.has_nothing_to_write() {
            let stream = Pin::new(&mut *stream);
            let written = if self.data.is_empty() && self.last.is_empty() {
                ready!(stream.poll_write(cx, &self.first))?
            } else {
                let slices = [&self.first[..], &self.data[..], self.last].map(io::IoSlice::new);
                ready!(stream.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_begun = true;
            self.advance(written);
        }
        // TLS may hold what the socket did not take.
        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
        // An exchange that waits for its answer holds no memory for what it has sent.
        self.first = BytesMut::new();
        self.data = Bytes::new();
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_first = written.min(self.first.len());
        self.first.advance(of_first);
        let of_data = (written - of_first).min(self.data.len());
        self.data.advance(of_data);
        self.last = &self.last[written - of_first - of_data..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::{Frame, SizeHint};
    use std::convert::Infallible;
    use std::future::poll_fn;

    /// A body that says it has `announced` bytes and has `data`.
    struct Lying {
        announced: u64,
        data: Option<Bytes>,
    }

    impl http_body::Body for Lying {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.announced)
        }
    }

    async fn sent(mut sending: Sending<Lying>, mut body: Option<Lying>) -> Result<Vec<u8>, (Vec<u8>, NotAsAnnounced)> {
        let mut written = Vec::new();
        loop {
            match poll_fn(|cx| sending.poll(&mut written, cx)).await {
                Ok(()) if sending.is_over() => return Ok(written),
                Ok(()) => sending.give(body.take().unwrap()),
                Err(SendError::Length(wrong)) => return Err((written, wrong)),
                Err(SendError::Connection(error)) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_as_long_as_announced_is_never_completed() {
        for (announced, length, expected) in [(4, 5, NotAsAnnounced::Longer), (6, 5, NotAsAnnounced::Shorter)] {
            let lying = Lying { announced, data: Some(Bytes::from(vec![b'x'; length])) };
            let sending = Sending::awaiting(BytesMut::from("head"), BodyLength::Known(announced));
            let (written, wrong) = sent(sending, Some(lying)).await.unwrap_err();
            assert!(written.len() < 4 + usize::try_from(announced).unwrap(), "{announced}");
            assert_eq!(wrong, expected);
        }
    }

    #[tokio::test]
    async fn long_and_short_pieces_are_framed_alike() {
        for length in [1, LONGEST_COPIED, LONGEST_COPIED + 1] {
            let data = Bytes::from(vec![b'x'; length]);
            let body = Lying { announced: 0, data: Some(data.clone()) };
            let written = sent(Sending::awaiting(BytesMut::from("head"), BodyLength::Chunked), Some(body)).await.unwrap();
            let expected = [format!("head{length:x}\r\n").as_bytes(), &data, b"\r\n0\r\n\r\n"].concat();
            assert_eq!(written, expected);
            let written = sent(Sending::whole(BytesMut::from("head"), &data), None).await.unwrap();
            assert_eq!(written, [b"head", &data[..]].concat());
        }
    }
}
