//! The body of an answer while it streams, with the connection it comes over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connections::{Connection, Connections};
use super::record::InFlight;
use crate::runner::{BodyError, Session};

/// Streams an answer. When it was read to its end, its connection is kept for the next call; when it broke off or is dropped before, the
/// connection is closed at once, and an agent kills the call.
pub(super) struct StreamedAnswer {
    incoming: Incoming,
    /// What must live until the last byte; `None` after it.
    held: Option<Held>,
}

/// What an answer holds until its last byte. The fields are dropped in this order: who waits for the end finds the connection gone.
pub(super) struct Held {
    pub(super) connection: Connection,
    pub(super) connections: Arc<Connections>,
    pub(super) in_flight: InFlight,
    pub(super) session: Session,
}

impl Held {
    fn keep_connection(self) {
        let Self { connection, connections, in_flight, session } = self;
        connections.keep(connection);
        drop(in_flight);
        drop(session);
    }
}

impl StreamedAnswer {
    pub(super) fn new(incoming: Incoming, held: Option<Held>) -> Self {
        let mut answer = Self { incoming, held };
        answer.release_at_end();
        answer
    }

    /// A reader that knows the length does not ask for what comes after the last byte: the end is looked for after every frame.
    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(held) = self.held.take()
        {
            held.keep_connection();
        }
    }
}

impl Body for StreamedAnswer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                this.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.held = None;
                Poll::Ready(Some(Err(BodyError::connection(error))))
            }
            None => {
                if let Some(held) = this.held.take() {
                    held.keep_connection();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
