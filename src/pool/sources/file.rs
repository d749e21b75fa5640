//! Runners out of a file, which is watched ([`Changes`]). Whenever it may have changed it is read anew; if it is as it was, nothing happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize as _;

use super::{Listed, SourceMetrics, SourceName};
use crate::files::Changes;
use crate::pool::{ConfiguredPool, RunnerEntry};

/// A watched file of runners.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    seen: Seen,
}

/// What was found when the file was read last.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Unreadable,
    /// Good or not.
    Bytes(Vec<u8>),
}

/// Why a file's runners could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("could not read the runners in {path}: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no list of runners.
    #[error("{path}: expected {expected}")]
    Malformed {
        /// Which file, and line if known.
        path: String,
        /// What would have been right.
        expected: String,
    },
    /// One of its runners is wrong.
    #[error("{path}: runners[{index}]: expected {expected}")]
    Entry {
        /// Which file.
        path: String,
        /// Which one, from 0.
        index: usize,
        /// What would have been right.
        expected: String,
    },
}

/// The largest file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

impl FileSource {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// There is none, or it is no list of runners.
    pub fn open(path: &Path) -> Result<(Self, Vec<RunnerEntry>), FileError> {
        let mut source = Self { path: path.to_owned(), seen: Seen::Nothing };
        let entries = source.read_if_changed()?.unwrap_or_default();
        Ok((source, entries))
    }

    /// Tells the pool whenever the file changes, until the future is dropped.
    pub async fn follow(mut self, pool: Arc<ConfiguredPool>, metrics: SourceMetrics) {
        let mut changes = Changes::of([self.path.as_path()]);
        loop {
            let (pool, metrics) = (Arc::clone(&pool), metrics.clone());
            let look = move || {
                self.take_over(&pool, &metrics);
                self
            };
            // What was changed before the watching began is seen here. On a thread of its own: calls go on while a file is read.
            match tokio::task::spawn_blocking(look).await {
                Ok(source) => self = source,
                // It has panicked, which was told, or the program ends.
                Err(_) => return,
            }
            changes.next().await;
        }
    }

    fn take_over(&mut self, pool: &Arc<ConfiguredPool>, metrics: &SourceMetrics) {
        match self.read_if_changed() {
            Ok(None) => {}
            Ok(Some(entries)) => {
                let runners = entries.len();
                match pool.list(SourceName::File, entries.into_iter().map(Listed::from)) {
                    Ok(()) => {
                        tracing::info!(path = %self.path.display(), runners, "the file of runners was taken over");
                        metrics.listed(SourceName::File, runners);
                    }
                    Err(error) => self.failed(&error, metrics),
                }
            }
            Err(error) => self.failed(&error, metrics),
        }
    }

    fn failed(&self, error: &dyn std::error::Error, metrics: &SourceMetrics) {
        metrics.failed(SourceName::File);
        tracing::error!(path = %self.path.display(), "the runners stay as they were: {error}");
    }

    /// The runners, if the file has changed since the last time. Blocks for as long as reading a file does.
    fn read_if_changed(&mut self) -> Result<Option<Vec<RunnerEntry>>, FileError> {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(source) => {
                // That it is still not there is told once.
                if std::mem::replace(&mut self.seen, Seen::Unreadable) == Seen::Unreadable {
                    return Ok(None);
                }
                return Err(FileError::Unreadable { path: self.path.display().to_string(), source });
            }
        };
        let seen = Seen::Bytes(bytes);
        if self.seen == seen {
            return Ok(None);
        }
        self.seen = seen;
        let Seen::Bytes(bytes) = &self.seen else { return Ok(None) };
        parse(&self.path, bytes).map(Some)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(std::io::Error::other(format!("it has {length} bytes, of at most {MAX_FILE}")));
    }
    std::fs::read(path)
}

/// The runners in a file's text.
fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<RunnerEntry>, FileError> {
    let name = path.display().to_string();
    let malformed = |expected: String| FileError::Malformed { path: name.clone(), expected };
    let text = str::from_utf8(bytes).map_err(|_| malformed("UTF-8 text".to_owned()))?;
    let document: serde_json::Value = if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        serde_json::from_str(text).map_err(|error| malformed(format!("JSON: {error}")))?
    } else {
        toml::from_str(text).map_err(|error| malformed(format!("TOML: {}", error.message())))?
    };
    let list = match document {
        serde_json::Value::Array(list) => list,
        serde_json::Value::Object(mut members) => match members.remove("runners") {
            Some(serde_json::Value::Array(list)) if members.is_empty() => list,
            _ => return Err(malformed("a list `runners`, and nothing else".to_owned())),
        },
        _ => return Err(malformed("a list of runners".to_owned())),
    };
    let mut entries: Vec<RunnerEntry> = Vec::with_capacity(list.len());
    let mut seen = std::collections::HashSet::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let wrong = |expected: String| FileError::Entry { path: name.clone(), index, expected };
        let entry = RunnerEntry::deserialize(&value).map_err(|error| {
            let text = error.to_string();
            wrong(text.split_once("expected ").map_or_else(|| format!("a runner: {text}"), |(_, expected)| expected.to_owned()))
        })?;
        if let Some(invalid) = entry.validate().into_iter().next() {
            return Err(wrong(format!("as its {} {}", invalid.key, invalid.expected)));
        }
        if !seen.insert(entry.address.to_ascii_lowercase()) {
            return Err(wrong("each runner once".to_owned()));
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runners(name: &str, text: &str) -> Result<Vec<RunnerEntry>, String> {
        parse(Path::new(name), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn toml_and_json_list_the_same() {
        let expected: Vec<RunnerEntry> = vec!["a:1".into(), serde_json::from_str(r#"{"address":"b:2","weight":0}"#).unwrap()];
        for (name, text) in [
            ("r.toml", "runners = [\"a:1\", { address = \"b:2\", weight = 0 }]"),
            ("r.toml", "[[runners]]\naddress = \"a:1\"\n[[runners]]\naddress = \"b:2\"\nweight = 0\n"),
            ("r.json", r#"["a:1", {"address": "b:2", "weight": 0}]"#),
            ("r.JSON", r#"{"runners": ["a:1", {"address": "b:2", "weight": 0}]}"#),
        ] {
            assert_eq!(runners(name, text), Ok(expected.clone()), "{text}");
        }
        assert_eq!(runners("r.toml", "runners = []"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_place_and_expectation() {
        for (name, text, error) in [
            ("r.toml", "runners = [\"a:1\", \"b\"]", "r.toml: runners[1]: expected as its address host:port, such as"),
            ("r.toml", "runners = [\"a:1\", \"A:1\"]", "r.toml: runners[1]: expected each runner once"),
            ("r.toml", "runners = [{ adress = \"a:1\" }]", "r.toml: runners[0]: expected one of `address`, `weight`"),
            ("r.toml", "runners = [1]", "r.toml: runners[0]: expected an address in quotes"),
            ("r.toml", "other = 1", "r.toml: expected a list `runners`, and nothing else"),
            ("r.toml", "runners = [", "r.toml: expected TOML: "),
            ("r.json", "[\"a:1\",", "r.json: expected JSON: "),
            ("r.json", "7", "r.json: expected a list of runners"),
        ] {
            let told = runners(name, text).unwrap_err();
            assert!(told.starts_with(error), "{told}");
        }
    }
}
