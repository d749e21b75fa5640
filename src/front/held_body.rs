//! The body of a call: held while it is small, streamed when it is not, and never longer than allowed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::config::FrontConfig;
use super::trailers::clean_trailers;
use crate::http1::BodySyntaxError;
use crate::runner::{BodyError, CallBody};
use crate::server::BodyStoodStill;

/// Why a body could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum HoldError {
    #[error("the body is longer than the {limit} bytes allowed")]
    TooLarge { limit: u64 },
    #[error("the body did not arrive within {0}")]
    TooSlow(String),
    #[error(transparent)]
    StoodStill(BodyStoodStill),
    #[error("the body broke off: {0}")]
    Broken(BodyError),
}

impl From<BodyError> for HoldError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::TooLarge { limit },
            BodyError::Connection(cause) if cause.is::<BodyStoodStill>() => Self::StoodStill(BodyStoodStill),
            other => Self::Broken(other),
        }
    }
}

/// What came of a body, and how that went, seen from the side of the client.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// Bytes that came with the head.
    at_once: u64,
    /// What came after that, if anything was to.
    progress: Option<Arc<Progress>>,
}

/// What happens to a body while it comes.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes that came in.
    received: AtomicU64,
    fate: AtomicU8,
}

/// How an upload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing wrong so far.
    Fine,
    /// Longer than allowed.
    TooLarge,
    /// The client broke it off.
    Broken,
    /// It is not framed as it was announced; its client may well be there.
    Malformed,
    /// Nothing of it came for longer than allowed; its client may well be there.
    StoodStill,
}

impl Fate {
    fn of(error: &BodyError) -> Self {
        match error {
            BodyError::Connection(cause) if cause.is::<BodyStoodStill>() => Self::StoodStill,
            BodyError::Connection(cause) => match cause.downcast_ref() {
                Some(BodySyntaxError::CutShort) | None => Self::Broken,
                Some(BodySyntaxError::Chunk | BodySyntaxError::Extensions | BodySyntaxError::Trailers(_)) => Self::Malformed,
            },
            BodyError::TooLarge { .. } => Self::TooLarge,
            BodyError::Cut(_) => Self::Broken,
        }
    }
}

impl Upload {
    /// Bytes that came in.
    pub(super) fn received(&self) -> u64 {
        self.at_once + self.progress.as_ref().map_or(0, |progress| progress.received.load(Ordering::Relaxed))
    }

    pub(super) fn fate(&self) -> Fate {
        match self.progress.as_ref().map_or(0, |progress| progress.fate.load(Ordering::Acquire)) {
            0 => Fate::Fine,
            1 => Fate::TooLarge,
            2 => Fate::Broken,
            3 => Fate::Malformed,
            _ => Fate::StoodStill,
        }
    }

    fn progress(&mut self) -> &Arc<Progress> {
        self.progress.get_or_insert_default()
    }
}

impl Progress {
    fn set_fate(&self, fate: Fate) {
        let fate = match fate {
            Fate::Fine => 0,
            Fate::TooLarge => 1,
            Fate::Broken => 2,
            Fate::Malformed => 3,
            Fate::StoodStill => 4,
        };
        self.fate.store(fate, Ordering::Release);
    }
}

/// How the two sides of a call talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// The answer is to the whole body.
    InTurn,
    /// Both at once: who waits for the whole body may wait for ever, as its client waits for an answer to the beginning.
    AtOnce,
}

impl Talk {
    /// gRPC has streams in both directions, and says so nowhere but in the type of its body.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
        if headers.get(CONTENT_TYPE).is_some_and(is_grpc) { Self::AtOnce } else { Self::InTurn }
    }
}

/// As much memory as holding the body may take; 0 for one that is not held.
pub(super) fn held_size<B: Body>(body: &B, talk: Talk, config: &FrontConfig) -> u64 {
    let (announced, held) = (body.size_hint(), config.held_body.bytes());
    match announced.exact() {
        Some(length) if length <= held => length,
        None if announced.lower() <= held && talk == Talk::InTurn => held,
        _ => 0,
    }
}

