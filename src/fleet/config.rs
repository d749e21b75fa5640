//! `[fleet]`: the local runners that `runpool up` starts.

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, InvalidValue};

/// `[fleet]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetConfig {
    /// How many runners, 1 to 256.
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

impl FleetConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        // Each is a process with a listener of its own; more than this on one machine is a slip of the pen.
        if !(1..=256).contains(&self.runners) {
            invalid.push(InvalidValue::new("runners", "from 1 to 256"));
        }
        if self.slots == 0 {
            invalid.push(InvalidValue::new("slots", "at least 1"));
        }
        if self.memory.bytes() == 0 {
            invalid.push(InvalidValue::new("memory", "more than 0B"));
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fleet_cannot_be_is_named() {
        assert_eq!(FleetConfig::default().validate(), []);
        let invalid = FleetConfig { runners: 0, slots: 0, memory: ByteSize(0) }.validate();
        let keys: Vec<&str> = invalid.iter().map(|value| value.key.as_str()).collect();
        assert_eq!(keys, ["runners", "slots", "memory"]);
    }
}
