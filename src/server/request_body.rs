//! The body of a request, and what becomes of the part of it that nobody wants to read.
//!
//! A server that answers before it has read the whole request (a refusal, a 404, a function that needs no input) and then closes its socket
//! makes the kernel answer the rest with a reset, which can reach the client before the answer and take it away (RFC 9112 section 9.6). And a
//! client that was faster has the answer, and sends its next request into the closing. So the rest of a short body is read and dropped by the
//! connection's own task, while the answer is on its way: the answer arrives, and the connection can be used again.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// The longest rest that is read for nothing; beyond it, closing is cheaper.
const LONGEST_REST: u64 = 16 * 1024 * 1024;

/// How long reading it may take.
const REST_LIMIT: Duration = Duration::from_secs(5);

/// The body of a request that was received. Dropped before its end, it leaves the rest to its connection.
#[derive(Debug)]
pub struct RequestBody {
    /// Absent only while it is dropped.
    incoming: Option<Incoming>,
    /// Where the rest goes. Absent where it needs no reading: HTTP/2 can end one stream, and a client that waits for `100 Continue` sends
    /// nothing unless it is asked to.
    rest: Option<mpsc::Sender<Incoming>>,
    /// The client has announced that it waits for `100 Continue`, which is sent when the body is first asked for.
    is_waited_for: bool,
}

/// The rests of a connection's requests. A connection has one request at a time, so that there is one rest at a time.
#[derive(Debug)]
pub(super) struct Rests(mpsc::Receiver<Incoming>);

/// Where bodies leave their rests.
#[derive(Clone, Debug)]
pub(super) struct RestsOf(mpsc::Sender<Incoming>);

/// For one connection.
pub(super) fn rests() -> (RestsOf, Rests) {
    let (sender, receiver) = mpsc::channel(1);
    (RestsOf(sender), Rests(receiver))
}

impl RestsOf {
    /// The request with a body that leaves its rest here.
    pub(super) fn adopt(&self, request: Request<Incoming>) -> Request<RequestBody> {
        let is_http1 = request.version() <= Version::HTTP_11;
        let is_waited_for = request.headers().contains_key(EXPECT);
        request.map(|incoming| RequestBody { incoming: Some(incoming), rest: is_http1.then(|| self.0.clone()), is_waited_for })
    }
}

impl Rests {
    /// Reads every rest, within bounds. Never returns; dropping the future leaves a rest unread.
    pub(super) async fn read(mut self) -> Infallible {
        while let Some(rest) = self.0.recv().await {
            let _ = tokio::time::timeout(REST_LIMIT, read_for_nothing(rest)).await;
        }
        std::future::pending().await
    }
}

async fn read_for_nothing(mut rest: Incoming) {
    let mut left = LONGEST_REST;
    if rest.size_hint().lower() > left {
        return;
    }
    while let Some(Ok(frame)) = rest.frame().await {
        let length = frame.data_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match left.checked_sub(length) {
            Some(still) => left = still,
            None => return,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_waited_for = false;
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let (Some(incoming), Some(rest)) = (self.incoming.take(), self.rest.take()) else { return };
        if !self.is_waited_for && !incoming.is_end_stream() {
            // If the connection has ended, there is nothing to read either.
            let _ = rest.try_send(incoming);
        }
    }
}
