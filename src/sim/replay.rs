//! A record of a live balancer's placement, decided again: the same events in the same order must make the same steps.
//!
//! The record is lines of JSON: a [`RecordHead`] for each placing loop (its rules and seed), then a [`RecordLine`] for each event with the
//! steps that were decided. A file may hold several loops, told apart by their lineage; a balancer that was started again on the same
//! file begins a lineage anew. The first difference of a loop is told, and the rest of it passed over: what follows differs too.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use crate::placement::{PlacingLoop, RecordHead, RecordLine, Step};

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("could not read the record {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is neither a head nor an event.
    #[error("{}, line {line}: not a line of a record of placement", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// An event of a loop that no line began.
    #[error("{}, line {line}: loop {lineage} has no line with its rules and seed before this", path.display())]
    NoHead {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The loop.
        lineage: u64,
    },
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replayed {
    /// How many loops there were.
    pub loops: usize,
    /// How many events.
    pub events: usize,
    /// The first difference of each loop that has one.
    pub differences: Vec<Difference>,
}

/// Where a loop decided otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The line, from 1.
    pub line: usize,
    /// What was recorded.
    pub recorded: RecordLine,
    /// What was decided now.
    pub decided: Vec<Step>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordLine { lineage, at, event, steps } = &self.recorded;
        writeln!(f, "line {}, loop {lineage}, {:?} after its begin: {event:?}", self.line, *at - crate::placement::Moment::ZERO)?;
        writeln!(f, "  recorded: {steps:?}")?;
        write!(f, "  decided:  {:?}", self.decided)
    }
}

/// Decides again what `path` records.
///
/// # Errors
/// The file cannot be read, or is no record. A last line without its end, as a killed balancer leaves it, is passed over.
pub fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    let read = |source| ReplayError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(read)?);
    let mut loops: HashMap<u64, Option<PlacingLoop>> = HashMap::new();
    let mut replayed = Replayed::default();
    let (mut text, mut line) = (String::new(), 0);
    let mut decided = Vec::new();
    loop {
        text.clear();
        line += 1;
        if reader.read_line(&mut text).map_err(read)? == 0 || !text.ends_with('\n') {
            return Ok(replayed);
        }
        if let Ok(RecordHead { lineage, seed, rules }) = serde_json::from_str(&text) {
            loops.insert(lineage, Some(PlacingLoop::new(rules, seed)));
            replayed.loops += 1;
            continue;
        }
        let recorded: RecordLine =
            serde_json::from_str(&text).map_err(|source| ReplayError::Line { path: path.to_owned(), line, source })?;
        let lineage = recorded.lineage;
        let known = loops.get_mut(&lineage).ok_or_else(|| ReplayError::NoHead { path: path.to_owned(), line, lineage })?;
        replayed.events += 1;
        let Some(placing) = known else { continue };
        decided.clear();
        placing.step(&recorded.event, recorded.at, &mut decided);
        if decided != recorded.steps {
            *known = None;
            replayed.differences.push(Difference { line, recorded, decided: decided.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{LoopRules, Moment, PlacerChoice};
    use crate::sim::{Contender, Preset, Source, Work, run_observed};
    use std::io::Write as _;
    use std::time::Duration;

    /// The record of a simulated run, as a live balancer would have written it.
    fn record(file: &Path) {
        let planned = Preset::Mmc.plan();
        let Work::Generated(generate) = planned.work else { panic!() };
        let source = Source::Open { workload: generate(0.9, 1), time_factor: 1.0, until: Duration::from_secs(50) };
        let rules = LoopRules {
            retry_all_delay: Duration::from_millis(10),
            waiting: crate::placement::WaitLimits { calls: 100, bytes: 0 },
            placers: crate::placement::PlacerSettings::default(),
        };
        let mut file = File::create(file).unwrap();
        let seed = 1_000_003;
        writeln!(file, "{}", serde_json::to_string(&RecordHead { lineage: 1, seed, rules: rules.clone() }).unwrap()).unwrap();
        let contender = Contender::Placer(PlacerChoice::LeastLoaded);
        run_observed(&planned.setup, &source, contender.rules(1, &rules, 1), 1, |_, at: Moment, event, steps| {
            let line = RecordLine { lineage: 1, at, event: event.clone(), steps: steps.to_vec() };
            writeln!(file, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        });
    }

    #[test]
    fn a_record_is_decided_again_and_a_changed_one_is_found_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.jsonl");
        record(&path);
        let replayed = replay(&path).unwrap();
        assert_eq!((replayed.loops, &replayed.differences[..]), (1, &[][..]));
        assert!(replayed.events > 500, "{}", replayed.events);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"attempt\":1", "\"attempt\":7", 1) + "{\"lin").unwrap();
        let replayed = replay(&path).unwrap();
        assert_eq!(replayed.differences.len(), 1);
        assert!(replayed.differences[0].to_string().contains("decided:  [Try { call: CallNumber(0)"));
        std::fs::write(&path, "{}\n").unwrap();
        let told = |path: &Path| format!("{:#}", anyhow::Error::from(replay(path).unwrap_err()));
        assert_eq!(
            told(&path),
            format!(
                "{}, line 1: not a line of a record of placement: missing field `lineage` at line 1 column 2",
                path.display()
            )
        );
        assert_eq!(
            told(Path::new("nowhere.jsonl")),
            "could not read the record nowhere.jsonl: No such file or directory (os error 2)",
            "the cause is told once"
        );
    }
}
