//! The body of an answer on a stream of HTTP/2, which its connection takes away when its client takes nothing of it, or when it is not over in time.
//!
//! hyper asks a body for its next frame only when the stream's window has room. So a body that was not asked since it gave a frame waits for its client; one
//! that was asked and has nothing waits for its runner, which is no fault of the client. Neither wakes hyper by being taken away: its stream is cut beside.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use super::http2_stream::{Cut, OneStream};
use super::limits::ConnectionLimits;
use super::request_body::RequestBodyError;

/// How often a connection looks through its answers: they are overdue so much later at most.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// The answers that a connection is sending.
#[derive(Default)]
pub(super) struct Answers {
    /// Protects the list; held to add to it and to look through it, now and then.
    sending: Mutex<Vec<Weak<dyn Answer>>>,
}

/// An answer, whatever its body is.
trait Answer: Send + Sync {
    /// Takes the body away if it is overdue, and cuts its stream.
    fn look(&self, now: Instant, limits: &ConnectionLimits);
}

/// See the page. Both its connection and hyper hold it.
pub(super) struct StreamAnswer<B> {
    held: Arc<Held<B>>,
    /// The connection is not idle as long as this is sent.
    _open: OneStream,
}

struct Held<B> {
    /// When its request came.
    began: Instant,
    /// Its stream.
    stream: Cut,
    /// Protects the body from being asked while it is taken away; held for one question.
    body: Mutex<State<B>>,
}

enum State<B> {
    /// Its client is to take what it gave, since then.
    WaitsForClient(Pin<Box<B>>, Instant),
    /// It has nothing now.
    WaitsForRunner(Pin<Box<B>>),
    /// It is over.
    Ended,
    /// It was taken away.
    TakenAway,
}

/// The answer was taken away from a client that took nothing of it, or had too long.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of the answer for longer than allowed, or the call was not over in time")]
struct Overdue;

impl Answers {
    /// A body that this looks after, for the stream whose task asks for that. Its request came at `began`.
    pub(super) fn look_after<B>(&self, body: B, began: Instant, open: OneStream) -> StreamAnswer<B>
    where
        B: Body + Send + 'static,
    {
        let body = Mutex::new(State::WaitsForClient(Box::pin(body), Instant::now()));
        let held = Arc::new(Held { began, stream: Cut::of_this_stream(), body });
        let weak = Arc::downgrade(&held);
        self.lock().push(weak);
        StreamAnswer { held, _open: open }
    }

    /// Takes away what is overdue, for as long as it is polled.
    pub(super) async fn watch(&self, limits: &ConnectionLimits) -> Infallible {
        loop {
            sleep(limits.shortest_time().clamp(SHORTEST_LOOK, LONGEST_LOOK)).await;
            let sending: Vec<Arc<dyn Answer>> = {
                let mut all = self.lock();
                all.retain(|answer| answer.strong_count() > 0);
                all.iter().filter_map(Weak::upgrade).collect()
            };
            let now = Instant::now();
            sending.iter().for_each(|answer| answer.look(now, limits));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Answer>>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Held<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send> Answer for Held<B> {
    fn look(&self, now: Instant, limits: &ConnectionLimits) {
        let mut state = self.lock();
        let is_overdue = match &*state {
            State::WaitsForClient(_, since) => *since + limits.write_timeout <= now || self.began + limits.total_timeout <= now,
            State::WaitsForRunner(_) => self.began + limits.total_timeout <= now,
            State::Ended | State::TakenAway => false,
        };
        if is_overdue {
            // Its drop tells the runner, and the record of the call.
            *state = State::TakenAway;
            self.stream.cut();
        }
    }
}

impl<B> Body for StreamAnswer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<RequestBodyError>,
{
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut state = self.held.lock();
        let mut body = match std::mem::replace(&mut *state, State::Ended) {
            State::WaitsForClient(body, _) | State::WaitsForRunner(body) => body,
            State::Ended => return Poll::Ready(None),
            State::TakenAway => return Poll::Ready(Some(Err(Overdue.into()))),
        };
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => {
                *state = State::WaitsForRunner(body);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                *state = State::WaitsForClient(body, Instant::now());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*self.held.lock() {
            State::WaitsForClient(body, _) | State::WaitsForRunner(body) => body.is_end_stream(),
            State::Ended => true,
            State::TakenAway => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.held.lock() {
            State::WaitsForClient(body, _) | State::WaitsForRunner(body) => body.size_hint(),
            State::Ended | State::TakenAway => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http2_stream::Streams;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    #[tokio::test(start_paused = true)]
    async fn only_what_waits_for_its_client_too_long_is_taken_away() {
        let limits = ConnectionLimits { write_timeout: Duration::from_secs(60), ..ConnectionLimits::default() };
        let (answers, streams) = (Answers::default(), Arc::new(Streams::default()));
        let (began, open) = (Instant::now(), || OneStream::begin(&streams));
        let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        let mut patient = answers.look_after(never, began, open());
        assert!(futures_util::poll!(patient.frame()).is_pending());
        let mut untaken = answers.look_after(Full::new(Bytes::from_static(b"x")), began, open());
        let mut taken = answers.look_after(Full::new(Bytes::from_static(b"x")), began, open());
        assert_eq!(taken.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        assert!(taken.frame().await.is_none());
        let _ = tokio::time::timeout(Duration::from_secs(90), answers.watch(&limits)).await;
        assert!(untaken.frame().await.unwrap().is_err());
        assert!(taken.frame().await.is_none());
        assert!(futures_util::poll!(patient.frame()).is_pending());
        let _ = tokio::time::timeout(limits.total_timeout, answers.watch(&limits)).await;
        assert!(patient.frame().await.unwrap().is_err(), "nothing lasts longer than all of a call may");
    }
}
