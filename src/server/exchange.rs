//! One request and its answer on an HTTP/1.1 connection.
//!
//! While the call is in hand, the connection looks after its client: who resets the connection is gone, and the call is withdrawn. Who closes one side may be gone
//! or may wait for the answer (RFC 9112 section 9.6 speaks of both). Where that counts ([`HalfClose::MayListen`]) it is found out by sending an interim answer, which means
//! nothing to a client that listens (RFC 9110 section 15.2) and is answered with a reset for one that does not.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body::Body;
use http_body_util::Full;
use hyper::service::Service;
use tokio::time::Instant;

use super::answer::{Sent, linger, send};
use super::connection::Surroundings;
use super::request_body::RequestBody;
use super::server::HalfClose;
use super::watch::Watch;
use super::wire::{Inside, Reader, Wire};
use crate::http1::{HEAD_TOO_SLOW, MalformedHead, Persistence, ReceivedRequest, go_on_parsing_request};
use crate::telemetry::turn;

/// What follows an exchange.
#[derive(Debug)]
pub(super) enum After {
    /// The next one.
    Next,
    /// Nothing: the connection ends.
    Close,
    /// There was none: what came is no request, and is to be answered as that before the connection ends.
    Refuse(Box<MalformedHead>),
}

/// Who asked, as far as it matters to the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) version: Version,
    pub(super) is_head: bool,
    pub(super) persistence: Persistence,
    /// All of it must be over by then.
    pub(super) until: Instant,
}

/// How long a client that closed its side is left alone before it is asked whether it is there, and how often after that.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// How long its answer is waited for: it comes from its kernel.
const ASKED_FOR: Duration = Duration::from_millis(100);

/// Reads a request, has it answered, and sends the answer. Dropping the future cuts the connection.
pub(super) async fn exchange<S, B>(wire: &mut Wire, around: &Surroundings, service: &S, watch: &mut Watch) -> After
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    wire.take_back();
    let now = turn::now();
    let limits = &around.rules().limits;
    watch.set(now + limits.header_timeout);
    // What was awaited is taken apart before anything else is awaited, here and below: else it would stay in the future, and as many of these are there as calls
    // are in hand.
    let (asked, request) = match read_head(wire, around, watch).await {
        Head::Received(received) => begin(wire, received, now + limits.total_timeout),
        Head::Gone => return After::Close,
        Head::Malformed(malformed) => return After::Refuse(Box::new(malformed)),
    };
    let sending = {
        let mut answering = pin!(service.call(request));
        let mut client = Client::new(around, &asked, watch);
        let answered = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Some(answer)),
            Poll::Pending => client.poll_gone(&mut wire.access(), cx).map(|()| None),
        });
        match answered.await {
            Some(answer) => send(wire, around, answer, asked, watch),
            None => return After::Close,
        }
    };
    match sending.await {
        Sent::Whole(Persistence::KeepAlive) => {
            watch.set(turn::now() + around.rules().limits.idle_timeout);
            After::Next
        }
        Sent::Whole(Persistence::Close) => {
            Box::pin(linger(wire)).await;
            After::Close
        }
        Sent::Cut => After::Close,
    }
}

/// The request with what there is of its body.
fn begin(wire: &mut Wire, received: ReceivedRequest, until: Instant) -> (Asked, Request<RequestBody>) {
    let ReceivedRequest { request, length, persistence, is_waiting_for_continue } = received;
    let asked = Asked { version: request.version(), is_head: *request.method() == Method::HEAD, persistence, until };
    let whole = wire.access().begin_body(length, is_waiting_for_continue);
    let body = whole.map_or_else(|| RequestBody::streamed(wire.streamed_body(length)), RequestBody::whole);
    (asked, request.map(|()| body))
}

#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and lives for a moment")]
enum Head {
    Received(ReceivedRequest),
    Malformed(MalformedHead),
    Gone,
}

