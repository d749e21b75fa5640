//! Workloads that are generated: arrivals, popularity, durations and cold starts by closed forms.
//!
//! What a workload like this is for: the checks of the simulator itself (M/M/1, Erlang C, power of two), and the set-ups of papers.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{ModelCall, ModelFunction, Workload};

/// When calls arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Independent of each other: exponential gaps.
    Poisson {
        /// Calls per second.
        rate: f64,
    },
    /// One gap, always.
    Even {
        /// Calls per second.
        rate: f64,
    },
    /// Poisson, with a rate that is `factor` times higher for `length` seconds of every `period` seconds; `rate` is the mean over all.
    Bursts {
        /// Calls per second, on average.
        rate: f64,
        /// How many times more calls a burst has than the time between bursts.
        factor: f64,
        /// Seconds of a burst.
        length: f64,
        /// Seconds from the start of one burst to that of the next.
        period: f64,
    },
}

/// How long calls run, or users think. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    /// Always the same.
    Constant(f64),
    /// Exponential, of this mean.
    Exponential(f64),
    /// Uniform between two times.
    Uniform(f64, f64),
    /// Normal with a standard deviation, nothing below 0 (Prequal's queries: the deviation equals the mean).
    Normal {
        /// The mean before truncation.
        mean: f64,
        /// Standard deviation.
        deviation: f64,
    },
    /// Log-normal.
    LogNormal {
        /// Half are shorter.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Heavy tail: Pareto of exponent `alpha` between two bounds.
    BoundedPareto {
        /// The exponent; below 2 the tail decides the variance.
        alpha: f64,
        /// The shortest.
        least: f64,
        /// The longest.
        most: f64,
    },
}

impl Service {
    /// Draws one, in nanoseconds.
    pub fn draw(&self, rng: &mut StdRng) -> u64 {
        // In (0, 1]: a logarithm is taken of it.
        let mut uniform = || 1.0 - rng.random::<f64>();
        let seconds = match *self {
            Self::Constant(seconds) => seconds,
            Self::Exponential(mean) => -mean * uniform().ln(),
            Self::Uniform(least, most) => least + (most - least) * uniform(),
            Self::Normal { mean, deviation } => mean + deviation * normal(uniform(), uniform()),
            Self::LogNormal { median, sigma } => median * (sigma * normal(uniform(), uniform())).exp(),
            Self::BoundedPareto { alpha, least, most } => {
                let share = 1.0 - (least / most).powf(alpha);
                least / (1.0 - share * (1.0 - uniform())).powf(1.0 / alpha)
            }
        };
        (seconds.max(0.0) * 1e9).round() as u64
    }

    /// The mean, in seconds. Of a truncated normal: what [`Service::draw`] makes on average.
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Constant(mean) | Self::Exponential(mean) => mean,
            Self::Uniform(least, most) => f64::midpoint(least, most),
            Self::Normal { mean, deviation } => {
                let ratio = mean / deviation;
                let density = (-ratio * ratio / 2.0).exp() / std::f64::consts::TAU.sqrt();
                mean * standard_normal(ratio) + deviation * density
            }
            Self::LogNormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
            Self::BoundedPareto { alpha, least, most } => {
                let share = 1.0 - (least / most).powf(alpha);
                alpha * least.powf(alpha) / share * (least.powf(1.0 - alpha) - most.powf(1.0 - alpha)) / (alpha - 1.0)
            }
        }
    }
}

/// Box and Muller's transformation.
fn normal(one: f64, other: f64) -> f64 {
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

/// The share of a standard normal below `x`, for `x` of 0 or more (Abramowitz and Stegun 26.2.17, error below 10⁻⁷).
fn standard_normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let series = t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    1.0 - (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * series
}

/// Which function a call is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// All alike.
    Uniform,
    /// The i-th has a share proportional to i to the power of minus this.
    Zipf(f64),
}

impl Popularity {
    /// The shares of `count` functions, summed up to each.
    pub fn cumulative(&self, count: u32) -> Vec<f64> {
        let weight = |rank: u32| match *self {
            Self::Uniform => 1.0,
            Self::Zipf(exponent) => f64::from(rank).powf(-exponent),
        };
        let total: f64 = (1..=count).map(weight).sum();
        let mut sum = 0.0;
        (1..=count)
            .map(|rank| {
                sum += weight(rank) / total;
                sum
            })
            .collect()
    }
}

/// Draws a function by cumulative shares.
pub(super) fn draw_function(cumulative: &[f64], rng: &mut StdRng) -> u32 {
    let uniform = rng.random::<f64>();
    let index = cumulative.partition_point(|share| *share <= uniform).min(cumulative.len().saturating_sub(1));
    u32::try_from(index).unwrap_or(0)
}

