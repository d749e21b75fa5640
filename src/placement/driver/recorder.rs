//! Writes down what the placing loop was told and what it decided: one JSON object a line. `runpool sim --replay` reads it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::placement::event::{Event, Step};
use crate::placement::moment::Moment;
use crate::placement::placing_loop::LoopRules;

/// The first line of a loop: how to begin one that decides the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordHead {
    /// Which loop, if several are recorded into one file.
    pub lineage: u64,
    /// Its seed.
    pub seed: u64,
    /// Its rules.
    pub rules: LoopRules,
}

/// Every other line: an event, and the steps that the loop answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLine {
    /// Which loop.
    pub lineage: u64,
    /// When.
    pub at: Moment,
    /// What happened.
    pub event: Event,
    /// What was to be done.
    pub steps: Vec<Step>,
}

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Protects the order of lines.
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(BufWriter::new(file)) })
    }

    pub(super) fn begin(&self, head: &RecordHead) {
        self.write(head);
    }

    pub(super) fn note(&self, lineage: u64, at: Moment, event: &Event, steps: &[Step]) {
        self.write(&RecordLine { lineage, at, event: event.clone(), steps: steps.to_vec() });
    }

    /// A record that cannot be written costs the record, not the call.
    fn write(&self, line: &impl Serialize) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_writer(&mut *file, line).map_err(std::io::Error::from).and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            tracing::error!(%error, "the record of placement cannot be written");
        }
    }

    pub(super) fn flush(&self) {
        let flushed = self.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
        if let Err(error) = flushed {
            tracing::error!(%error, "the record of placement cannot be written");
        }
    }
}