/// Takes the body of a call: reads a small one to its end, and the beginning of one of unknown length. A body that is announced as
/// longer than `config.held_body` is not touched, so that `100 Continue` is sent only when a runner took the call; nor is one of unknown length whose
/// client may wait for an answer to its beginning.
pub(super) async fn hold<B>(body: B, talk: Talk, config: &FrontConfig, upload: &mut Upload) -> Result<CallBody, HoldError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = config.max_body.bytes();
    let announced = body.size_hint();
    if announced.lower() > limit {
        return Err(HoldError::TooLarge { limit });
    }
    // Of HTTP/2 a body may be announced as empty and come: that is looked at before anything is placed.
    if announced.exact() == Some(0) && body.is_end_stream() {
        return Ok(CallBody::empty());
    }
    let mut body = Box::pin(body);
    let mut frames = VecDeque::new();
    if let Some(length) = announced.exact()
        && length <= config.held_body.bytes()
    {
        // Nearly always it came with the head, and nothing has to be waited for.
        match std::future::poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                // More than that may follow in HTTP/2: trailers, or the end alone.
                Ok(whole) if whole.len() as u64 == length && body.is_end_stream() => {
                    upload.at_once = length;
                    return Ok(CallBody::Held(whole));
                }
                Ok(part) => frames.push_back(Frame::data(part)),
                Err(other) => frames.push_back(other),
            },
            Poll::Ready(Some(Err(error))) => {
                let error = BodyError::connection(error);
                upload.progress().set_fate(Fate::of(&error));
                return Err(error.into());
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
    }
    // On the heap, as it is rare and large.
    Box::pin(hold_arriving(Resumed { frames, rest: body }, announced, talk, config, upload)).await
}

/// A body of which more is to come.
async fn hold_arriving<B>(
    body: Resumed<B>,
    announced: SizeHint,
    talk: Talk,
    config: &FrontConfig,
    upload: &mut Upload,
) -> Result<CallBody, HoldError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (held, limit) = (config.held_body.bytes(), config.max_body.bytes());
    let mut body = Box::pin(Bounded {
        inner: body.map_err(BodyError::connection).boxed_unsync(),
        left: limit,
        limit,
        progress: Arc::clone(upload.progress()),
    });
    let is_conversation = talk == Talk::AtOnce && announced.exact().is_none();
    if announced.lower() > held || is_conversation {
        return Ok(CallBody::streaming(body.boxed_unsync()));
    }
    let reading = read_up_to(&mut body, held);
    let beginning = tokio::time::timeout(config.body_timeout, reading)
        .await
        .map_err(|_| HoldError::TooSlow(crate::model::format_duration(config.body_timeout)))??;
    Ok(match beginning {
        Beginning::Whole(bytes) => CallBody::Held(bytes),
        Beginning::Part(frames) => CallBody::streaming(Resumed { frames, rest: body }.boxed_unsync()),
    })
}

/// What was read of a body.
enum Beginning {
    /// All of it.
    Whole(Bytes),
    /// Its first frames; more follows.
    Part(VecDeque<Frame<Bytes>>),
}

async fn read_up_to<B>(body: &mut Pin<Box<B>>, held: u64) -> Result<Beginning, BodyError>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let mut frames = VecDeque::new();
    let mut length: u64 = 0;
    let mut has_trailers = false;
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        length = length.saturating_add(frame.data_ref().map_or(0, |data| data.len() as u64));
        has_trailers |= frame.is_trailers();
        frames.push_back(frame);
        if length > held {
            return Ok(Beginning::Part(frames));
        }
    }
    if has_trailers {
        // Held bytes have no place for trailers: what has some streams, from memory.
        return Ok(Beginning::Part(frames));
    }
    let mut parts = frames.into_iter().filter_map(|frame| frame.into_data().ok());
    Ok(Beginning::Whole(match (parts.next(), parts.next()) {
        (None, _) => Bytes::new(),
        (Some(only), None) => only,
        (Some(first), Some(second)) => {
            let mut joined = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
            joined.extend_from_slice(&first);
            joined.extend_from_slice(&second);
            parts.for_each(|part| joined.extend_from_slice(&part));
            joined.freeze()
        }
    }))
}

/// A body that ends with an error when it is longer than allowed, and tells its [`Progress`].
struct Bounded {
    inner: crate::runner::StreamingBody,
    left: u64,
    limit: u64,
    progress: Arc<Progress>,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                clean_trailers(frame);
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.progress.received.fetch_add(length, Ordering::Relaxed);
                match this.left.checked_sub(length) {
                    Some(left) => this.left = left,
                    None => {
                        this.progress.set_fate(Fate::TooLarge);
                        return Poll::Ready(Some(Err(BodyError::TooLarge { limit: this.limit })));
                    }
                }
            }
            Poll::Ready(Some(Err(error))) => this.progress.set_fate(Fate::of(error)),
            Poll::Ready(None) | Poll::Pending => {}
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

/// A body of which some frames were read already.
struct Resumed<B> {
    frames: VecDeque<Frame<Bytes>>,
    rest: Pin<Box<B>>,
}

