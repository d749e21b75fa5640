//! Users who call, wait for the answer, think, and call again: what arrives depends on how fast it is answered.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::synthetic::{draw_function, model_functions};
use super::{ColdStart, ModelCall, ModelFunction, Popularity, Service};

/// A closed loop.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedLoop {
    /// The functions.
    pub functions: Vec<ModelFunction>,
    /// The shares of the functions, summed up to each.
    pub cumulative: Vec<f64>,
    /// How long the calls of each function run; function i has the entry i modulo the length.
    pub service: Vec<Service>,
    /// How long a user thinks between two calls.
    pub think: Service,
    /// How many users there are, in stages one after the other: users, seconds.
    pub stages: Vec<(u32, f64)>,
}

impl ClosedLoop {
    /// `count` functions of one popularity and start cost.
    pub fn new(count: u32, popularity: Popularity, cold: ColdStart, rng: &mut StdRng) -> Self {
        Self {
            functions: model_functions(count, cold, rng),
            cumulative: popularity.cumulative(count),
            service: vec![Service::Constant(0.1)],
            think: Service::Constant(0.0),
            stages: Vec::new(),
        }
    }

    /// The most users at a time.
    pub(in crate::sim) fn most_users(&self) -> u32 {
        self.stages.iter().map(|(users, _)| *users).max().unwrap_or(0)
    }

    /// The first call of a user. They come over one second, so that not all begin at once.
    pub(in crate::sim) fn first(&self, user: u32, rng: &mut StdRng) -> Option<ModelCall> {
        let begin = rng.random_range(0..1_000_000_000_u64);
        self.call_at(user, begin, rng)
    }

    /// The next call of a user whose last was answered at `now`.
    pub(in crate::sim) fn next(&self, user: u32, now: u64, rng: &mut StdRng) -> Option<ModelCall> {
        let at = now + self.think.draw(rng);
        self.call_at(user, at, rng)
    }

    fn call_at(&self, user: u32, at: u64, rng: &mut StdRng) -> Option<ModelCall> {
        let mut begin = 0;
        for (users, seconds) in &self.stages {
            let end = begin + (seconds * 1e9) as u64;
            if at < end && user < *users {
                let function = draw_function(&self.cumulative, rng);
                let service = self.service.get(function as usize % self.service.len().max(1))?;
                return Some(ModelCall { at: at.max(begin), function, service_ns: service.draw(rng) });
            }
            begin = end;
        }
        None
    }
}
