//! The body of an answer on its way from a job's standard output to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;
use tokio::task::AbortHandle;

use super::answer::Cut;
use super::exec_job::judge;
use super::process::{Exit, FunctionLog, Process};
use super::run::Run;
use super::run_error::RunError;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// The end of a job: how it ended, with the last line it wrote on standard error. Dropped, it stops the feeding of its input.
pub(crate) struct JobEnd {
    end: Pin<Box<dyn Future<Output = (Exit, String)> + Send>>,
    feeder: AbortHandle,
}

impl JobEnd {
    /// Waits for the end of `process`.
    pub(crate) fn new(process: Process, log: Arc<FunctionLog>, feeder: AbortHandle) -> Self {
        let end = Box::pin(async move { (process.exited().await, log.last_error_line().await) });
        Self { end, feeder }
    }
}

impl Future for JobEnd {
    type Output = (Exit, String);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Exit, String)> {
        self.end.as_mut().poll(cx)
    }
}

impl Drop for JobEnd {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

/// Streams a job's output. Dropped before its end, it kills the job.
pub(crate) struct JobBody {
    first: Option<Bytes>,
    output: ChildStdout,
    end: JobEnd,
    chunk: BytesMut,
    /// Bytes that may still come.
    left: u64,
    /// Absent when the call is over.
    run: Option<Run>,
    is_output_at_end: bool,
}

impl JobBody {
    /// Streams `first`, then `output`, `limit` bytes at most.
    pub(crate) fn new(first: Bytes, output: ChildStdout, end: JobEnd, run: Run, limit: u64) -> Self {
        let chunk = BytesMut::zeroed(CHUNK);
        Self { first: Some(first), output, end, chunk, left: limit, run: Some(run), is_output_at_end: false }
    }

    /// Reads the body to its end and drops it.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) async fn discard(mut self) -> Result<(), RunError> {
        while let Some(frame) = self.frame().await {
            if let Err(Cut(reason)) = frame {
                return Err(RunError::BadAnswer(reason));
            }
        }
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Option<Result<Frame<Bytes>, Cut>> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.left {
            return Some(Err(self.cut(RunError::BodyTooLarge)));
        }
        self.left -= length;
        Some(Ok(Frame::data(bytes)))
    }

    fn cut(&mut self, error: RunError) -> Cut {
        match self.run.take() {
            Some(run) => Cut(run.kill(error).to_string()),
            None => Cut(error.to_string()),
        }
    }

    fn complete(&mut self, exit: Exit, line: String) -> Option<Result<Frame<Bytes>, Cut>> {
        let run = self.run.take()?;
        let result = match judge(exit, line) {
            Ok(()) => run.finish().map(drop),
            Err(error) => Err(run.kill(error)),
        };
        result.err().map(|error| Err(Cut(error.to_string())))
    }
}

impl Body for JobBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let body = &mut *self;
        if let Some(first) = body.first.take() {
            return Poll::Ready(body.data(first));
        }
        if body.run.is_none() {
            return Poll::Ready(None);
        }
        if !body.is_output_at_end {
            let mut buffer = ReadBuf::new(&mut body.chunk);
            match ready!(Pin::new(&mut body.output).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => body.is_output_at_end = true,
                Ok(()) => {
                    let bytes = Bytes::copy_from_slice(buffer.filled());
                    return Poll::Ready(body.data(bytes));
                }
                Err(error) => {
                    let error = RunError::BadAnswer(format!("could not read its output: {error}"));
                    return Poll::Ready(Some(Err(body.cut(error))));
                }
            }
        }
        let (exit, line) = ready!(Pin::new(&mut body.end).poll(cx));
        Poll::Ready(body.complete(exit, line))
    }
}
