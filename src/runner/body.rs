//! Bodies: the call's, which several attempts may need, and the answer's, which belongs to one attempt.
//!
//! A small body is held until commit as reference-counted [`Bytes`], so that each attempt reads the same memory and nothing is
//! copied or given back too early. A larger one streams: the first attempt that gets past its commit point takes it, and no
//! second can.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use super::http::StreamedAnswer;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection it came over failed.
    #[error("the connection was lost while a body was read: {0}")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is longer than allowed.
    #[error("the body is longer than the {limit} bytes allowed")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It was cut short on purpose, since what should have made it failed.
    #[error("the body was cut short: {0}")]
    Cut(String),
}

impl BodyError {
    /// The connection failed with this error.
    pub fn connection(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Connection(error.into())
    }
}

/// A request body that streams.
pub type StreamingBody = UnsyncBoxBody<Bytes, BodyError>;

/// The body of a call.
pub enum CallBody {
    /// Held in memory until commit: every attempt may read it.
    Held(Bytes),
    /// Streams, and can be taken once.
    Streaming(StreamOnce),
}

/// A streaming body that can be taken once.
pub struct StreamOnce {
    /// Protects the taking; held for a move of a pointer.
    body: Mutex<Option<StreamingBody>>,
    length: Option<u64>,
}

impl CallBody {
    /// No body.
    pub const fn empty() -> Self {
        Self::Held(Bytes::new())
    }

    /// A body that streams and can be taken once.
    pub fn streaming(body: StreamingBody) -> Self {
        let length = body.size_hint().exact();
        Self::Streaming(StreamOnce { body: Mutex::new(Some(body)), length })
    }

    /// A reader for one attempt; `None` if the body streams and was taken before.
    pub fn take(&self) -> Option<RequestBody> {
        match self {
            Self::Held(bytes) => Some(RequestBody::Held(Full::new(bytes.clone()))),
            Self::Streaming(once) => once.body.lock().unwrap_or_else(PoisonError::into_inner).take().map(RequestBody::Streaming),
        }
    }

    /// Gives back a reader of which **nothing was read**, so that the next attempt can take it. A reader of held bytes needs no giving back.
    pub(crate) fn give_back(&self, unread: RequestBody) {
        if let (Self::Streaming(once), RequestBody::Streaming(stream)) = (self, unread) {
            *once.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        }
    }

    /// Whether an attempt could still read the body from its first byte.
    pub fn is_replayable(&self) -> bool {
        match self {
            Self::Held(_) => true,
            Self::Streaming(once) => once.body.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
        }
    }

    /// The length in bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Held(bytes) => u64::try_from(bytes.len()).ok(),
            Self::Streaming(once) => once.length,
        }
    }
}

impl fmt::Debug for CallBody {
    /// Without the bytes: they are the client's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(bytes) => write!(f, "Held({} bytes)", bytes.len()),
            Self::Streaming(once) => write!(f, "Streaming({:?} bytes)", once.length),
        }
    }
}

/// What one attempt sends.
pub enum RequestBody {
    /// A view of held bytes.
    Held(Full<Bytes>),
    /// The one stream.
    Streaming(StreamingBody),
}

impl fmt::Debug for RequestBody {
    /// Without the bytes: they are the client's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBody({:?})", self.size_hint())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Held(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Streaming(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held(body) => body.is_end_stream(),
            Self::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held(body) => body.size_hint(),
            Self::Streaming(body) => body.size_hint(),
        }
    }
}

/// The body of an answer: there whole, or streaming from the runner with whatever must live until its last byte.
pub struct AnswerBody {
    source: Source,
    /// Told once when the body is over.
    at_end: Option<AtEnd>,
}

/// Where an answer's body comes from. Most are whole: they need no memory but their bytes.
enum Source {
    /// All of it, until it was read.
    Whole(Bytes),
    /// The client of HTTP/1.1.
    Streamed(Box<StreamedAnswer>),
    /// Anything else.
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

/// How the reading of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// All of it was read.
    Complete,
    /// It broke off.
    Broken,
    /// Nobody wanted the rest of it.
    Dropped,
}

