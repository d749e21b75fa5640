//! Durations as people write them in a configuration: `"10ms"`, `"1m30s"`, `"360s"`.

use std::fmt::Write as _;
use std::time::Duration;

/// The text was not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a duration: expected whole numbers with a unit, such as \"10ms\", \"30s\", \"5m\" or \"1h30m\"")]
pub struct ParseDurationError {
    text: String,
}

/// Unit names with their length in nanoseconds, longest first (the order in which they are printed).
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a duration: one or more whole numbers, each with a unit `d`, `h`, `m`, `s`, `ms`, `us` or `ns`, summed.
/// A lone `0` needs no unit; any other number does, since `30` may be seconds to one reader and milliseconds to another.
///
/// # Errors
/// The text is empty, lacks a unit, has an unknown one, or is longer than 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let wrong = || ParseDurationError { text: text.to_owned() };
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at(digits_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part_ns = count.checked_mul(*unit_ns).ok_or_else(wrong)?;
        total_ns = total_ns.checked_add(part_ns).ok_or_else(wrong)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_nanos(total_ns))
}

/// Prints a duration so that [`parse_duration`] reads it back: `1m30s`, `10ms`, `0s`. A part below one nanosecond does
/// not exist; one above 584 years is printed as that.
pub fn format_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ns) in UNITS {
        let count = left / unit_ns;
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{count}{unit}");
            left %= unit_ns;
        }
    }
    text
}

/// `#[serde(with = "human_duration")]` for a [`Duration`] written as in [`parse_duration`].
pub mod human_duration {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the duration as text.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads the duration from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

/// The same as [`human_duration`] for a duration that may be absent. Use with `#[serde(default)]`.
pub mod option_human_duration {
    use super::{Duration, format_duration, human_duration};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the duration as text, or nothing.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the duration from text, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Text(#[serde(with = "human_duration")] Duration);
        Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(duration)| duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("10ms", Duration::from_millis(10)),
            ("360s", Duration::from_secs(360)),
            ("1h30m", Duration::from_secs(5_400)),
            ("1m 30s", Duration::from_secs(90)),
            ("250us", Duration::from_micros(250)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_named_with_what_was_expected() {
        for text in ["", "10", "ms", "10 ms", "1.5s", "-1s", "1y", "99999999999d"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a duration: expected whole numbers")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(ns: u64) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
