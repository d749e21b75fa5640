//! What calls and questions tell of a runner.

use std::collections::BTreeMap;

use super::member::RunnerPlace;
use crate::protocol::LoadReport;

/// What one attempt showed about its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// It took the call, and an answer of the function came, whatever the function said in it.
    Took,
    /// It took the call, or may have, and there is no answer of the function to show: the connection was lost, the answer was none.
    Failed,
    /// It refused because it is full, or does not know the function yet: somebody is well there.
    Refused,
    /// No connection could be made.
    Unreachable,
}

/// What a runner said about itself when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerReport {
    /// Whose place.
    pub place: RunnerPlace,
    /// How full it is. `warm` is 0: that stands in `warm_workers`.
    pub load: LoadReport,
    /// Its idle workers by function name; functions without any are absent.
    pub warm_workers: BTreeMap<String, u32>,
}
