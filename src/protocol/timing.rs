//! Where an agent's time went: `server-timing: sched;dur=0.1, exec;dur=12.3` (W3C Server Timing; milliseconds).

use std::fmt;
use std::time::Duration;

/// The two durations of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTiming {
    /// From the agent's acceptance until a worker took the call: cold start included.
    pub scheduling: Duration,
    /// From then until the first byte of the function's answer.
    pub execution: Duration,
}

impl fmt::Display for ServerTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sched;dur=")?;
        write_millis(f, self.scheduling)?;
        f.write_str(", exec;dur=")?;
        write_millis(f, self.execution)
    }
}

/// Milliseconds with three digits behind the point. On every answer, and some ten times as fast as a float.
fn write_millis(f: &mut fmt::Formatter<'_>, duration: Duration) -> fmt::Result {
    let micros = duration.as_nanos().saturating_add(500) / 1_000;
    f.write_str(itoa::Buffer::new().format(micros / 1_000))?;
    // A digit in front of them, so that none is left out.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(1_000 + micros % 1_000);
    f.write_str(".")?;
    f.write_str(&digits[1..])
}

impl ServerTiming {
    /// Reads both durations; `None` if either is missing or is no sensible number.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut scheduling, mut execution) = (None, None);
        for metric in text.split(',') {
            let mut parts = metric.split(';').map(str::trim);
            let place = match parts.next() {
                Some("sched") => &mut scheduling,
                Some("exec") => &mut execution,
                _ => continue,
            };
            let millis: f64 = parts.find_map(|part| part.strip_prefix("dur="))?.parse().ok()?;
            *place = Some(Duration::try_from_secs_f64(millis / 1e3).ok()?);
        }
        Some(Self { scheduling: scheduling?, execution: execution? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_read_to_the_microsecond() {
        let timing = ServerTiming { scheduling: Duration::from_micros(123), execution: Duration::from_micros(12_345_678) };
        assert_eq!(timing.to_string(), "sched;dur=0.123, exec;dur=12345.678");
        assert_eq!(ServerTiming::parse(&timing.to_string()), Some(timing));
    }

    #[test]
    fn nonsense_is_no_timing() {
        for text in
            ["", "sched", "sched;dur=x, exec;dur=1", "sched;dur=-1, exec;dur=1", "sched;dur=1", "sched;dur=1, exec;dur=1e300"]
        {
            assert_eq!(ServerTiming::parse(text), None, "{text}");
        }
    }
}
