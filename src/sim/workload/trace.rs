//! Trace files: one line a call (`t_us,fn,dur_us`), and one line a function (`fn,cold_us,mem_mb,app`).
//!
//! Read with packages `csv` and `flate2`; a file whose name ends in `.gz` is decompressed on the way. Columns are found by their names, so
//! their order does not matter and further ones are passed over. An error names file, line, column and what was expected.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};

use super::{ModelCall, ModelFunction, Workload};

/// A trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened.
    #[error("could not open the trace {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file breaks off, or is not compressed as its name says.
    #[error("could not read the trace {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line has more or fewer values than the first one names.
    #[error("{}, line {line}: found {found} values, expected {expected} as the first line names", path.display())]
    Length {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// How many values stand there.
        found: u64,
        /// How many columns there are.
        expected: u64,
    },
    /// The first line does not name a column that is needed.
    #[error("{} has no column `{column}`: expected the first line to name {expected}", path.display())]
    NoColumn {
        /// Which.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// All that are needed.
        expected: &'static str,
    },
    /// A value is not what its column holds.
    #[error("{}, line {line}, column `{column}`: `{value}` is not {expected}", path.display())]
    Value {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What should.
        expected: &'static str,
    },
    /// There is nothing in it.
    #[error("{} has no lines below its head", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A function is called that the functions' file does not have.
    #[error("{}, line {line}: function `{function}` is not in the functions' file", path.display())]
    UnknownFunction {
        /// The calls' file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Its name.
        function: String,
    },
}

impl TraceError {
    /// What the reader says is told once: its own error repeats the cause that it wraps.
    fn of_reader(path: &Path, error: csv::Error) -> Self {
        let path = path.to_owned();
        if let csv::ErrorKind::UnequalLengths { pos, expected_len, len } = error.kind() {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            return Self::Length { path, line, found: *len, expected: *expected_len };
        }
        match error.into_kind() {
            csv::ErrorKind::Io(source) => Self::Read { path, source },
            other => Self::Read { path, source: io::Error::other(format!("{other:?}")) },
        }
    }
}

/// A file of lines with named columns.
pub(super) struct Lines {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read>>,
    head: ByteRecord,
    record: ByteRecord,
    expected: &'static str,
}

/// A column of a file.
#[derive(Clone, Copy)]
pub(super) struct Column {
    index: usize,
    name: &'static str,
}

