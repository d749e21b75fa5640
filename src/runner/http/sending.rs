//! What is still to be written of a request to a runner.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;

use crate::http1;
use crate::runner::{BodyError, CallBody, RequestBody};

/// A request on its way to a runner.
pub(super) type Sending = http1::Sending<RequestBody>;

/// Gives `body` to a request that awaits it. One that was taken before, by whomever, ends the request with an error.
pub(super) fn give(sending: &mut Sending, body: &CallBody) {
    if sending.is_without_body() {
        sending.give(body.take().unwrap_or_else(|| RequestBody::Streaming(Gone.boxed_unsync())));
    }
}

/// A body that cannot be sent as it was announced was cut, as far as the runner can see.
impl From<http1::NotAsAnnounced> for BodyError {
    fn from(wrong: http1::NotAsAnnounced) -> Self {
        Self::Cut(wrong.to_string())
    }
}

/// In place of a body that somebody else has taken.
struct Gone;

impl http_body::Body for Gone {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(Err(BodyError::Cut("it was sent to another runner before".to_owned()))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::BytesMut;

    use super::*;
    use crate::http1::{BodyLength, SendError};

    #[tokio::test]
    async fn a_body_that_somebody_else_has_taken_ends_the_request() {
        let body = CallBody::streaming(Gone.boxed_unsync());
        body.take();
        let (mut sending, mut written) = (Sending::awaiting(BytesMut::from("head"), BodyLength::Known(1)), Vec::new());
        assert!(poll_fn(|cx| sending.poll(&mut written, cx)).await.is_ok());
        give(&mut sending, &body);
        let Err(SendError::Body(error)) = poll_fn(|cx| sending.poll(&mut written, cx)).await else { panic!("it was sent") };
        assert_eq!((written.as_slice(), error.to_string().contains("another runner")), (&b"head"[..], true));
    }
}
