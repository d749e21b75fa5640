//! The access log: one JSON object a line and request, off the hot path.
//!
//! [`AccessLog::record`] moves an [`Entry`] into a bounded queue and returns; one thread makes text of it and writes many lines at
//! once. If the thread cannot keep up (a slow disk, a reader of the pipe that went to sleep), entries are dropped and counted:
//! a call never waits for its log line.

mod entry;
mod sink;
mod writer;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::telemetry::metrics::Counter;

pub use self::entry::Entry;
use self::sink::Sink;
use self::writer::{Control, Message, Writer};
use super::config::{AccessLogFilter, AccessLogTarget, TelemetryConfig};
use super::metrics::Metrics;

/// Entries that may wait to be written. With what a client chooses cut to 2 KiB each, they hold 50 MB at the very worst and about 2 MB
/// usually.
const MAX_QUEUED: usize = 8_192;
/// How long the end of the program waits for the last lines if nobody says otherwise.
const DEFAULT_CLOSE: Duration = Duration::from_secs(2);

/// The access log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file could not be opened.
    #[error("could not open the access log `{path}` for appending: {source}")]
    Open {
        /// The configured path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The writing thread could not be started.
    #[error("could not start the thread that writes the access log: {0}")]
    Thread(#[source] std::io::Error),
}

/// Where requests are recorded. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    open: Option<Arc<Open>>,
    dropped: Counter,
}

/// What is there only when the log goes somewhere.
#[derive(Debug)]
struct Open {
    queue: SyncSender<Message>,
    control: Arc<Control>,
    filter: AccessLogFilter,
    slower_than: Option<Duration>,
}

impl AccessLog {
    /// A log that goes nowhere.
    pub fn off() -> Self {
        Self::default()
    }

    /// The log that the configuration asks for, with the guard that writes the last lines at the end of the program.
    ///
    /// # Errors
    /// The file or the thread could not be had.
    pub fn from_config(config: &TelemetryConfig) -> Result<(Self, AccessLogGuard), AccessLogError> {
        let sink: Box<dyn Sink> = match &config.access_log {
            AccessLogTarget::Off => return Ok((Self::off(), AccessLogGuard::default())),
            AccessLogTarget::Stdout => Box::new(std::io::stdout()),
            AccessLogTarget::Stderr => Box::new(std::io::stderr()),
            AccessLogTarget::File(path) => Box::new(
                sink::File::open(path).map_err(|source| AccessLogError::Open { path: path.display().to_string(), source })?,
            ),
        };
        Self::over(sink, config, MAX_QUEUED)
    }

    fn over(sink: Box<dyn Sink>, config: &TelemetryConfig, max_queued: usize) -> Result<(Self, AccessLogGuard), AccessLogError> {
        let (queue, entries) = sync_channel(max_queued);
        let (ended, end) = sync_channel(1);
        let (control, dropped) = (Arc::new(Control::default()), Counter::default());
        let writer = Writer::new(sink, Arc::clone(&control), dropped.clone());
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                writer.run(&entries);
                // Only ever dropped: that is the sign.
                drop::<SyncSender<()>>(ended);
            })
            .map_err(AccessLogError::Thread)?;
        let guard =
            AccessLogGuard { running: Some(Running { queue: queue.clone(), control: Arc::clone(&control), end, thread }) };
        let open = Open { queue, control, filter: config.access_log_filter, slower_than: config.access_log_slower_than };
        Ok((Self { open: Some(Arc::new(open)), dropped }, guard))
    }

    /// Whether anything is recorded: what costs time to find out need not be, if not.
    pub const fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// Records a request that has ended, if the filter shows it. Never blocks.
    pub fn record(&self, mut entry: Entry) {
        let Some(open) = &self.open else { return };
        if !entry.passes(open.filter, open.slower_than) {
            return;
        }
        entry.bound();
        if open.queue.try_send(Message::Entry(Box::new(entry))).is_err() {
            self.dropped.inc();
        }
    }

    /// Opens the file anew, under the same path: what a program that moves log files away asks for by a signal. Lines recorded
    /// before go to the old file. Without a file it does nothing. Never blocks.
    pub fn reopen(&self) {
        if let Some(open) = &self.open {
            open.control.ask_to_reopen(&open.queue);
        }
    }

    /// Declares what is counted about the log.
    pub fn declare(&self, metrics: &mut Metrics) {
        metrics.single_counter(
            "runpool_access_log_dropped",
            "Lines of the access log that were not written: the writer could not keep up, or could not write",
            self.dropped.clone(),
        );
    }
}

/// Owns the writing thread: writes the last lines when closed or dropped. Keep it until the last request has ended.
#[derive(Debug, Default)]
pub struct AccessLogGuard {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    queue: SyncSender<Message>,
    control: Arc<Control>,
    /// Is cut off when the thread has written all.
    end: Receiver<()>,
    thread: JoinHandle<()>,
}

impl AccessLogGuard {
    /// Writes what is queued and ends the thread; gives up after `within`, so that a reader that went to sleep cannot hold the
    /// program. Requests recorded later are dropped and counted.
    ///
    /// Blocks: inside of a runtime, call it on a thread for blocking work. Dropping the guard does the same within 2 seconds.
    pub fn close(mut self, within: Duration) {
        if let Some(running) = self.running.take() {
            running.close(within);
        }
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.close(DEFAULT_CLOSE);
        }
    }
}

impl Running {
    fn close(self, within: Duration) {
        self.control.ask_to_end(&self.queue);
        match self.end.recv_timeout(within) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the last lines of the access log could not be written in time");
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if self.thread.join().is_err() {
                    tracing::error!("the thread that writes the access log panicked");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
