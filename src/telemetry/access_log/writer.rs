//! The thread that writes lines: takes what is there, writes it at once, waits for more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use crate::telemetry::metrics::Counter;

use super::entry::Entry;
use super::sink::Sink;

/// Bytes that are gathered before they are written.
const BATCH_BYTES: usize = 64 * 1_024;

/// What the queue carries.
#[derive(Debug)]
pub(super) enum Message {
    /// A line to write.
    Entry(Box<Entry>),
    /// Write what came before, then open the file anew.
    Reopen,
    /// Look at [`Control`].
    Wake,
}

/// What the thread is asked beside the queue, for the case that the queue is full.
#[derive(Debug, Default)]
pub(super) struct Control {
    is_to_reopen: AtomicBool,
    is_to_end: AtomicBool,
}

impl Control {
    /// Asks for a new file, in the order of the queue if it has room.
    pub(super) fn ask_to_reopen(&self, queue: &SyncSender<Message>) {
        if queue.try_send(Message::Reopen).is_err() {
            self.is_to_reopen.store(true, Ordering::Release);
        }
    }

    /// Asks the thread to write what is queued and to end.
    pub(super) fn ask_to_end(&self, queue: &SyncSender<Message>) {
        self.is_to_end.store(true, Ordering::Release);
        // If the queue is full, the thread is awake and comes to look.
        let _ = queue.try_send(Message::Wake);
    }
}

#[cfg(test)]
impl Control {
    pub(super) fn is_asked_to_reopen(&self) -> bool {
        self.is_to_reopen.load(Ordering::Acquire)
    }
}

/// The thread's state.
pub(super) struct Writer {
    sink: Box<dyn Sink>,
    control: Arc<Control>,
    dropped: Counter,
    /// Lines as text, not written yet.
    lines: Vec<u8>,
    /// How many they are.
    line_count: u64,
    /// The last batch was perhaps written in part, so that the next begins on a line of its own.
    is_torn: bool,
}

impl Writer {
    pub(super) fn new(sink: Box<dyn Sink>, control: Arc<Control>, dropped: Counter) -> Self {
        Self { sink, control, dropped, lines: Vec::with_capacity(BATCH_BYTES), line_count: 0, is_torn: false }
    }

    /// Writes until it is asked to end, or until nobody is left who could record anything.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        while let Ok(message) = queue.recv() {
            self.take(message);
            while let Ok(message) = queue.try_recv() {
                self.take(message);
            }
            self.write_out();
            if self.control.is_to_reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if self.control.is_to_end.load(Ordering::Acquire) {
                break;
            }
        }
        // What was queued between the last look and the request to end.
        while let Ok(message) = queue.try_recv() {
            self.take(message);
        }
        self.write_out();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Entry(entry) => {
                entry.write(&mut self.lines);
                self.line_count += 1;
                if self.lines.len() >= BATCH_BYTES {
                    self.write_out();
                }
            }
            Message::Reopen => {
                self.write_out();
                self.reopen();
            }
            Message::Wake => {}
        }
    }

    fn write_out(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let was_torn = self.is_torn;
        let result = if was_torn { self.sink.write_all(b"\n") } else { Ok(()) };
        let result = result.and_then(|()| self.sink.write_all(&self.lines)).and_then(|()| self.sink.flush());
        self.is_torn = result.is_err();
        if let Err(error) = result {
            self.dropped.inc_by(self.line_count);
            if !was_torn {
                tracing::warn!(%error, lines = self.line_count, "could not write the access log; lines are dropped until it can be written");
            }
        } else if was_torn {
            tracing::info!("the access log can be written again");
        }
        self.lines.clear();
        self.line_count = 0;
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(()) => self.is_torn = false,
            Err(error) => tracing::warn!(%error, "could not open the access log anew; the old file is kept"),
        }
    }
}