async fn read_head(wire: &mut Wire, around: &Surroundings, watch: &mut Watch) -> Head {
    let mut looked = 0;
    poll_fn(|cx| {
        let mut inside = wire.access();
        loop {
            match go_on_parsing_request(&mut inside.read, &around.rules().head, &mut looked) {
                Ok(Some(received)) => return Poll::Ready(Head::Received(received)),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Head::Malformed(malformed)),
            }
            match inside.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Head::Gone),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return watch.poll_expired(cx).map(|()| Head::Malformed(HEAD_TOO_SLOW)),
            }
        }
    })
    .await
}

/// Answers a head that cannot be taken. What follows it cannot be told apart, so that the connection ends.
pub(super) async fn refuse(wire: &mut Wire, around: &Surroundings, malformed: MalformedHead, watch: &mut Watch) {
    let answer = (around.rules().refuse)(around.peer(), &malformed).map(Full::new);
    let until = Instant::now() + around.rules().limits.write_timeout;
    let asked = Asked { version: Version::HTTP_11, is_head: false, persistence: Persistence::Close, until };
    if let Sent::Whole(_) = send(wire, around, answer, asked, watch).await {
        linger(wire).await;
    }
}

/// The client of a call in hand.
struct Client<'a> {
    around: &'a Surroundings,
    version: Version,
    until: Instant,
    watch: &'a mut Watch,
    state: State,
    /// Bytes that are read for nothing at most.
    rest: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Both sides are open.
    Open,
    /// It has closed its side, and is to be asked when the watch says so.
    Closed,
    /// It was asked.
    Asked,
}

/// The longest rest of a body that is read for nothing; beyond it, closing is cheaper.
pub(super) const LONGEST_REST: u64 = 16 * 1024 * 1024;

impl<'a> Client<'a> {
    fn new(around: &'a Surroundings, asked: &Asked, watch: &'a mut Watch) -> Self {
        let now_or_later = asked.until.min(turn::now() + around.rules().limits.body_timeout);
        watch.set(now_or_later);
        Self { around, version: asked.version, until: asked.until, watch, state: State::Open, rest: LONGEST_REST }
    }

    /// Ready when the client is gone, or had too long.
    fn poll_gone(&mut self, inside: &mut Inside, cx: &mut Context<'_>) -> Poll<()> {
        if self.state == State::Open {
            match inside.reader() {
                Reader::Nobody | Reader::Broken | Reader::StoodStill | Reader::NeverAsked => match inside.poll_closed(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) if self.around.rules().half_close == HalfClose::IsGone => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => {
                        self.state = State::Closed;
                        self.watch.set(Instant::now() + ASK_AFTER);
                    }
                    Poll::Pending => {}
                },
                Reader::Body { .. } => inside.wake_at_end_of_body(cx),
                // Whether it succeeds is seen when the answer is sent.
                Reader::Abandoned => {
                    if inside.poll_rest(cx, &mut self.rest).is_ready() && inside.reader() == Reader::Abandoned {
                        inside.give_up_body();
                    }
                }
            }
        }
        while self.watch.poll_expired(cx).is_ready() {
            if self.look(inside, cx).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// The watch has rung.
    fn look(&mut self, inside: &mut Inside, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if now >= self.until {
            return Poll::Ready(());
        }
        match self.state {
            State::Open => {
                let limit = self.around.rules().limits.body_timeout;
                if inside.starved_since().is_some_and(|since| now >= since + limit) {
                    inside.body_stands_still();
                }
                self.watch.set(self.until.min(inside.starved_since().unwrap_or(now) + limit));
            }
            State::Closed => {
                // HTTP/1.0 has no interim answers: such a client is taken at its word.
                if self.version >= Version::HTTP_11 && inside.send_continue(cx).is_err() {
                    return Poll::Ready(());
                }
                self.state = State::Asked;
                self.watch.set(now + ASKED_FOR);
            }
            State::Asked => {
                if inside.stream.pending_error().is_some() {
                    return Poll::Ready(());
                }
                self.watch.set(now + ASK_AFTER);
            }
        }
        Poll::Pending
    }
}
