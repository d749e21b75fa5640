//! Size and life of runners. In this form: a fixed number of local runner processes.

use serde::{Deserialize, Serialize};

use crate::model::ByteSize;

/// `[fleet]`: the local runners that `runpool up` starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetConfig {
    /// How many runners.
    pub runners: u32,
    /// Slots of each.
    pub slots: u32,
    /// Memory of each.
    pub memory: ByteSize,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self { runners: 3, slots: 4, memory: ByteSize::gib(1) }
    }
}