type AtEnd = Box<dyn FnOnce(BodyEnd) + Send>;

impl AnswerBody {
    /// Streams `body`.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self { source: Source::Boxed(body.boxed_unsync()), at_end: None }
    }

    /// Streams what the client of HTTP/1.1 reads.
    pub(super) const fn streamed(answer: Box<StreamedAnswer>) -> Self {
        Self { source: Source::Streamed(answer), at_end: None }
    }

    /// Has it told when the body is over: with its last byte, before that byte is read by anybody. So of a body that is there whole it is told at
    /// once: its runner has done with it. One listener; a later one replaces it.
    #[must_use]
    pub fn at_end(mut self, tell: impl FnOnce(BodyEnd) + Send + 'static) -> Self {
        if self.is_there() {
            tell(BodyEnd::Complete);
        } else {
            self.at_end = Some(Box::new(tell));
        }
        self
    }

    /// Whether its runner has done with it: nothing of it is still to come.
    pub fn is_there(&self) -> bool {
        matches!(self.source, Source::Whole(_)) || self.is_end_stream()
    }

    fn is_over(&mut self, end: BodyEnd) {
        if let Some(tell) = self.at_end.take() {
            tell(end);
        }
    }

    /// All bytes at once.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self { source: Source::Whole(bytes.into()), at_end: None }
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// Reads the body to its end, trailers dropped.
    ///
    /// # Errors
    /// The body broke off.
    pub async fn collect_bytes(self) -> Result<Bytes, BodyError> {
        Ok(self.collect().await?.to_bytes())
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerBody({:?})", self.size_hint())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(match &mut this.source {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Streamed(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Source::Boxed(body) => Pin::new(body).poll_frame(cx),
        });
        match &frame {
            Some(Ok(_)) if !this.is_end_stream() => {}
            Some(Ok(_)) | None => this.is_over(BodyEnd::Complete),
            Some(Err(_)) => this.is_over(BodyEnd::Broken),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Streamed(body) => body.is_end_stream(),
            Source::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Streamed(body) => body.size_hint(),
            Source::Boxed(body) => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.is_over(BodyEnd::Dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_body_is_read_by_every_attempt_from_its_first_byte() {
        let body = CallBody::Held(Bytes::from_static(b"hello"));
        for _ in 0..3 {
            assert!(body.is_replayable());
            let bytes = body.take().unwrap().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, "hello");
        }
    }

    #[tokio::test]
    async fn a_streaming_body_can_be_taken_once() {
        let stream = Full::new(Bytes::from_static(b"big")).map_err(|never| match never {}).boxed_unsync();
        let body = CallBody::streaming(stream);
        assert_eq!(body.length(), Some(3));
        assert!(body.is_replayable());
        assert!(body.take().is_some());
        assert!(!body.is_replayable());
        assert!(body.take().is_none());
    }

    #[test]
    fn of_an_answer_that_came_whole_the_runner_has_done_with_it_before_it_is_read() {
        assert!(AnswerBody::full("whole").is_there());
        assert!(AnswerBody::empty().is_there());
        let stream = Full::new(Bytes::from_static(b"comes")).map_err(|never| match never {});
        assert!(!AnswerBody::new(stream).is_there());
    }

    #[tokio::test]
    async fn a_streaming_body_that_was_given_back_unread_can_be_taken_again() {
        let stream = Full::new(Bytes::from_static(b"big")).map_err(|never| match never {}).boxed_unsync();
        let body = CallBody::streaming(stream);
        let unread = body.take().unwrap();
        body.give_back(unread);
        assert!(body.is_replayable());
        assert_eq!(body.take().unwrap().collect().await.unwrap().to_bytes(), "big");
    }
}
