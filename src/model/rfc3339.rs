//! A moment as RFC 3339 text in UTC: a function's deadline, a status time, a line of a log. Nobody reads such text back here.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment that writes itself as RFC 3339 in UTC. One before 1970 is written as the beginning of 1970.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use runpool::model::Rfc3339;
/// let moment = UNIX_EPOCH + Duration::from_millis(1_500);
/// assert_eq!(Rfc3339::seconds(moment).to_string(), "1970-01-01T00:00:01Z");
/// assert_eq!(Rfc3339::micros(moment).to_string(), "1970-01-01T00:00:01.500000Z");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339 {
    moment: SystemTime,
    fraction: Fraction,
}

/// What is written of the second's parts.
#[derive(Clone, Copy, Debug)]
enum Fraction {
    None,
    Micros,
    Nanos,
}

const SECONDS_A_DAY: u64 = 86_400;

impl Rfc3339 {
    /// In whole seconds, as Fn writes deadlines.
    pub const fn seconds(moment: SystemTime) -> Self {
        Self { moment, fraction: Fraction::None }
    }

    /// With microseconds, as logs are written.
    pub const fn micros(moment: SystemTime) -> Self {
        Self { moment, fraction: Fraction::Micros }
    }

    /// With nanoseconds, as Fn writes the times of a status.
    pub const fn nanos(moment: SystemTime) -> Self {
        Self { moment, fraction: Fraction::Nanos }
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / SECONDS_A_DAY, since.as_secs() % SECONDS_A_DAY);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        if year > 9_999 {
            write!(f, "{year}")?;
        } else {
            f.write_str(digits::<4>(year, &mut [0; 4]))?;
        }
        // Written with every call, and some ten times as fast as `write!`.
        for (before, number) in [("-", month), ("-", day), ("T", hour), (":", minute), (":", second)] {
            f.write_str(before)?;
            f.write_str(digits::<2>(number, &mut [0; 2]))?;
        }
        match self.fraction {
            Fraction::None => f.write_str("Z"),
            Fraction::Micros => write!(f, ".{:06}Z", since.subsec_micros()),
            Fraction::Nanos => write!(f, ".{:09}Z", since.subsec_nanos()),
        }
    }
}

/// The last digits of a number, as many as there is room for.
fn digits<const N: usize>(mut number: u64, room: &mut [u8; N]) -> &str {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    // Digits are always text.
    str::from_utf8(room).unwrap_or_default()
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`, for days that are not negative): eras of 400 years, years that begin in March.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_written_as_other_programs_write_them() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_709_210_096_000_001, "2024-02-29T12:34:56.000001Z"),
            (1_795_545_425_123_456, "2026-11-24T18:37:05.123456Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(Rfc3339::micros(moment).to_string(), expected);
            assert_eq!(Rfc3339::seconds(moment).to_string(), format!("{}Z", &expected[..19]));
            assert_eq!(Rfc3339::nanos(moment).to_string(), format!("{}000Z", &expected[..26]));
        }
        assert_eq!(Rfc3339::seconds(UNIX_EPOCH - Duration::from_secs(9)).to_string(), "1970-01-01T00:00:00Z");
    }
}
