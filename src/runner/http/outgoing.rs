//! The body that goes out on a connection: there from the start, or held back until the runner has accepted the call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::{Notify, oneshot};

use crate::runner::{BodyError, CallBody, RequestBody};

/// What a connection sends as a body.
pub(super) enum OutgoingBody {
    /// There from the start.
    Ready(RequestBody),
    /// Comes when the runner has accepted the call.
    HeldBack {
        /// Where it will come from.
        coming: oneshot::Receiver<RequestBody>,
        /// Its length in bytes, if it is known.
        length: Option<u64>,
    },
}

impl OutgoingBody {
    /// These bytes.
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self::Ready(RequestBody::Held(Full::new(bytes)))
    }

    /// A body of this length that comes when the runner says `100 Continue`; and the side that gives it.
    pub(super) fn held_back(length: Option<u64>) -> (Self, HeldBack) {
        let (gives, coming) = oneshot::channel();
        (Self::HeldBack { coming, length }, HeldBack { accepted: Arc::default(), gives: Some(gives) })
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Self::HeldBack { coming, .. } = this {
            let Ok(body) = ready!(Pin::new(coming).poll(cx)) else {
                return Poll::Ready(Some(Err(BodyError::Cut(
                    "the attempt was given up before the runner asked for it".to_owned(),
                ))));
            };
            *this = Self::Ready(body);
        }
        match this {
            Self::Ready(body) => Pin::new(body).poll_frame(cx),
            Self::HeldBack { .. } => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(body) => body.is_end_stream(),
            Self::HeldBack { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(body) => body.size_hint(),
            Self::HeldBack { length, .. } => length.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

/// The side that gives a body which is held back. If it is dropped before, the connection ends with an error.
#[derive(Debug)]
pub(super) struct HeldBack {
    accepted: Arc<Notify>,
    gives: Option<oneshot::Sender<RequestBody>>,
}

impl HeldBack {
    /// Has `100 Continue` heard on the connection that sends `request`.
    pub(super) fn listen<B>(&self, request: &mut ::http::Request<B>) {
        let accepted = Arc::clone(&self.accepted);
        hyper::ext::on_informational(request, move |informational| {
            if informational.status() == ::http::StatusCode::CONTINUE {
                accepted.notify_one();
            }
        });
    }

    /// Waits for the runner's `100 Continue`; for ever, once the body was given. Safe to drop.
    pub(super) async fn accepted(&self) {
        if self.gives.is_none() {
            return std::future::pending().await;
        }
        self.accepted.notified().await;
    }

    /// Whether the body was not given.
    pub(super) const fn is_holding(&self) -> bool {
        self.gives.is_some()
    }

    /// Takes the body of the call and gives it to the connection. Without one the connection ends with an error.
    pub(super) fn give(&mut self, body: &CallBody) {
        let Some(gives) = self.gives.take() else { return };
        let Some(taken) = body.take() else { return };
        if let Err(unread) = gives.send(taken) {
            // The connection is gone, and has read nothing.
            body.give_back(unread);
        }
    }
}
