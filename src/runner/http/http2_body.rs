//! Bodies that go through hyper's HTTP/2 client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::record::InFlight;
use super::streamed_answer::clean_trailers;
use crate::runner::{BodyError, RequestBody, Session};

/// The body of a request, with no more fields after it than may be there.
#[derive(Debug)]
pub(super) struct OutgoingBody(pub(super) RequestBody);

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.and_then(|frame| frame.map(cleaned).transpose()))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The frame, unless it is of trailers none of which may pass.
fn cleaned(frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
    match frame.into_trailers() {
        Ok(trailers) => clean_trailers(trailers).map(Frame::trailers),
        Err(frame) => Some(frame),
    }
}

/// The body of an answer over HTTP/2, with what must live until its end.
pub(super) struct Http2Answer {
    incoming: Incoming,
    lives: Option<(InFlight, Session)>,
}

impl Http2Answer {
    pub(super) const fn new(incoming: Incoming, lives: (InFlight, Session)) -> Self {
        Self { incoming, lives: Some(lives) }
    }
}

impl Body for Http2Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        let frame = frame.and_then(|frame| frame.map_err(BodyError::connection).map(cleaned).transpose());
        if !matches!(&frame, Some(Ok(_))) || self.incoming.is_end_stream() {
            self.lives = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