impl<B: Body<Data = Bytes>> Body for Resumed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        match this.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => this.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ByteSize;
    use http_body_util::{Full, StreamBody};

    fn config(held: u64, max: u64) -> FrontConfig {
        FrontConfig { held_body: ByteSize(held), max_body: ByteSize(max), ..FrontConfig::default() }
    }

    fn chunks(parts: &[&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + Send + 'static {
        let frames: Vec<_> = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    async fn read(body: CallBody) -> Result<Bytes, BodyError> {
        Ok(body.take().unwrap().collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_small_body_is_held_whole_and_can_be_replayed() {
        let mut upload = Upload::default();
        let body = hold(chunks(&["ab", "c", "def"]), Talk::InTurn, &config(6, 10), &mut upload).await.unwrap();
        assert!(matches!(&body, CallBody::Held(bytes) if bytes == "abcdef"));
        assert_eq!(upload.received(), 6);
    }

    #[tokio::test]
    async fn a_longer_body_streams_with_every_byte_in_its_place() {
        let mut upload = Upload::default();
        let body = hold(chunks(&["ab", "c", "def", "g"]), Talk::InTurn, &config(3, 10), &mut upload).await.unwrap();
        assert!(matches!(body, CallBody::Streaming(_)));
        assert_eq!(upload.received(), 6, "only what was needed to know was read");
        assert_eq!(read(body).await.unwrap(), "abcdefg");
        assert_eq!(upload.fate(), Fate::Fine);
    }

    #[tokio::test]
    async fn a_body_announced_as_long_is_not_read_before_a_runner_took_the_call() {
        let mut upload = Upload::default();
        let body = hold(Full::new(Bytes::from_static(b"abcdef")), Talk::InTurn, &config(3, 10), &mut upload).await.unwrap();
        assert_eq!((upload.received(), body.length()), (0, Some(6)));
    }

    #[tokio::test]
    async fn a_body_whose_client_may_wait_for_an_answer_is_not_waited_for() {
        let mut headers = HeaderMap::new();
        assert_eq!(Talk::of(&headers), Talk::InTurn);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        let talk = Talk::of(&headers);
        let mut upload = Upload::default();
        let body = hold(chunks(&["ab", "c"]), talk, &config(6, 10), &mut upload).await.unwrap();
        assert_eq!(upload.received(), 0);
        assert_eq!(read(body).await.unwrap(), "abc");
        // One whose length is known has nothing to wait for.
        let body = hold(Full::new(Bytes::from_static(b"abc")), talk, &config(6, 10), &mut upload).await.unwrap();
        assert!(matches!(body, CallBody::Held(_)));
    }

    /// As HTTP/2 has it: the length is announced, and trailers follow.
    struct Announced<B>(B, u64);

    impl<B: Body<Data = Bytes> + Unpin> Body for Announced<B> {
        type Data = Bytes;
        type Error = B::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.1)
        }
    }

    #[tokio::test]
    async fn trailers_are_kept_behind_a_body_that_is_as_long_as_announced() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("6"));
        let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::trailers(trailers)].map(Ok::<_, std::io::Error>);
        let body = Announced(StreamBody::new(futures_util::stream::iter(frames)), 3);
        let body = hold(body, Talk::InTurn, &config(6, 10), &mut Upload::default()).await.unwrap();
        let read = body.take().unwrap().collect().await.unwrap();
        assert_eq!(read.trailers().map(|trailers| trailers["x-sum"].clone()), Some(HeaderValue::from_static("6")));
        assert_eq!(read.to_bytes(), "abc");
    }

    #[tokio::test]
    async fn a_body_longer_than_allowed_is_refused_by_its_announcement_and_while_it_streams() {
        let mut upload = Upload::default();
        let announced =
            hold(Full::new(Bytes::from_static(b"abcdef")), Talk::InTurn, &config(3, 5), &mut upload).await.unwrap_err();
        assert_eq!(announced.to_string(), "the body is longer than the 5 bytes allowed");
        let held = hold(chunks(&["abc", "def"]), Talk::InTurn, &config(10, 5), &mut upload).await.unwrap_err();
        assert_eq!(held.to_string(), "the body is longer than the 5 bytes allowed");

        let mut upload = Upload::default();
        let streaming = hold(chunks(&["abcd", "ef"]), Talk::InTurn, &config(3, 5), &mut upload).await.unwrap();
        assert!(read(streaming).await.is_err());
        assert_eq!(upload.fate(), Fate::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_the_clients_doing() {
        let frames = vec![Ok(Frame::data(Bytes::from_static(b"ab"))), Err(std::io::Error::other("gone"))];
        let mut upload = Upload::default();
        let error = hold(StreamBody::new(futures_util::stream::iter(frames)), Talk::InTurn, &config(9, 9), &mut upload)
            .await
            .unwrap_err();
        assert!(matches!(error, HoldError::Broken(_)));
        assert_eq!(upload.fate(), Fate::Broken);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        let error = hold(never, Talk::InTurn, &config(9, 9), &mut Upload::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "the body did not arrive within 1m");
    }
}
