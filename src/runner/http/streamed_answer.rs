//! The body of an answer while it streams, with the connection it comes over, and what of the request is still on its way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::connections::Connections;
use super::conversation::Conversation;
use super::finishing;
use super::outgoing::Rest;
use super::record::InFlight;
use super::sending::Sending;
use crate::http1::{BodyDecoder, BodySyntaxError, Decoded, Persistence, SendError, remove_forbidden_trailers};
use crate::protocol::remove_internal;
use crate::runner::{BodyError, Session};

/// Streams an answer, and sends what is left of the request while it is read. When both are over, the connection is kept for the next call; when
/// the answer breaks off or is dropped before its end, the connection is closed at once, and an agent kills the call.
///
/// The fields are dropped in this order: who waits for the end of the attempt finds the connection gone.
pub struct StreamedAnswer {
    /// `None` after the end.
    open: Option<Open>,
    decoder: BodyDecoder,
    /// Why the answer broke off, to be told next.
    broken: Option<BodyError>,
    /// What was decoded already and comes next.
    next: Option<Result<Decoded, BodySyntaxError>>,
    persistence: Persistence,
    rest: Rest,
    connections: Arc<Connections>,
    /// What lives as long as the attempt.
    lives: Option<(InFlight, Session)>,
}

/// The connection while the answer comes.
struct Open {
    connection: Connection,
    sending: Still,
}

/// What of the request is left.
enum Still {
    /// Nothing.
    Sent,
    /// This.
    Sends(Box<Sending>),
    /// Something, that will never be sent.
    Stopped,
}

impl StreamedAnswer {
    pub(super) fn new(
        conversation: Conversation<'_>,
        decoder: BodyDecoder,
        next: Result<Decoded, BodySyntaxError>,
        persistence: Persistence,
        rest: Rest,
        connections: Arc<Connections>,
    ) -> Self {
        let (is_sent, can_go_on) = (conversation.is_sent(), conversation.can_go_on_sending());
        let Conversation { mut connection, sending, .. } = conversation;
        connection.let_go_of_memory();
        let sending = match (is_sent, can_go_on) {
            (true, _) => Still::Sent,
            (false, true) => Still::Sends(Box::new(std::mem::take(sending))),
            (false, false) => Still::Stopped,
        };
        let next = (next != Ok(Decoded::NeedMore)).then_some(next);
        let open = Some(Open { connection, sending });
        Self { open, decoder, broken: None, next, persistence, rest, connections, lives: None }
    }

    /// Has these live until the last byte.
    pub(super) fn hold(&mut self, in_flight: InFlight, session: Session) {
        self.lives = Some((in_flight, session));
    }

    /// The answer is over.
    fn release(&mut self) {
        if let Some(Open { connection, sending }) = self.open.take() {
            match sending {
                Still::Sent if self.persistence == Persistence::KeepAlive => self.connections.keep(connection),
                Still::Sends(sending) if self.rest == Rest::IsSent => {
                    finishing::finish(connection, *sending, self.persistence, &self.connections);
                }
                Still::Sent | Still::Sends(_) | Still::Stopped => drop(connection),
            }
        }
        self.lives = None;
    }

    /// The answer broke off: the connection is closed at once, and the reader told with its next look. A server that is told of the cut in the same
    /// turn as of the last data drops both, and the client would not even get the head.
    fn fail(&mut self, error: BodyError, cx: &Context<'_>) {
        self.open = None;
        self.broken = Some(error);
        cx.waker().wake_by_ref();
    }

    /// What comes next, and sends meanwhile.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyError>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(next.map_err(BodyError::connection));
        }
        let Some(open) = &mut self.open else { return Poll::Ready(Ok(Decoded::End)) };
        loop {
            match self.decoder.decode(&mut open.connection.read).map_err(BodyError::connection)? {
                Decoded::NeedMore => {}
                decoded => return Poll::Ready(Ok(decoded)),
            }
            open.send_more(cx)?;
            let (expected, _) = self.decoder.left();
            let read = ready!(open.connection.poll_read_more(cx, expected)).map_err(BodyError::connection)?;
            if read == 0 {
                let ended = self.decoder.close().map(|()| Decoded::End);
                return Poll::Ready(
                    ended.map_err(|cut| BodyError::connection(io::Error::new(io::ErrorKind::UnexpectedEof, cut))),
                );
            }
        }
    }
}

impl Open {
    /// Sends what can be sent of the request now.
    fn send_more(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Still::Sends(sending) = &mut self.sending else { return Ok(()) };
        match sending.poll(&mut self.connection.stream, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.sending = if sending.is_over() { Still::Sent } else { Still::Stopped },
            // The runner wants no more of it; its answer may be complete all the same.
            Poll::Ready(Err(SendError::Connection(_))) => self.sending = Still::Stopped,
            Poll::Ready(Err(SendError::Body(error))) => return Err(error),
            Poll::Ready(Err(SendError::Length(wrong))) => return Err(wrong.into()),
        }
        Ok(())
    }
}

/// Fields after an answer that may reach a client; `None` if there are none.
pub(super) fn clean_trailers(mut trailers: HeaderMap) -> Option<HeaderMap> {
    remove_forbidden_trailers(&mut trailers);
    remove_internal(&mut trailers);
    (!trailers.is_empty()).then_some(trailers)
}

impl Body for StreamedAnswer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(error) = this.broken.take() {
            this.lives = None;
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(this.poll_next(cx)) {
            Ok(Decoded::Data(data)) => {
                // A reader that knows the length does not ask for what comes after the last byte.
                if this.decoder.is_end() {
                    this.release();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(Decoded::Trailers(trailers)) => {
                this.release();
                Poll::Ready(clean_trailers(trailers).map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Ok(Decoded::End | Decoded::NeedMore) => {
                this.release();
                Poll::Ready(None)
            }
            Err(error) => {
                this.fail(error, cx);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none() && self.next.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let next = match &self.next {
            Some(Ok(Decoded::Data(data))) => data.len() as u64,
            _ => 0,
        };
        match self.decoder.left() {
            _ if self.open.is_none() && self.broken.is_none() => SizeHint::with_exact(0),
            (left, true) => SizeHint::with_exact(left + next),
            (left, false) => {
                let mut hint = SizeHint::new();
                hint.set_lower(left + next);
                hint
            }
        }
    }
}
