//! What is simulated, apart from the workload and the rule.

use std::time::Duration;

use super::runner::RunnerModel;
use crate::placement::PlacerChoice;

/// A pool, its balancers, and the network between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The runners.
    pub runners: Vec<RunnerModel>,
    /// How many balancers there are; they do not talk to each other.
    pub balancers: u32,
    /// Which balancer a call comes to.
    pub dealing: Dealing,
    /// The strategy of all functions, for the product's loop.
    pub placer: PlacerChoice,
    /// From the sending of an attempt to the coming of its refusal. A call that runs pays it too: half on the way there, half back.
    pub round_trip: Duration,
    /// How long placing a call may take.
    pub placer_timeout: Duration,
    /// How often each runner tells each balancer its whole state; none: never.
    pub reports_every: Option<Duration>,
    /// What share functions have while calls wait.
    pub flows: Flows,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How long the pool takes to see that a runner is gone, or back.
    pub detection: Duration,
    /// Calls that arrive before this are not measured.
    pub warm_up: Duration,
    /// Events after which a run is given up as saturated: polling rules make them without end.
    pub most_events: u64,
}

/// Which balancer a call comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dealing {
    /// One after the other.
    #[default]
    InTurn,
    /// Any.
    Random,
}

/// Whose shares are fair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flows {
    /// Each function's.
    #[default]
    ByFunction,
    /// Nobody's: all calls wait in one line, first in, first out.
    Together,
    /// Each app's.
    ByApp,
}

/// Something goes wrong with a runner for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Which runner.
    pub runner: usize,
    /// From when, from the start of the run.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong with a runner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// It is killed: its calls fail, its workers are gone, connections are refused. It comes back empty.
    Killed,
    /// It takes every call and fails it at once.
    FailsFast,
    /// Others on its machine leave it this share of its shared cores; afterwards it has all of them again. The pool does not notice.
    Antagonist(f64),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            runners: vec![RunnerModel::default(); 8],
            balancers: 1,
            dealing: Dealing::default(),
            placer: PlacerChoice::default(),
            round_trip: Duration::from_micros(500),
            placer_timeout: Duration::from_secs(360),
            reports_every: Some(Duration::from_secs(1)),
            flows: Flows::default(),
            faults: Vec::new(),
            detection: Duration::from_millis(250),
            warm_up: Duration::from_secs(60),
            most_events: 60_000_000,
        }
    }
}

impl Setup {
    /// Slots of all runners.
    pub fn total_slots(&self) -> u32 {
        self.runners.iter().map(|runner| runner.slots).sum()
    }
}
