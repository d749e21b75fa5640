//! The load report that stands on every answer and refusal of an agent: `runpool-load: inflight=3, slots=8, warm=2`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How full an agent was when it wrote the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Calls in its slots, and slots that are lent to a balancer which waited for one ([`RoomGrant`](super::RoomGrant)). On an answer the
    /// answered call counts, also if its slot is free already: it is free before the last byte is out, and whoever has read that takes
    /// one off.
    pub in_flight: u32,
    /// Slots.
    pub slots: u32,
    /// Idle workers of the function that was asked for. On a function's answer the worker that answers does not count, also if it is
    /// idle already: whoever has read the last byte adds it. On a refusal and on an error all that are idle count.
    pub warm: u32,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // On every answer, and some ten times as fast as `write!`.
        for (name, number) in [("inflight=", self.in_flight), (", slots=", self.slots), (", warm=", self.warm)] {
            f.write_str(name)?;
            f.write_str(itoa::Buffer::new().format(number))?;
        }
        Ok(())
    }
}

/// The text was not a load report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a load report: expected `inflight=N, slots=N, warm=N`")]
pub struct InvalidLoadReport {
    text: String,
}

impl FromStr for LoadReport {
    type Err = InvalidLoadReport;

    /// Reads the three members in any order. Unknown members are passed over, so that a newer agent can say more.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidLoadReport { text: text.to_owned() };
        let (mut in_flight, mut slots, mut warm) = (None, None, None);
        for member in text.split(',') {
            let (name, value) = member.trim().split_once('=').ok_or_else(wrong)?;
            let place = match name {
                "inflight" => &mut in_flight,
                "slots" => &mut slots,
                "warm" => &mut warm,
                _ => continue,
            };
            *place = Some(value.parse::<u32>().map_err(|_| wrong())?);
        }
        match (in_flight, slots, warm) {
            (Some(in_flight), Some(slots), Some(warm)) => Ok(Self { in_flight, slots, warm }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reports_with_more_or_reordered_members_are_read() {
        let expected = LoadReport { in_flight: 3, slots: 8, warm: 2 };
        for text in ["inflight=3, slots=8, warm=2", "warm=2,slots=8,inflight=3", "inflight=3, slots=8, warm=2, cpu=0.3"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(in_flight: u32, slots: u32, warm: u32) {
            let report = LoadReport { in_flight, slots, warm };
            prop_assert_eq!(report.to_string().parse(), Ok(report));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = text.parse::<LoadReport>();
        }
    }
}
