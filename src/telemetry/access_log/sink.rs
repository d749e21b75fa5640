//! What lines are written to.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Takes lines, and can begin anew.
pub(super) trait Sink: Write + Send {
    /// Opens what lines are written to anew. If that fails, the old one is kept.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stdout {}
impl Sink for io::Stderr {}

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    file: fs::File,
}

impl File {
    /// Opens the file, making it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: append(path)? })
    }
}

/// Appending, so that several processes can share a file: the kernel puts each batch at the end as a whole.
fn append(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path)
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for File {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }
}
