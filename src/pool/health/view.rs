//! The state of a runner in words, for people, logs and metrics.

use crate::pool::{Admission, ClosedWhy};

/// The state of a runner's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// It gets calls.
    Open,
    /// It gets one call at a time, until one was taken.
    Probing,
    /// It gets none.
    Ejected,
    /// It gets none, as it said itself.
    Draining,
}

impl HealthState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Probing, Self::Ejected, Self::Draining];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Probing => "probing",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

impl From<Admission> for HealthState {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Open => Self::Open,
            Admission::OneProbe => Self::Probing,
            Admission::Closed(ClosedWhy::Draining) => Self::Draining,
            Admission::Closed(_) => Self::Ejected,
        }
    }
}
