//! The body of an answer on its way from a worker to the client.
//!
//! Its last byte ends the call: if the worker has read all of the request too, it is free for the next call. It is the only place where a
//! worker goes back, so that bytes of one call can never meet another.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answer::Cut;
use super::house::Lease;
use super::input::InputProgress;
use super::run::Run;
use super::run_error::RunError;

/// Streams a worker's answer. Dropped before its end, it kills the worker.
pub(crate) struct WorkerBody {
    incoming: Incoming,
    progress: InputProgress,
    /// Bytes that may still come.
    left: u64,
    /// Absent when the call is over.
    running: Option<(Run, Lease)>,
}

impl WorkerBody {
    /// Streams `incoming`, `limit` bytes at most.
    pub(crate) fn new(incoming: Incoming, run: Run, lease: Lease, progress: InputProgress, limit: u64) -> Self {
        let mut body = Self { incoming, progress, left: limit, running: Some((run, lease)) };
        if body.incoming.is_end_stream() {
            // Nobody asks an empty body for frames. If it was killed meanwhile, the answer is whole all the same.
            let _ = body.complete();
        }
        body
    }

    /// Reads the body to its end and drops it.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) async fn discard(mut self) -> Result<(), RunError> {
        while self.running.is_some() {
            match self.frame().await {
                Some(Ok(_)) => {}
                Some(Err(Cut(reason))) => return Err(RunError::BadAnswer(reason)),
                None => break,
            }
        }
        Ok(())
    }

    /// The worker has sent everything.
    fn complete(&mut self) -> Result<(), RunError> {
        let Some((run, lease)) = self.running.take() else { return Ok(()) };
        if !self.progress.is_at_end() {
            // It has answered without reading all of the request: what is left of that would reach the next call (Fn's `PipesAreClear`).
            run.finish_and_kill();
            return Ok(());
        }
        // The worker is back before the slot is free: whoever takes the slot finds it warm.
        let held = run.finish()?;
        lease.give_back();
        drop(held);
        Ok(())
    }

    /// The body cannot go on: kills the worker.
    fn cut(&mut self, error: RunError) -> Cut {
        match self.running.take() {
            Some((run, _lease)) => Cut(run.kill(error).to_string()),
            None => Cut(error.to_string()),
        }
    }
}

impl Body for WorkerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let body = &mut *self;
        loop {
            match std::task::ready!(Pin::new(&mut body.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers are no part of the contract, and could carry what only we may say.
                    let Ok(bytes) = frame.into_data() else { continue };
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if length > body.left {
                        return Poll::Ready(Some(Err(body.cut(RunError::BodyTooLarge))));
                    }
                    body.left -= length;
                    if body.incoming.is_end_stream()
                        && let Err(verdict) = body.complete()
                    {
                        return Poll::Ready(Some(Err(Cut(verdict.to_string()))));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(_)) => {
                    let error = if body.progress.has_failed() { RunError::ClientGone } else { RunError::Disconnected };
                    return Poll::Ready(Some(Err(body.cut(error))));
                }
                None => {
                    return match body.complete() {
                        Ok(()) => Poll::Ready(None),
                        Err(verdict) => Poll::Ready(Some(Err(Cut(verdict.to_string())))),
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.running.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
