//! A receiver of spans that is not ours: `tests/otlp_receiver.py`, made of the messages that OpenTelemetry publishes for Python.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::Value;

use super::external::{Owned, python, spawn};

/// The receiver. It ends with the value.
pub struct Receiver {
    process: Owned,
    lines: Lines<BufReader<ChildStdout>>,
    /// What `telemetry.otlp_endpoint` is to be.
    pub endpoint: String,
}

impl Receiver {
    /// Starts it and waits until it listens.
    pub fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otlp_receiver.py");
        let mut process = spawn(Command::new(python()).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.0.stdout.take().expect("is piped")).lines();
        let first = lines.next().expect("it says where it listens").expect("it writes text");
        let first: Value = serde_json::from_str(&first).expect("it writes JSON");
        let endpoint = format!("http://{}", first["address"].as_str().expect("an address"));
        Self { process, lines, endpoint }
    }

    /// All spans that it was sent, when those who send have ended.
    pub fn finish(mut self) -> Vec<Value> {
        drop(self.process.0.stdin.take());
        let lines = self.lines.by_ref().map_while(Result::ok);
        lines.map(|line| serde_json::from_str(&line).expect("it writes JSON")).collect()
    }
}
