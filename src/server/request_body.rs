//! The body of a request, and what becomes of the part of it that nobody wants to read.
//!
//! A server that answers before it has read the whole request (a refusal, a 404, a function that needs no input) and then closes its socket
//! makes the kernel answer the rest with a reset, which can reach the client before the answer and take it away (RFC 9112 section 9.6). And a
//! client that was faster has the answer, and sends its next request into the closing. So the rest of a short body is read and dropped by the
//! connection's own task, while the answer is on its way: the answer arrives, and the connection can be used again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::wire::{BodyReadError, StreamedBody};

/// The body of a request that was received. Dropped before its end, it leaves the rest to its connection.
#[derive(Debug)]
pub struct RequestBody(Kind);

#[derive(Debug)]
enum Kind {
    /// It came with the head, or there is none.
    Whole(Bytes),
    /// It comes over an HTTP/1.1 connection.
    Streamed(StreamedBody),
    /// It comes on a stream of HTTP/2.
    Stream(Stream),
}

/// The body on a stream of HTTP/2, and how long it may stand still while somebody waits for it.
#[derive(Debug)]
struct Stream {
    incoming: Incoming,
    longest: Duration,
    /// Runs while somebody waits.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Nothing of a body came for longer than allowed. Whoever reads it can tell by the type that its client may well be there, and wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing of the body came for longer than allowed")]
pub struct BodyStoodStill;

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let longest = self.longest;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(longest)));
        timer.as_mut().poll(cx).map(|()| Some(Err(BodyStoodStill.into())))
    }
}

impl RequestBody {
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(super) const fn streamed(body: StreamedBody) -> Self {
        Self(Kind::Streamed(body))
    }

    pub(super) const fn http2(incoming: Incoming, longest: Duration) -> Self {
        Self(Kind::Stream(Stream { incoming, longest, timer: None }))
    }
}

/// Why a body could not be read to its end.
pub type RequestBodyError = Box<dyn std::error::Error + Send + Sync>;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            // Whoever reads can tell a malformed body from a lost connection by the type.
            Kind::Streamed(body) => body.poll_frame(cx).map_err(|error| match error {
                BodyReadError::Broken(syntax) => syntax.into(),
                BodyReadError::StoodStill => BodyStoodStill.into(),
                other => other.into(),
            }),
            Kind::Stream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Streamed(body) => body.is_end(),
            Kind::Stream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streamed(body) => body.left().map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Stream(body) => body.incoming.size_hint(),
        }
    }
}
