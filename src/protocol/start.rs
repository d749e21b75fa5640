//! Whether a call met a warm worker: `runpool-start: warm`, or `runpool-start: cold;dur=403.215` with what the start cost the call.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How the worker that ran a call came to it. Stands on every answer of a call that a process of its function had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerStart {
    /// It was there before: the call waited for no start. A call that waited for one and was served by a worker that became idle
    /// first counts here too.
    Warm,
    /// It was started for the call, which had to wait so long for it. A job (`exec`) is always cold: each call has a process of its own.
    /// Whole microseconds go over the wire.
    Cold(Duration),
}

/// No start takes a thousand days; and up to there a number with a fraction says one microsecond and no other.
const LONGEST_START_MILLIS: f64 = 86_400_000_000.0;

/// The text does not say how a worker came to its call.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no start: expected `warm`, or `cold;dur=MILLISECONDS`")]
pub struct InvalidStart {
    text: String,
}

impl fmt::Display for WorkerStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warm => f.write_str("warm"),
            Self::Cold(cost) => {
                let micros = cost.as_micros();
                write!(f, "cold;dur={}.{:03}", micros / 1_000, micros % 1_000)
            }
        }
    }
}

impl FromStr for WorkerStart {
    type Err = InvalidStart;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidStart { text: text.to_owned() };
        if text == "warm" {
            return Ok(Self::Warm);
        }
        let millis: f64 = text.strip_prefix("cold;dur=").ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        if !(0.0..LONGEST_START_MILLIS).contains(&millis) {
            return Err(wrong());
        }
        // Rounded to what is written, since a fraction of ten has no exact form of two.
        let micros = Duration::try_from_secs_f64(millis / 1e3).map_err(|_| wrong())?.as_nanos().saturating_add(500) / 1_000;
        Ok(Self::Cold(Duration::from_micros(u64::try_from(micros).map_err(|_| wrong())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_start_is_one_word_or_a_word_with_its_cost() {
        assert_eq!(WorkerStart::Warm.to_string(), "warm");
        let cold = WorkerStart::Cold(Duration::from_micros(403_215));
        assert_eq!(cold.to_string(), "cold;dur=403.215");
        assert_eq!("cold;dur=403.2".parse(), Ok(WorkerStart::Cold(Duration::from_micros(403_200))));
        for text in [
            "",
            "Warm",
            "warm ",
            "cold",
            "cold;dur=",
            "cold;dur=-1",
            "cold;dur=1e300",
            "cold;dur=8.64e10",
            "cold;dur=NaN",
            "cold; dur=1",
        ] {
            assert!(text.parse::<WorkerStart>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(micros in 0_u64..1 << 46) {
            let start = WorkerStart::Cold(Duration::from_micros(micros));
            prop_assert_eq!(start.to_string().parse(), Ok(start));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(cold;dur=)?.*") {
            let _ = text.parse::<WorkerStart>();
        }
    }
}