impl Lines {
    /// Opens a file whose head must name the columns of `expected`.
    pub(super) fn open(path: &Path, expected: &'static str) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|source| TraceError::Open { path: path.to_owned(), source })?;
        let file = io::BufReader::with_capacity(1 << 16, file);
        let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
        let bytes: Box<dyn Read> =
            if is_compressed { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut reader = ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(bytes);
        let head = reader.byte_headers().map_err(|error| TraceError::of_reader(path, error))?.clone();
        Ok(Self { path: path.to_owned(), reader, head, record: ByteRecord::new(), expected })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.head.iter().any(|field| field == name.as_bytes())
    }

    pub(super) fn column(&self, name: &'static str) -> Result<Column, TraceError> {
        let index = self.head.iter().position(|field| field == name.as_bytes());
        let missing = || TraceError::NoColumn { path: self.path.clone(), column: name, expected: self.expected };
        Ok(Column { index: index.ok_or_else(missing)?, name })
    }

    /// Goes to the next line, if there is one.
    pub(super) fn advance(&mut self) -> Result<bool, TraceError> {
        self.reader.read_byte_record(&mut self.record).map_err(|error| TraceError::of_reader(&self.path, error))
    }

    pub(super) fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    pub(super) fn bytes(&self, column: Column) -> &[u8] {
        self.record.get(column.index).unwrap_or_default()
    }

    pub(super) fn text(&self, column: Column) -> String {
        String::from_utf8_lossy(self.bytes(column)).into_owned()
    }

    pub(super) fn number(&self, column: Column) -> Result<u64, TraceError> {
        let bytes = self.bytes(column);
        let digit =
            |value: u64, byte: &u8| value.checked_mul(10)?.checked_add(u64::from(byte.checked_sub(b'0').filter(|d| *d < 10)?));
        let value = bytes.iter().try_fold(0_u64, digit).filter(|_| !bytes.is_empty());
        value.ok_or_else(|| self.wrong(column, "a whole number of 0 or more"))
    }

    pub(super) fn wrong(&self, column: Column, expected: &'static str) -> TraceError {
        TraceError::Value { path: self.path.clone(), line: self.line(), column: column.name, value: self.text(column), expected }
    }
}

/// Reads the functions: what a cold start of each costs, and the memory it holds.
///
/// # Errors
/// The file is not there, or not of this format.
pub fn read_functions(path: &Path) -> Result<Vec<ModelFunction>, TraceError> {
    let mut lines = Lines::open(path, "`fn,cold_us,mem_mb,app`")?;
    let [name, cold, memory] = [lines.column("fn")?, lines.column("cold_us")?, lines.column("mem_mb")?];
    let app = if lines.has("app") { lines.column("app")? } else { name };
    let mut functions = Vec::new();
    while lines.advance()? {
        let memory_mb = u32::try_from(lines.number(memory)?).map_err(|_| lines.wrong(memory, "a number of MB"))?;
        functions.push(ModelFunction {
            name: lines.text(name),
            cold_ns: micros(lines.number(cold)?).ok_or_else(|| lines.wrong(cold, "a number of microseconds"))?,
            memory_mb,
            app: lines.text(app),
        });
    }
    if functions.is_empty() { Err(TraceError::Empty { path: path.to_owned() }) } else { Ok(functions) }
}

/// Reads the calls of `functions`.
///
/// # Errors
/// The file is not there, not of this format, or calls a function that is not among them.
pub fn read_calls(path: &Path, functions: Vec<ModelFunction>) -> Result<Workload, TraceError> {
    let mut lines = Lines::open(path, "`t_us,fn,dur_us`")?;
    let [at, name, duration] = [lines.column("t_us")?, lines.column("fn")?, lines.column("dur_us")?];
    let numbers: HashMap<Vec<u8>, u32> =
        (0..).zip(&functions).map(|(number, function)| (function.name.clone().into_bytes(), number)).collect();
    let mut calls = Vec::new();
    while lines.advance()? {
        let function = *numbers.get(lines.bytes(name)).ok_or_else(|| TraceError::UnknownFunction {
            path: path.to_owned(),
            line: lines.line(),
            function: lines.text(name),
        })?;
        let time = |column| {
            lines.number(column).and_then(|us| micros(us).ok_or_else(|| lines.wrong(column, "a number of microseconds")))
        };
        calls.push(ModelCall { at: time(at)?, function, service_ns: time(duration)? });
    }
    if calls.is_empty() { Err(TraceError::Empty { path: path.to_owned() }) } else { Ok(Workload::new(functions, calls)) }
}

/// Whether a file has one line a function and day (`minutes`), rather than one line a call.
pub fn is_day_file(path: &Path) -> Result<bool, TraceError> {
    Ok(Lines::open(path, "`t_us,fn,dur_us`")?.has("minutes"))
}

fn micros(us: u64) -> Option<u64> {
    us.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_compressed_trace_is_read_by_the_names_of_its_columns() {
        let directory = tempfile::tempdir().unwrap();
        let functions = file(&directory, "f.csv", "fn,app,mem_mb,cold_us\nb,x,128,400000\na,x,64,50000\n");
        let path = directory.path().join("c.csv.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"t_us,fn,dur_us\n5,a,1000\n70000000,b,2\n").unwrap();
        encoder.finish().unwrap();
        let workload = read_calls(&path, read_functions(&functions).unwrap()).unwrap();
        assert_eq!(workload.functions[0].cold_ns, 400_000_000);
        assert_eq!(workload.calls[0], ModelCall { at: 5_000, function: 1, service_ns: 1_000_000 });
        assert_eq!(workload.span_ns, 120_000_000_000, "whole minutes");
    }

    #[test]
    fn what_is_wrong_is_told_with_file_line_and_column() {
        let directory = tempfile::tempdir().unwrap();
        let functions = || vec![ModelFunction::free("a")];
        let told = |name: &str, text: &str| {
            let error = read_calls(&file(&directory, name, text), functions()).unwrap_err();
            error.to_string().replace(&format!("{}/", directory.path().display()), "")
        };
        assert_eq!(
            told("a.csv", "t_us,fn,dur_us\n1,a,2\n1,a,-2\n"),
            "a.csv, line 3, column `dur_us`: `-2` is not a whole number of 0 or more"
        );
        assert_eq!(told("b.csv", "t_us,fn,dur_us\n1,b,2\n"), "b.csv, line 2: function `b` is not in the functions' file");
        assert_eq!(
            told("c.csv", "t_us,fn\n1,b\n"),
            "c.csv has no column `dur_us`: expected the first line to name `t_us,fn,dur_us`"
        );
        assert_eq!(told("d.csv", "t_us,fn,dur_us\n"), "d.csv has no lines below its head");
        assert_eq!(told("e.csv", "t_us,fn,dur_us\n1,a\n"), "e.csv, line 2: found 2 values, expected 3 as the first line names");
    }

    #[test]
    fn a_cause_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let missing = format!("{:#}", anyhow::Error::from(read_functions(Path::new("nowhere.csv")).unwrap_err()));
        assert_eq!(missing, "could not open the trace nowhere.csv: No such file or directory (os error 2)");
        let path = file(&directory, "f.csv.gz", "t_us,fn,dur_us\n");
        let not_compressed = format!("{:#}", anyhow::Error::from(is_day_file(&path).unwrap_err()));
        assert_eq!(not_compressed, format!("could not read the trace {}: invalid gzip header", path.display()));
    }
}
