//! The body of a call on its way to the function.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};

use super::run_error::RunError;
use crate::model::ByteSize;
use crate::server::{RequestBody, RequestBodyError};

/// The longest body of a detached call. It must be held in memory, since nobody may be there to send it when the function reads it; 6 MiB is
/// what Fn's deployments allow for a body.
pub(crate) const MAX_HELD_INPUT: ByteSize = ByteSize::mib(6);

/// The body of a call on its way to the function. Streams, and tells whether all of it was read.
#[derive(Debug)]
pub(crate) struct Input {
    source: Source,
    /// Bytes still to come, if the length is known.
    left: Option<u64>,
    progress: InputProgress,
}

#[derive(Debug)]
enum Source {
    Streaming(RequestBody),
    Held(Full<Bytes>),
}

/// Tells how much of an [`Input`] was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputProgress {
    flags: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    is_at_end: AtomicBool,
    has_failed: AtomicBool,
}

// === impl Input ===

impl Input {
    /// Streams what the client sends.
    pub(crate) fn streaming(body: RequestBody) -> Self {
        Self::new(body.size_hint().exact(), Source::Streaming(body))
    }

    /// Bytes that are all here.
    pub(crate) fn held(bytes: Bytes) -> Self {
        let body = Full::new(bytes);
        Self::new(body.size_hint().exact(), Source::Held(body))
    }

    fn new(left: Option<u64>, source: Source) -> Self {
        let input = Self { source, left, progress: InputProgress::default() };
        input.look_for_end();
        input
    }

    /// Tells how much was read, when the input itself was given away.
    pub(crate) fn progress(&self) -> InputProgress {
        self.progress.clone()
    }

    /// The end must be noticed by looking, not by being asked for another frame: whoever sends a body of known length does not ask.
    fn look_for_end(&self) {
        if self.left == Some(0) || self.is_end_stream() {
            self.progress.flags.is_at_end.store(true, Ordering::Release);
        }
    }
}

// === impl InputProgress ===

impl InputProgress {
    /// Whether every byte was read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.flags.is_at_end.load(Ordering::Acquire)
    }

    /// Whether the client went away in the middle of it.
    pub(crate) fn has_failed(&self) -> bool {
        self.flags.has_failed.load(Ordering::Acquire)
    }
}

impl Body for Input {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let frame = loop {
            let frame = match &mut self.source {
                Source::Streaming(body) => std::task::ready!(Pin::new(body).poll_frame(cx)),
                Source::Held(body) => {
                    std::task::ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(|never| match never {}))
                }
            };
            // A client's trailers are no part of the contract, and could pass for what only we may say.
            if !matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
                break frame;
            }
        };
        match &frame {
            None => self.progress.flags.is_at_end.store(true, Ordering::Release),
            Some(Err(_)) => self.progress.flags.has_failed.store(true, Ordering::Release),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.left = self.left.map(|left| left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX)));
                self.look_for_end();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Streaming(body) => body.is_end_stream(),
            Source::Held(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Streaming(body) => body.size_hint(),
            Source::Held(body) => body.size_hint(),
        }
    }
}

/// Reads a body to its end, [`MAX_HELD_INPUT`] at most.
///
/// # Errors
/// It is longer, or the client went away.
pub(crate) async fn hold(body: RequestBody) -> Result<Bytes, RunError> {
    let limit = usize::try_from(MAX_HELD_INPUT.bytes()).unwrap_or(usize::MAX);
    if body.size_hint().lower() > MAX_HELD_INPUT.bytes() {
        return Err(RunError::InputTooLarge(MAX_HELD_INPUT));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RunError::InputTooLarge(MAX_HELD_INPUT)),
        Err(_) => Err(RunError::ClientGone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_noticed_with_the_last_byte() {
        let mut input = Input::held(Bytes::from_static(b"abc"));
        let progress = input.progress();
        assert!(!progress.is_at_end());
        assert!(input.frame().await.unwrap().is_ok());
        assert!(progress.is_at_end());
        assert!(!progress.has_failed());
    }

    #[test]
    fn nothing_is_at_its_end_at_once() {
        assert!(Input::held(Bytes::new()).progress().is_at_end());
    }
}
