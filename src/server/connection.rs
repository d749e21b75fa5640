//! One connection, from its first byte: HTTP/2 if it begins with that version's preface (RFC 9113 section 3.4), else HTTP/1.1.
//!
//! An HTTP/1.1 connection waits, exchanges one request for one answer, and waits again. While it waits it holds no buffer and no more state than its clock: what an
//! exchange needs is on the heap for as long as the exchange lasts.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use tokio::time::Instant;

use super::accept::Peer;
use super::crowd::Crowd;
use super::exchange::{After, exchange, refuse};
use super::http2;
use super::request_body::RequestBody;
use super::server::{Place, Rules};
use super::watch::Watch;
use super::wire::Wire;
use crate::http1::HEAD_TOO_SLOW;
use crate::model::boxed;
use crate::telemetry::turn::Turn;
use crate::tls::{PeerIdentity, Stream};

/// What a connection has of its listener, and who is at its other end.
pub(super) struct Surroundings {
    /// What it takes of the listener's places, until this is dropped.
    pub(super) place: Place,
    pub(super) identity: Option<Arc<PeerIdentity>>,
    /// All connections of the listener.
    pub(super) crowd: Crowd,
}

impl Surroundings {
    /// What every connection goes by.
    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.place.rules
    }

    pub(super) fn peer(&self) -> Peer {
        Peer { address: self.place.address, identity: self.identity.clone(), is_tls: self.place.is_tls }
    }

    /// Connections are to end with what they have begun.
    pub(super) fn is_closing(&self) -> bool {
        self.crowd.closing().is_said()
    }

    /// Whether the next request had better go elsewhere.
    pub(super) fn is_leaving(&self) -> bool {
        self.rules().draining.is_set() || self.is_closing()
    }
}

/// What came first.
enum First {
    Http1,
    Http2,
    /// Too little, for too long.
    Slow,
    Nothing,
}

/// How old a connection may be, without a request, that is not closed with its listener: its client has come to make one.
const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// The beginning of every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end, and gives its place back. Dropping the future cuts it.
///
/// What the future needs from its beginning is made here, since an argument of an `async fn` is kept twice: there may be as many of these as clients.
pub(super) fn serve_connection<S, B>(stream: Stream, around: Surroundings, service: S) -> impl Future<Output = ()> + Send
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut wire = Wire::new(stream, BytesMut::new());
    // hyper's own limits begin when it knows which version of HTTP is spoken: a connection that says nothing would keep its place for ever.
    let mut watch = Watch::new(around.crowd.clone(), Instant::now() + around.rules().limits.header_timeout);
    async move {
        match what_comes_first(&mut wire, &around, &mut watch).await {
            First::Nothing => {}
            First::Slow => Box::pin(refuse(&mut wire, &around, HEAD_TOO_SLOW, &mut watch)).await,
            First::Http1 => serve_http1(&mut wire, &around, &service, &mut watch).await,
            First::Http2 => {
                drop(watch);
                // There was no body yet to share them with.
                if let Some((stream, read)) = wire.into_parts() {
                    Box::pin(http2::serve(stream, read.freeze(), around, service)).await;
                }
            }
        }
    }
}

async fn what_comes_first(wire: &mut Wire, around: &Surroundings, watch: &mut Watch) -> First {
    let sooner = Instant::now() + around.rules().limits.header_timeout.min(FIRST_REQUEST);
    poll_fn(|cx| {
        let mut inside = wire.access();
        loop {
            let read = &inside.read[..];
            if read.len() >= PREFACE.len() && read.starts_with(PREFACE) {
                return Poll::Ready(First::Http2);
            }
            if !read.is_empty() && !PREFACE.starts_with(read) {
                return Poll::Ready(First::Http1);
            }
            match inside.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(First::Nothing),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        if around.is_closing() {
            watch.set(sooner);
        }
        // Nobody asks why a connection was closed that has said nothing; of what has arrived, the runtime will tell.
        if watch.poll_expired(cx).is_pending() || (around.is_closing() && inside.stream.has_unread()) {
            return Poll::Pending;
        }
        Poll::Ready(if inside.read.is_empty() { First::Nothing } else { First::Slow })
    })
    .await
}

/// An exchange, of which each step is one turn of the clock; the crowd wakes its task once a tick.
struct InTurns<'a, E> {
    exchange: Pin<Box<E>>,
    around: &'a Surroundings,
}

impl<E: Future> Future for InTurns<'_, E> {
    type Output = E::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<E::Output> {
        let _turn = Turn::begin_woken(cx, self.around.crowd.tick());
        self.exchange.as_mut().poll(cx)
    }
}

/// Exchanges requests for answers until one side has enough.
async fn serve_http1<S, B>(wire: &mut Wire, around: &Surroundings, service: &S, watch: &mut Watch)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        // On the heap only while it lasts: an idle connection is to be small.
        match (InTurns { exchange: boxed(|| exchange(wire, around, service, watch)).into(), around }).await {
            After::Next => {}
            After::Close => return,
            After::Refuse(malformed) => return Box::pin(refuse(wire, around, *malformed, watch)).await,
        }
        let has_more = poll_fn(|cx| {
            let mut inside = wire.access();
            inside.let_go_of_memory();
            if !inside.read.is_empty() {
                return Poll::Ready(true);
            }
            match inside.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
            let is_over = around.is_closing() || watch.poll_expired(cx).is_ready();
            // A last look: a request that has arrived is answered, and its client told to close. The runtime will tell of it.
            if is_over && !inside.stream.has_unread() { Poll::Ready(false) } else { Poll::Pending }
        })
        .await;
        if !has_more {
            return;
        }
    }
}
