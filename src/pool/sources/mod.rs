//! Where runners come from, beside the configuration itself: a file, DNS, and runners that register themselves.
//!
//! Each source is a task that tells a [`ConfiguredPool`](super::ConfiguredPool) its whole list, or a change of it, whenever there is one. What all sources
//! list is merged by address. A source that fails keeps its last good list: its failure is a line of the log and a metric, and costs nobody a runner.

mod config;
mod dns;
mod file;
mod metrics;
mod registration;

pub use config::{DnsConfig, DnsRecord, FileConfig, RegistrationConfig};
pub use dns::DnsSource;
pub use file::{FileError, FileSource};
pub use metrics::SourceMetrics;
pub use registration::{Registrar, Registration, RegistrationError};

use crate::model::IncarnationId;

use super::entry::RunnerEntry;

/// Who lists a runner. What an earlier one says about it wins over what a later one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceName {
    /// `pool.runners`.
    Configuration,
    /// `pool.file`.
    File,
    /// `pool.dns`.
    Dns,
    /// `pool.registration`.
    Registration,
}

impl SourceName {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::File => "file",
            Self::Dns => "dns",
            Self::Registration => "registration",
        }
    }
}

/// A runner that a source lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it says about it.
    pub entry: RunnerEntry,
    /// Which life of it, if the source knows. Another life at the same address is another runner.
    pub incarnation: Option<IncarnationId>,
}

impl From<RunnerEntry> for Listed {
    fn from(entry: RunnerEntry) -> Self {
        Self { entry, incarnation: None }
    }
}
