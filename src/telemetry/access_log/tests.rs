//! Lines as they come out.

use std::io::{self, Write};
use std::sync::{Mutex, mpsc};
use std::time::UNIX_EPOCH;

use http::Method;

use super::*;
use crate::model::Outcome;

fn entry(path: &str) -> Entry {
    Entry::new(UNIX_EPOCH, Method::GET, path.to_owned(), Outcome::Ok)
}

/// The paths of the lines, in their order.
fn paths(text: &str) -> Vec<String> {
    let path = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().unwrap().to_owned();
    text.lines().map(path).collect()
}

fn config(target: AccessLogTarget) -> TelemetryConfig {
    TelemetryConfig { access_log: target, ..TelemetryConfig::default() }
}

/// Long enough for any machine; what is waited for comes at once.
const WITHIN: Duration = Duration::from_secs(60);

/// Tells of every write, and does it only when it is let.
struct Gate {
    arrived: mpsc::Sender<()>,
    let_through: mpsc::Receiver<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.arrived.send(());
        self.let_through.recv().unwrap_or(Ok(()))?;
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Gate {}

struct Gated {
    log: AccessLog,
    guard: AccessLogGuard,
    arrived: mpsc::Receiver<()>,
    let_through: mpsc::Sender<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

fn gated(max_queued: usize) -> Gated {
    let (arrive, arrived) = mpsc::channel();
    let (let_through, gate) = mpsc::channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Gate { arrived: arrive, let_through: gate, written: Arc::clone(&written) };
    let (log, guard) = AccessLog::over(Box::new(sink), &config(AccessLogTarget::Off), max_queued).unwrap();
    Gated { log, guard, arrived, let_through, written }
}

#[test]
fn every_recorded_line_is_in_the_file_after_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.jsonl");
    let (log, guard) = AccessLog::from_config(&config(AccessLogTarget::File(path.clone()))).unwrap();
    let expected: Vec<_> = (0..2_000).map(|number| format!("/{number}")).collect();
    for path in &expected {
        log.record(entry(path));
    }
    guard.close(WITHIN);
    assert_eq!(paths(&std::fs::read_to_string(path).unwrap()), expected);
    assert_eq!(log.dropped.get(), 0);
    log.record(entry("/late"));
    assert_eq!(log.dropped.get(), 1, "what comes after the end is counted");
}

#[test]
fn a_file_that_was_moved_away_keeps_what_came_before_and_a_new_one_gets_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("access.jsonl"), directory.path().join("access.jsonl.1"));
    let (log, guard) = AccessLog::from_config(&config(AccessLogTarget::File(path.clone()))).unwrap();
    log.record(entry("/before"));
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    log.record(entry("/after"));
    guard.close(WITHIN);
    assert_eq!(paths(&std::fs::read_to_string(moved).unwrap()), ["/before"]);
    assert_eq!(paths(&std::fs::read_to_string(path).unwrap()), ["/after"]);
}

#[test]
fn a_writer_that_cannot_keep_up_costs_lines_and_never_blocks_a_call() {
    let Gated { log, guard, arrived, let_through, written } = gated(2);
    log.record(entry("/written"));
    arrived.recv().unwrap();
    // The thread stands at the gate with the first line. Two more fit the queue.
    for number in 1..=5 {
        log.record(entry(&format!("/{number}")));
    }
    assert_eq!(log.dropped.get(), 3);
    drop(let_through);
    guard.close(WITHIN);
    assert_eq!(paths(&String::from_utf8(written.lock().unwrap().clone()).unwrap()), ["/written", "/1", "/2"]);
}

#[test]
fn lines_that_could_not_be_written_are_counted_and_the_next_begin_on_a_line_of_their_own() {
    let Gated { log, guard, arrived, let_through, written } = gated(10);
    log.record(entry("/lost"));
    arrived.recv().unwrap();
    let_through.send(Err(io::Error::other("disk full"))).unwrap();
    drop(let_through);
    log.record(entry("/kept"));
    guard.close(WITHIN);
    assert_eq!(log.dropped.get(), 1);
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert_eq!(paths(text.strip_prefix('\n').unwrap()), ["/kept"]);
}

#[test]
fn a_reader_that_went_to_sleep_does_not_hold_the_end_of_the_program() {
    let Gated { log, guard, arrived, let_through, .. } = gated(1);
    log.record(entry("/stuck"));
    arrived.recv().unwrap();
    guard.close(Duration::ZERO);
    drop(let_through);
}

#[test]
fn a_new_file_that_is_asked_for_while_the_queue_is_full_is_not_forgotten() {
    let Gated { log, guard, arrived, let_through, .. } = gated(1);
    log.record(entry("/1"));
    arrived.recv().unwrap();
    log.record(entry("/2"));
    log.reopen();
    let control = Arc::clone(&log.open.as_ref().unwrap().control);
    assert!(control.is_asked_to_reopen());
    drop(let_through);
    guard.close(WITHIN);
    assert!(!control.is_asked_to_reopen(), "the thread did it");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = AccessLog::from_config(&config(AccessLogTarget::File("/nowhere/access.jsonl".into()))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not open the access log `/nowhere/access.jsonl` for appending: No such file or directory (os error 2)"
    );
}

#[test]
fn a_log_that_is_off_records_nothing() {
    let (log, guard) = AccessLog::from_config(&config(AccessLogTarget::Off)).unwrap();
    assert!(!log.is_on());
    log.record(entry("/"));
    log.reopen();
    guard.close(WITHIN);
    assert_eq!(log.dropped.get(), 0);
}
