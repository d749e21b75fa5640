//! Instants as RFC 3339 text in UTC, for the functions' deadline and the status.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole seconds, as Fn's deadline is written: `2026-01-02T03:04:05Z`. An instant before 1970 is written as 1970.
pub(crate) fn rfc3339_seconds(time: SystemTime) -> String {
    let since = since_epoch(time);
    format!("{}Z", seconds(since))
}

/// With nanoseconds, as Fn's status times are written: `2026-01-02T03:04:05.000000006Z`.
pub(crate) fn rfc3339_nanos(time: SystemTime) -> String {
    let since = since_epoch(time);
    format!("{}.{:09}Z", seconds(since), since.subsec_nanos())
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn seconds(since: Duration) -> String {
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a number of days since 1970-01-01, by Howard Hinnant's `civil_from_days` for days that are not negative: years begin in
/// March, so that the leap day is the last of its year, and 400 of them have the same length always.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_date_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(6)), "1970-01-01T00:00:00.000000006Z");
    }
}
