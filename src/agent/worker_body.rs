//! The body of an answer on its way from a worker to the client.
//!
//! Its last byte ends the call: if the worker has read all of the request too, it is free for the next call, before that byte (or, of a body
//! in chunks, the end after it) is handed to the connection. It is the only place where a worker goes back, so that bytes of one call can never
//! meet another.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::answer::Cut;
use super::house::{Lease, UntoldLoss};
use super::input::InputProgress;
use super::run::Run;
use super::run_error::RunError;

/// Streams a worker's answer. Dropped before its end, it kills the worker.
pub(crate) struct WorkerBody {
    progress: InputProgress,
    /// Bytes that may still come.
    left: u64,
    /// Absent when the call is over.
    running: Option<(Run, Lease)>,
    /// What was read of it before it was asked for.
    ahead: Option<Result<Frame<Bytes>, Cut>>,
    /// The end of a worker that is killed though it has answered, and what is sent after it: the client may then send the next call.
    dying: Option<Dying>,
    /// Told with the body's end.
    loss: Option<UntoldLoss>,
}

struct Dying {
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    last: Option<Frame<Bytes>>,
}

impl WorkerBody {
    /// Streams the answer whose head the worker has just sent, `limit` bytes at most and until `deadline`, when the run has taken `time`.
    ///
    /// Of a short answer all is there with its head, as a rule: then the worker is free at once, and nobody has to look at the clock.
    pub(crate) async fn new(
        run: Run,
        lease: Lease,
        progress: InputProgress,
        limit: u64,
        (deadline, time): (Instant, Duration),
    ) -> Self {
        let running = Some((run, lease));
        let mut body = Self { progress, left: limit, running, ahead: None, dying: None, loss: None };
        if body.left_of_worker() == (0, true) {
            // Nobody asks an empty body for frames. If it was killed meanwhile, the answer is whole all the same.
            let _ = body.complete(None);
            if let Some(dying) = body.dying.take() {
                dying.end.await;
            }
            return body;
        }
        if let Poll::Ready(frame) = poll_fn(|cx| Poll::Ready(body.poll_next(cx))).await {
            body.ahead = frame;
        }
        if let Some((run, _)) = &mut body.running {
            // From here on it is the client who decides when more is asked for.
            run.watch_clock(deadline, time);
        }
        body
    }

    /// Reads the body to its end and drops it.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) async fn discard(mut self) -> Result<(), RunError> {
        while !self.is_over() {
            match self.frame().await {
                Some(Ok(_)) => {}
                Some(Err(Cut(reason))) => return Err(RunError::BadAnswer(reason)),
                None => break,
            }
        }
        Ok(())
    }

    /// How many bytes certainly come of the worker, and whether nothing else does.
    fn left_of_worker(&self) -> (u64, bool) {
        self.running.as_ref().map_or((0, true), |(_, lease)| lease.worker.left())
    }

    fn is_over(&self) -> bool {
        self.running.is_none() && self.dying.is_none() && self.ahead.is_none()
    }

    /// The worker has sent everything. Gives `last` back, unless it is to be sent when the worker is dead.
    fn complete(&mut self, last: Option<Frame<Bytes>>) -> Result<Option<Frame<Bytes>>, RunError> {
        let Some((run, mut lease)) = self.running.take() else { return Ok(last) };
        if !(self.progress.is_at_end() && lease.worker.is_through()) {
            // It has answered without reading all of the request: what is left of that would reach the next call (Fn's `PipesAreClear`).
            let end = Box::pin(run.finish_and_kill());
            self.loss = Some(lease.discard_answered());
            self.dying = Some(Dying { end, last });
            return Ok(None);
        }
        // The worker is back before the slot is free: whoever takes the slot finds it warm.
        let held = run.finish()?;
        lease.give_back();
        drop(held);
        Ok(last)
    }

    /// What comes next of the worker.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let body = self;
        loop {
            if let Some(dying) = &mut body.dying {
                std::task::ready!(dying.end.as_mut().poll(cx));
                let last = dying.last.take();
                body.dying = None;
                return Poll::Ready(last.map(Ok));
            }
            let Some((_, lease)) = &mut body.running else { return Poll::Ready(None) };
            match std::task::ready!(lease.worker.poll_data(cx)) {
                Ok(Some(bytes)) => {
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if length > body.left {
                        return Poll::Ready(Some(Err(body.cut(RunError::BodyTooLarge))));
                    }
                    body.left -= length;
                    let frame = Frame::data(bytes);
                    if body.left_of_worker() != (0, true) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    match body.complete(Some(frame)) {
                        Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                        Ok(None) => {}
                        Err(verdict) => return Poll::Ready(Some(Err(Cut(verdict.to_string())))),
                    }
                }
                Err(_) => {
                    let error = if body.progress.has_failed() { RunError::ClientGone } else { RunError::Disconnected };
                    return Poll::Ready(Some(Err(body.cut(error))));
                }
                Ok(None) => match body.complete(None) {
                    Ok(_) if body.dying.is_some() => {}
                    Ok(_) => return Poll::Ready(None),
                    Err(verdict) => return Poll::Ready(Some(Err(Cut(verdict.to_string())))),
                },
            }
        }
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
        match self.ahead.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let length = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, |data| data.len() as u64);
        if let Some(Ok(frame)) = &self.ahead {
            let (rest, is_exact) = self.left_of_worker();
            return if is_exact { SizeHint::with_exact(length(frame) + rest) } else { SizeHint::default() };
        }
        match self.dying.as_ref().and_then(|dying| dying.last.as_ref()).and_then(Frame::data_ref) {
            Some(last) => SizeHint::with_exact(u64::try_from(last.len()).unwrap_or(u64::MAX)),
            None => match self.left_of_worker() {
                (left, true) => SizeHint::with_exact(left),
                _ => SizeHint::default(),
            },
        }
    }
}
