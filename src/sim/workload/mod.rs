//! What is simulated: which functions there are, and when they are called.
//!
//! * [`Workload`] is a list of calls in the order of their arrival, read from a file ([`read_calls`], [`read_functions`], [`read_days`]) or
//!   generated ([`Synthetic`]). It does not depend on what happens: an open loop.
//! * [`ClosedLoop`] is users who call, wait for the answer, think, and call again.
//!
//! Times are in nanoseconds from the start of the workload. [`Workload::time_factor`] stretches a workload so that it makes a wanted load;
//! [`Workload::redraw`] makes another one of the same kind out of it, for another seed.

mod closed_loop;
mod day;
mod redraw;
mod synthetic;
mod trace;

use std::sync::Arc;

pub use closed_loop::ClosedLoop;
pub use day::{DayCut, read_days};
pub use synthetic::{Arrivals, ColdStart, Popularity, Service, Synthetic};
pub use trace::{TraceError, is_day_file, read_calls, read_functions};

/// Nanoseconds of a minute: within one, the arrivals of a trace are uniform.
pub(super) const MINUTE: u64 = 60_000_000_000;

/// A function of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFunction {
    /// Its name: what a hash ring hashes.
    pub name: String,
    /// What a cold start adds to a call, in nanoseconds. 0: starts cost nothing and are not counted.
    pub cold_ns: u64,
    /// What one of its workers holds, in MB; 0 is nothing.
    pub memory_mb: u32,
    /// The app it belongs to.
    pub app: String,
}

impl ModelFunction {
    /// A function whose starts cost nothing.
    pub fn free(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { app: name.clone(), name, cold_ns: 0, memory_mb: 0 }
    }
}

/// A call of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelCall {
    /// When it arrives, in nanoseconds from the start.
    pub at: u64,
    /// Which of the functions.
    pub function: u32,
    /// How long it runs on a warm worker of a runner of speed 1, in nanoseconds.
    pub service_ns: u64,
}

/// Calls in the order of their arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The functions, by number.
    pub functions: Arc<[ModelFunction]>,
    /// The calls, earliest first.
    pub calls: Arc<[ModelCall]>,
    /// How long the workload lasts, in nanoseconds: a trace's whole minutes.
    pub span_ns: u64,
}

impl Workload {
    /// A workload out of calls in any order. Lasts until the minute of the last call is over; one shorter than a minute until its last call.
    pub fn new(functions: impl Into<Arc<[ModelFunction]>>, mut calls: Vec<ModelCall>) -> Self {
        calls.sort_by_key(|call| call.at);
        let last = calls.last().map_or(0, |call| call.at);
        let span_ns = if last < MINUTE { last.max(1) } else { last.div_ceil(MINUTE) * MINUTE };
        Self { functions: functions.into(), calls: calls.into(), span_ns }
    }

    /// How many slots are busy with warm execution on average: the sum of all durations over the span.
    pub fn busy_slots(&self) -> f64 {
        let total: f64 = self.calls.iter().map(|call| call.service_ns as f64).sum();
        total / self.span_ns as f64
    }

    /// By what to multiply the arrival times so that `load` times `slots` are busy with warm execution on average.
    pub fn time_factor(&self, load: f64, slots: u32) -> f64 {
        self.busy_slots() / (load * f64::from(slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_factor_makes_the_wanted_load() {
        let call = |at: u64| ModelCall { at, function: 0, service_ns: 500_000_000 };
        let workload = Workload::new([ModelFunction::free("f")], (0..240).map(|n| call(n * 500_000_000)).collect());
        assert_eq!(workload.span_ns, 2 * MINUTE);
        assert!((workload.busy_slots() - 1.0).abs() < 1e-9);
        let factor = workload.time_factor(0.5, 4);
        assert!((factor - 0.5).abs() < 1e-9, "twice as many calls in the same time");
    }
}
