//! One runner of a pool: who it is, what was agreed about it, and whether it gets calls now.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::health::Tally;
use crate::model::RunnerId;
use crate::runner::Runner;

/// The number of a runner in its pool. It stays the same while the runner is a member, whatever else changes, and may be given to another
/// one some time after it left. Numbers are small: the largest is below the largest number of members that the pool ever had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerPlace(pub u32);

impl RunnerPlace {
    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for RunnerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One runner of a snapshot.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the runner is known by. Placers hash this, so that balancers that were given the same runners in another order agree.
    pub id: RunnerId,
    /// The runner.
    pub runner: Arc<dyn Runner>,
    /// What whoever listed it said about it.
    pub terms: Arc<Terms>,
    /// Its share of new calls now: that of its terms, less while it starts slowly. 0 is no new call.
    pub weight: u32,
    /// Whether it gets calls now.
    pub admission: Admission,
    /// What its calls are counted in.
    pub tally: Arc<Tally>,
}

/// What the source of a runner says about it, beside its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Its share of new calls, in relation to that of the others. 0: no new calls, running ones go on.
    pub weight: u32,
    /// What operators sort runners by, `zone` among them.
    pub labels: BTreeMap<String, String>,
    /// How many calls of this balancer it may have at once; 0 is as many as come.
    pub max_in_flight: u32,
    /// How many connections this balancer may have to it for calls; 0 is as many as are needed. A call under way has one of its own, from when it is
    /// being made, so that this also bounds calls that wait for one.
    pub max_connections: u32,
    /// How many slots it has, if the source knows. Load reports tell it better.
    pub slots: Option<u32>,
}

/// The weight of a runner of which nothing is said.
pub const DEFAULT_WEIGHT: u32 = 100;

impl Default for Terms {
    fn default() -> Self {
        Self { weight: DEFAULT_WEIGHT, labels: BTreeMap::new(), max_in_flight: 0, max_connections: 0, slots: None }
    }
}

/// Whether a runner gets calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admission {
    /// As many as the placer wants.
    #[default]
    Open,
    /// One at a time, until one of them has been taken: it was ejected, and may be well again.
    OneProbe,
    /// None.
    Closed(ClosedWhy),
}

/// Why a runner gets no calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClosedWhy {
    /// No connection could be made.
    Unreachable,
    /// It did not answer a question about its health, or answered that it is not well.
    Unhealthy,
    /// Calls failed there, one after the other.
    Failures,
    /// Too many of its calls failed.
    SuccessRate,
    /// It drains.
    Draining,
}

impl ClosedWhy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Unreachable, Self::Unhealthy, Self::Failures, Self::SuccessRate, Self::Draining];

    /// One word of a closed set, for metrics, logs and views.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unhealthy => "unhealthy",
            Self::Failures => "failures",
            Self::SuccessRate => "success_rate",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for ClosedWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Terms {
    /// How many calls the balancer may have there at once, whatever bounds them; 0 is as many as come.
    pub const fn call_limit(&self) -> u32 {
        match (self.max_in_flight, self.max_connections) {
            (0, limit) | (limit, 0) => limit,
            (calls, connections) => {
                if calls < connections {
                    calls
                } else {
                    connections
                }
            }
        }
    }
}

impl Member {
    /// A member that is known by its runner's address and has nothing special about it.
    pub fn new(runner: Arc<dyn Runner>) -> Self {
        Self::with_terms(RunnerId::new(runner.address()), runner, Arc::default())
    }

    /// A member on these terms, which gets calls at once.
    pub fn with_terms(id: RunnerId, runner: Arc<dyn Runner>, terms: Arc<Terms>) -> Self {
        Self { id, runner, weight: terms.weight, terms, admission: Admission::Open, tally: Arc::default() }
    }

    /// The same member on other terms.
    pub(super) fn on_terms(&self, terms: &Terms) -> Self {
        if *self.terms == *terms {
            return self.clone();
        }
        // While it starts slowly, it goes on doing so.
        let scaled = u64::from(self.weight) * u64::from(terms.weight) / u64::from(self.terms.weight.max(1));
        let weight = if self.terms.weight == 0 { terms.weight } else { u32::try_from(scaled).unwrap_or(u32::MAX) };
        Self { weight, terms: Arc::new(terms.clone()), ..self.clone() }
    }

    /// Whether new calls may go there.
    pub const fn is_usable(&self) -> bool {
        self.weight > 0 && !matches!(self.admission, Admission::Closed(_))
    }

    /// Whether it is the very same runner, on its own connections, as `other`.
    pub fn is_same_runner(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.runner, &other.runner)
    }

    /// Whether there is nothing by which a pool or a placer could tell the two apart.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_same_runner(other)
            && self.id == other.id
            && self.terms == other.terms
            && self.weight == other.weight
            && self.admission == other.admission
    }
}
