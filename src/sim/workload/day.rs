//! A day per function: one line each with calls per minute and percentiles of durations, expanded into single calls.
//!
//! Arrival instants are uniform inside their minute. A duration is drawn linearly between the function's percentiles up to p99, and
//! log-shaped from there to p100 with the shape solved so that the mean is `avg_ms`, as far as any
//! shape makes it (straight lines between percentiles may lie above it already); clipped to 0.1 ms – 60 s. The traces have no cold
//! starts: they are drawn log-normal, median 403 ms, sigma 0.7, clipped to 50 ms – 10 s, unless a functions' file says them.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::trace::Lines;
use super::{MINUTE, ModelCall, ModelFunction, Service, TraceError, Workload};

/// Which minutes of the day are expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayCut {
    /// The first, 0–1439.
    pub from: u32,
    /// The one after the last.
    pub until: u32,
}

/// The percentiles that the format has, with the share below each.
const PERCENTILES: [(&str, f64); 7] =
    [("p0_ms", 0.0), ("p1_ms", 0.01), ("p25_ms", 0.25), ("p50_ms", 0.5), ("p75_ms", 0.75), ("p99_ms", 0.99), ("p100_ms", 1.0)];

/// Expands the minutes of `cut` into calls. The same seed expands the same way.
///
/// # Errors
/// The file is not there, or not of this format.
pub fn read_days(path: &Path, cut: DayCut, seed: u64) -> Result<Workload, TraceError> {
    let mut lines = Lines::open(path, "`fn,app,avg_ms,p0_ms,…,p100_ms,mem_mb,minutes`")?;
    let [name, app, memory, mean, minutes] =
        [lines.column("fn")?, lines.column("app")?, lines.column("mem_mb")?, lines.column("avg_ms")?, lines.column("minutes")?];
    let mut columns = Vec::new();
    for (percentile, _) in PERCENTILES {
        columns.push(lines.column(percentile)?);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut functions, mut calls) = (Vec::new(), Vec::new());
    while lines.advance()? {
        let function = u32::try_from(functions.len()).unwrap_or(u32::MAX);
        let cold = Service::LogNormal { median: 0.403, sigma: 0.7 }.draw(&mut rng).clamp(50_000_000, 10_000_000_000);
        let memory_mb = u32::try_from(lines.number(memory)?).map_err(|_| lines.wrong(memory, "a number of MB"))?;
        functions.push(ModelFunction { name: lines.text(name), cold_ns: cold, memory_mb, app: lines.text(app) });
        let mut points = [0.0; 7];
        for (point, column) in points.iter_mut().zip(&columns) {
            *point = lines.number(*column)? as f64;
        }
        let durations = Durations::new(points, lines.number(mean)? as f64);
        for pair in lines.text(minutes).split_whitespace() {
            let parsed =
                pair.split_once(':').and_then(|(minute, count)| Some((minute.parse::<u32>().ok()?, count.parse::<u32>().ok()?)));
            let (minute, count) = parsed.ok_or_else(|| lines.wrong(minutes, "a list of minute:count"))?;
            if !(cut.from..cut.until).contains(&minute) {
                continue;
            }
            for _ in 0..count {
                let at = u64::from(minute - cut.from) * MINUTE + rng.random_range(0..MINUTE);
                calls.push(ModelCall { at, function, service_ns: durations.draw(&mut rng) });
            }
        }
    }
    if calls.is_empty() {
        return Err(TraceError::Empty { path: path.to_owned() });
    }
    let mut workload = Workload::new(functions, calls);
    workload.span_ns = u64::from(cut.until - cut.from) * MINUTE;
    Ok(workload)
}

/// The distribution of a function's durations.
struct Durations {
    points: [f64; 7],
    /// How the last hundredth is bent: a duration there is p99 · (p100/p99)^(u^shape).
    shape: f64,
}

impl Durations {
    fn new(points: [f64; 7], mean: f64) -> Self {
        let body: f64 = (1..6).map(|i| (PERCENTILES[i].1 - PERCENTILES[i - 1].1) * f64::midpoint(points[i], points[i - 1])).sum();
        let tail = (mean - body) / 0.01;
        let (mut low, mut high) = (0.01_f64, 100.0_f64);
        // The tail's mean falls with the shape, from p100 to p99; bisected on a logarithmic scale.
        for _ in 0..50 {
            let shape = (low * high).sqrt();
            if Self::tail_mean(&points, shape) > tail { low = shape } else { high = shape }
        }
        Self { points, shape: (low * high).sqrt() }
    }

    fn tail_mean(points: &[f64; 7], shape: f64) -> f64 {
        let steps = 200;
        (0..steps).map(|step| Self::tail_at(points, shape, (f64::from(step) + 0.5) / f64::from(steps))).sum::<f64>()
            / f64::from(steps)
    }

    fn tail_at(points: &[f64; 7], shape: f64, uniform: f64) -> f64 {
        let low = points[5].max(0.1);
        low * (points[6].max(low) / low).powf(uniform.powf(shape))
    }

    fn draw(&self, rng: &mut StdRng) -> u64 {
        let uniform = rng.random::<f64>();
        let ms = match (1..6).find(|index| uniform < PERCENTILES[*index].1) {
            Some(i) => {
                let (from, until) = (PERCENTILES[i - 1].1, PERCENTILES[i].1);
                self.points[i - 1] + (self.points[i] - self.points[i - 1]) * (uniform - from) / (until - from)
            }
            None => Self::tail_at(&self.points, self.shape, (uniform - 0.99) / 0.01),
        };
        (ms.clamp(0.1, 60_000.0) * 1e6) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_expanded_to_its_counts_and_its_mean() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("day.csv");
        let head = "fn,app,owner,trigger,total,avg_ms,p0_ms,p1_ms,p25_ms,p50_ms,p75_ms,p99_ms,p100_ms,mem_mb,minutes\n";
        std::fs::write(&path, format!("{head}a,x,o,http,9,60,13,15,19,22,27,169,5039,177,0:7 10:30000 11:30000 12:5\n")).unwrap();
        let workload = read_days(&path, DayCut { from: 10, until: 12 }, 1).unwrap();
        assert_eq!((workload.calls.len(), workload.span_ns), (60_000, 2 * MINUTE));
        let mean = workload.calls.iter().map(|call| call.service_ns as f64 / 1e6).sum::<f64>() / 60_000.0;
        assert!((mean - 60.0).abs() < 3.0, "{mean}");
    }
}