/// What starts cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColdStart {
    /// Nothing: there is always a warm worker.
    Free,
    /// Drawn once for each function.
    Costs {
        /// How long a start takes.
        time: Service,
        /// What a worker holds, in MB.
        memory_mb: u32,
    },
}

/// A generated open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// How many functions.
    pub functions: u32,
    /// Which of them are called more.
    pub popularity: Popularity,
    /// When.
    pub arrivals: Arrivals,
    /// How long they run.
    pub service: Service,
    /// What starts cost.
    pub cold: ColdStart,
    /// Seconds in which calls arrive.
    pub seconds: f64,
}

impl Synthetic {
    /// The workload of a seed.
    pub fn generate(&self, seed: u64) -> Workload {
        let mut rng = StdRng::seed_from_u64(seed);
        let functions = model_functions(self.functions, self.cold, &mut rng);
        let cumulative = self.popularity.cumulative(self.functions);
        let mut calls = Vec::new();
        let mut at = 0.0;
        loop {
            at += self.gap(at, &mut rng);
            if at >= self.seconds {
                break;
            }
            let function = draw_function(&cumulative, &mut rng);
            calls.push(ModelCall { at: (at * 1e9) as u64, function, service_ns: self.service.draw(&mut rng) });
        }
        let span_ns = (self.seconds * 1e9) as u64;
        Workload { functions: functions.into(), calls: calls.into(), span_ns }
    }

    /// Seconds from `at` to the next arrival.
    fn gap(&self, at: f64, rng: &mut StdRng) -> f64 {
        let exponential = |rate: f64, rng: &mut StdRng| Service::Exponential(1.0 / rate).draw(rng) as f64 / 1e9;
        match self.arrivals {
            Arrivals::Poisson { rate } => exponential(rate, rng),
            Arrivals::Even { rate } => 1.0 / rate,
            Arrivals::Bursts { rate, factor, length, period } => {
                let low = rate * period / (factor * length + period - length);
                // Draws at the burst's rate and keeps the share that the moment's rate is of it (thinning).
                let mut gap = 0.0;
                loop {
                    gap += exponential(low * factor, rng);
                    let is_burst = (at + gap) % period < length;
                    if is_burst || rng.random::<f64>() < 1.0 / factor {
                        return gap;
                    }
                }
            }
        }
    }
}

/// Functions `f0`, `f1`, … with the start costs of `cold`.
pub(super) fn model_functions(count: u32, cold: ColdStart, rng: &mut StdRng) -> Vec<ModelFunction> {
    let function = |number: u32| {
        let name = format!("f{number}");
        match cold {
            ColdStart::Free => ModelFunction::free(name),
            ColdStart::Costs { time, memory_mb } => {
                ModelFunction { app: name.clone(), name, cold_ns: time.draw(rng).max(1), memory_mb }
            }
        }
    };
    (0..count).map(function).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_the_mean_that_is_told() {
        let mut rng = StdRng::seed_from_u64(1);
        for service in [
            Service::Exponential(0.2),
            Service::Uniform(0.1, 1.0),
            Service::Normal { mean: 0.1, deviation: 0.1 },
            Service::LogNormal { median: 0.4, sigma: 0.7 },
            Service::BoundedPareto { alpha: 1.5, least: 0.01, most: 10.0 },
        ] {
            let count = 200_000;
            let mean = (0..count).map(|_| service.draw(&mut rng) as f64 / 1e9).sum::<f64>() / f64::from(count);
            let difference = (mean - service.mean()).abs() / service.mean();
            assert!(difference < 0.03, "{service:?}: {mean}, told {}", service.mean());
        }
    }

    #[test]
    fn bursts_keep_the_mean_rate() {
        let arrivals = Arrivals::Bursts { rate: 200.0, factor: 10.0, length: 1.0, period: 10.0 };
        let synthetic = Synthetic {
            functions: 1,
            popularity: Popularity::Uniform,
            arrivals,
            service: Service::Constant(0.001),
            cold: ColdStart::Free,
            seconds: 100.0,
        };
        let calls = synthetic.generate(1).calls.len() as f64;
        assert!((calls - 20_000.0).abs() < 600.0, "{calls}");
    }

    #[test]
    fn zipf_shares_fall_with_the_rank() {
        let cumulative = Popularity::Zipf(1.0).cumulative(3);
        assert!((cumulative[0] - 6.0 / 11.0).abs() < 1e-9 && (cumulative[2] - 1.0).abs() < 1e-9);
    }
}
