//! What is measured in a run.
//!
//! A call's *added latency* is everything but its warm execution: waiting, refused attempts, round trips, its cold start, and what a slow
//! or shared runner adds. Calls that arrive during the warm-up count for nothing here. (What the baseline of placement.md left out is not
//! known beyond its "60 s warm-up".)

use std::collections::BTreeMap;

/// What came of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRecord {
    /// The measured calls that were answered, in the order of their answers.
    pub answered: Vec<Answered>,
    /// Attempts for these.
    pub attempts: u64,
    /// Of these: calls that waited for a cold start.
    pub cold: u64,
    /// Measured calls that nobody took in time.
    pub not_placed: u64,
    /// Measured calls that a runner took and failed.
    pub failed: u64,
    /// Calls that each runner took in each second, measured or not: second times runners plus runner.
    pub taken: Vec<u32>,
    /// How many runners.
    pub runners: usize,
    /// The most calls a runner had in flight.
    pub most_in_flight: u32,
    /// Second in which measuring begins.
    pub measured_from: usize,
    /// When the last call ended, in nanoseconds.
    pub end_ns: u64,
    /// Simulated time during which calls were measured, in seconds.
    pub measured_seconds: f64,
    /// Events that were simulated.
    pub events: u64,
    /// Whether the run was given up because its events had no end.
    pub is_saturated: bool,
    /// A hash of every event and every step: the same for the same seed.
    pub log_hash: u64,
}

/// An answered call. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its function.
    pub function: u32,
    /// When it came.
    pub at_us: u64,
    /// From arrival to answer.
    pub latency_us: u32,
    /// Of this: everything but warm execution.
    pub added_us: u32,
    /// From arrival to the attempt that took it.
    pub wait_us: u32,
}

/// The figures of a run. Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Added latency: the median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The mean.
    pub mean: f64,
    /// Latency as the client sees it: the mean, 90 %, 99 % and 99.9 %.
    pub latency: [f64; 4],
    /// The share of calls that took more than 5 s from arrival to answer: Prequal's deadline.
    pub over_5s: f64,
    /// 99 % of the waits from arrival to the attempt that took the call.
    pub wait_p99: f64,
    /// The share of calls that waited for a cold start.
    pub cold_share: f64,
    /// Attempts per answered call.
    pub attempts: f64,
    /// How unevenly calls are spread: standard deviation over mean of the runners' calls in a second, averaged over the seconds (as in
    /// the Hiku paper).
    pub imbalance: f64,
    /// The longest wait that a function's first measured call had, function 0 (whose backlog it may be) left out.
    pub first_wait: f64,
    /// Answered calls per second.
    pub throughput: f64,
    /// Measured calls that were answered.
    pub answered: u64,
    /// Measured calls that nobody took.
    pub not_placed: u64,
    /// Measured calls that failed.
    pub failed: u64,
    /// 1 if the run was given up.
    pub saturated: f64,
}

impl RunRecord {
    /// The figures of this run.
    pub fn figures(&self) -> Figures {
        let count = self.answered.len();
        let sorted = |of: fn(&Answered) -> u32| {
            let mut values: Vec<u32> = self.answered.iter().map(of).collect();
            values.sort_unstable();
            values
        };
        let mean = |values: &[u32]| values.iter().map(|us| f64::from(*us)).sum::<f64>() / values.len().max(1) as f64 / 1e3;
        let (added, latency, wait) = (sorted(|call| call.added_us), sorted(|call| call.latency_us), sorted(|call| call.wait_us));
        let per_call = |number: u64| number as f64 / count.max(1) as f64;
        Figures {
            p50: quantile(&added, 0.5),
            p99: quantile(&added, 0.99),
            p999: quantile(&added, 0.999),
            mean: mean(&added),
            latency: [mean(&latency), quantile(&latency, 0.9), quantile(&latency, 0.99), quantile(&latency, 0.999)],
            over_5s: per_call(self.answered.iter().filter(|call| call.latency_us > 5_000_000).count() as u64),
            wait_p99: quantile(&wait, 0.99),
            cold_share: per_call(self.cold),
            attempts: per_call(self.attempts),
            imbalance: self.imbalance(),
            first_wait: self.first_wait(),
            throughput: count as f64 / self.measured_seconds.max(1e-9),
            answered: count as u64,
            not_placed: self.not_placed,
            failed: self.failed,
            saturated: if self.is_saturated { 1.0 } else { 0.0 },
        }
    }

    fn first_wait(&self) -> f64 {
        let mut first: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        for call in &self.answered {
            let entry = first.entry(call.function).or_insert((call.at_us, call.wait_us));
            *entry = (*entry).min((call.at_us, call.wait_us));
        }
        let waits = first.iter().filter(|(function, _)| **function != 0).map(|(_, (_, wait))| *wait);
        f64::from(waits.max().unwrap_or(0)) / 1e3
    }

    fn imbalance(&self) -> f64 {
        if self.runners == 0 {
            return 0.0;
        }
        let seconds = self.taken.chunks_exact(self.runners).skip(self.measured_from);
        let (mut sum, mut count) = (0.0, 0_u32);
        for second in seconds {
            let mean = second.iter().map(|calls| f64::from(*calls)).sum::<f64>() / self.runners as f64;
            if mean > 0.0 {
                let variance = second.iter().map(|calls| (f64::from(*calls) - mean).powi(2)).sum::<f64>() / self.runners as f64;
                sum += variance.sqrt() / mean;
                count += 1;
            }
        }
        sum / f64::from(count.max(1))
    }
}

/// The value below which a share of the sorted microseconds lies, in milliseconds (nearest rank). 0 of nothing.
fn quantile(sorted_us: &[u32], share: f64) -> f64 {
    let rank = (share * sorted_us.len() as f64).ceil() as usize;
    sorted_us.get(rank.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let values: Vec<u32> = (1..=100).map(|n| n * 1_000).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [50.0, 99.0, 100.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn imbalance_is_nothing_when_all_take_the_same() {
        let mut record = RunRecord { runners: 2, taken: vec![9, 1, 3, 3, 2, 2], measured_from: 1, ..RunRecord::default() };
        assert_eq!(record.figures().imbalance, 0.0);
        record.measured_from = 0;
        assert!((record.figures().imbalance - 0.8 / 3.0).abs() < 1e-9);
    }
}
