//! The body of what the client gets: streams, counts, and tells the call's record how it ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::record::Record;
use super::trailers::clean_trailers;
use crate::model::Outcome;
use crate::runner::{AnswerBody, BodyError};

/// The body of an answer to a client.
pub struct FrontBody {
    inner: AnswerBody,
    record: Box<Record>,
    /// The outcome if the whole body goes out.
    outcome: Outcome,
    /// The client gets no body, whatever the answer has (HEAD, 204, 304): its absence is no loss.
    is_bodiless: bool,
}

impl FrontBody {
    pub(super) fn new(inner: AnswerBody, record: Box<Record>, outcome: Outcome, is_bodiless: bool) -> Self {
        Self { inner, record, outcome, is_bodiless }
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                clean_trailers(frame);
                this.record.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            // The status is out already: the client sees a body that is cut, which its framing shows.
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(call = %this.record.call_id, %error, "an answer was cut");
                this.record.tell(Outcome::RunnerReset);
            }
            Poll::Ready(None) => this.record.tell(this.outcome),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for FrontBody {
    /// A server does not ask for what it knows to be the end; and of a body that the client is not to get, it asks for nothing.
    fn drop(&mut self) {
        if self.is_bodiless || self.inner.is_end_stream() {
            self.record.tell(self.outcome);
        }
    }
}
