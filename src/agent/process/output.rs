//! What functions write, line by line into the program's log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use crate::model::{CallId, FunctionName};

/// The longest line that is logged; the rest of a longer one is dropped.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Which stream a line came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What is known about the lines of one process: which function, which call.
#[derive(Debug)]
pub(crate) struct FunctionLog {
    function: FunctionName,
    /// Protects the call and the last line; held for a move or a copy of one line.
    state: Mutex<LogState>,
    is_stderr_at_end: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct LogState {
    call: Option<CallId>,
    last_error_line: String,
}

// === impl FunctionLog ===

impl FunctionLog {
    /// The log of a process of `function`.
    pub(crate) fn new(function: FunctionName) -> Self {
        Self { function, state: Mutex::default(), is_stderr_at_end: watch::Sender::new(false) }
    }

    /// Lines from here on belong to this call, until there is another: a pipe is read after the answer that came over a socket, so that
    /// the end of a call says nothing about its lines.
    pub(crate) fn set_call(&self, call: CallId) {
        self.lock().call = Some(call);
    }

    /// The last line on standard error that was not empty, when the process is dead: waits until the pipe is read to its end, but
    /// not for long, as a process that left the group may hold it open.
    pub(crate) async fn last_error_line(&self) -> String {
        const PATIENCE: Duration = Duration::from_millis(250);
        let mut at_end = self.is_stderr_at_end.subscribe();
        let _ = tokio::time::timeout(PATIENCE, at_end.wait_for(|is_at_end| *is_at_end)).await;
        self.lock().last_error_line.clone()
    }

    fn write(&self, pid: i32, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        let call = {
            let mut state = self.lock();
            if stream == Stream::Stderr {
                text.clone_into(&mut state.last_error_line);
            }
            state.call
        };
        let call = call.map(|call| call.to_string()).unwrap_or_default();
        tracing::info!(target: "function", function = %self.function, call, worker = pid, stream = stream.as_str(), "{text}");
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `reader` to its end and logs its lines. Always reads on, so that a process is never stopped by a full pipe.
pub(crate) async fn log_lines(mut reader: impl AsyncRead + Unpin, stream: Stream, pid: i32, log: &FunctionLog) {
    let mut lines = LineSplitter::default();
    let mut chunk = vec![0; 4_096];
    loop {
        match reader.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => lines.push(chunk.get(..count).unwrap_or_default(), |line| log.write(pid, stream, line)),
        }
    }
    lines.finish(|line| log.write(pid, stream, line));
    if stream == Stream::Stderr {
        log.is_stderr_at_end.send_replace(true);
    }
}

/// Cuts a stream into lines of a bounded length.
#[derive(Debug, Default)]
struct LineSplitter {
    line: Vec<u8>,
}

impl LineSplitter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_complete) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(text.get(..room).unwrap_or_default());
            if is_complete {
                emit(&self.line);
                self.line.clear();
            }
        }
    }

    fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            emit(&self.line);
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::default();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line.to_vec()));
            assert!(splitter.line.len() <= MAX_LINE_BYTES);
        }
        splitter.finish(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let lines = split(&[vec![b'a'; 3 * MAX_LINE_BYTES], b"bc\nnext".to_vec()]);
        assert_eq!(lines, [vec![b'a'; MAX_LINE_BYTES], b"next".to_vec()]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(text in "[ab\n]{0,200}", cut in 0_usize..200) {
            let bytes = text.into_bytes();
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(split(&[head.to_vec(), tail.to_vec()]), split(std::slice::from_ref(&bytes)));
        }
    }

    #[tokio::test]
    async fn the_last_line_on_standard_error_is_remembered() {
        let log = FunctionLog::new("f".parse().unwrap());
        log_lines(&b"one\ntwo\n\n"[..], Stream::Stderr, 1, &log).await;
        log_lines(&b"three\n"[..], Stream::Stdout, 1, &log).await;
        assert_eq!(log.last_error_line().await, "two");
    }
}
