//! Placement under a virtual clock: the very same placing loop, wait queue and placers as in production, over model runners, on a trace or a
//! generated workload. Same calls, same seed: same decisions, to the last attempt. `runpool sim` is this floor's command; nothing in production
//! imports it.
//!
//! | where | what |
//! |---|---|
//! | [`Workload`], [`Synthetic`], [`ClosedLoop`] | which calls come when |
//! | [`RunnerModel`] | slots, memory, warm workers, shared cores: what a runner does with them |
//! | [`Setup`] | a pool of them, its balancers, the network, what goes wrong |
//! | [`run`] | one run: events in the order of their time |
//! | [`Peer`] | rules of others, for comparison only |
//! | [`Experiment`] | every placer at every load with every seed, on all cores |
//! | [`Figures`], [`Estimate`] | what came of it, with confidence intervals |
//! | [`replay`] | a live balancer's record, decided again |
//!
//! What a balancer is told is what the protocol tells, when it would come; only `global-fifo` looks at the runners themselves, and says so.
//! Closed forms are checked in this floor's tests.
//!
//! ```
//! use std::time::Duration;
//! use runpool::placement::{LoopRules, PlacerSettings, WaitLimits};
//! use runpool::sim::{Contender, ModelCall, ModelFunction, Setup, Source, Workload, run};
//!
//! // A call every 7 ms, 40 ms each: 5.7 of 64 slots are busy.
//! let call = |n: u64| ModelCall { at: n * 7_000_000, function: 0, service_ns: 40_000_000 };
//! let workload = Workload::new([ModelFunction::free("resize")], (0..1_000).map(call).collect());
//! let source = Source::Open { workload, time_factor: 1.0, until: Duration::from_secs(60) };
//! let setup = Setup { warm_up: Duration::ZERO, ..Setup::default() };
//! let rules = LoopRules {
//!     retry_all_delay: Duration::from_millis(10),
//!     waiting: WaitLimits { calls: 1_000, bytes: 0 },
//!     placers: PlacerSettings::default(),
//! };
//! let contender: Contender = "least-loaded".parse()?;
//! let figures = run(&setup, &source, contender.rules(1, &rules, 1), 1).figures();
//! assert_eq!((figures.answered, figures.attempts), (1_000, 1.0));
//! assert_eq!(figures.p99, 0.5, "one round trip");
//! # Ok::<(), runpool::sim::UnknownContender>(())
//! ```

#[cfg(test)]
mod checks;
mod clock;
mod contender;
mod engine;
mod experiment;
mod measures;
mod peers;
mod presets;
mod replay;
mod report;
mod rule;
mod runner;
mod setup;
mod statistics;
mod workload;

pub use contender::{Contender, UnknownContender};
pub use engine::{Source, run, run_observed};
pub use experiment::{Experiment, Progress, Row, Work};
pub use measures::{Answered, Figures, RunRecord};
pub use peers::Peer;
pub use presets::{Planned, Preset, Shows, Theory};
pub use replay::{Difference, ReplayError, Replayed, replay};
pub use report::{Heading, html};
pub use rule::Rule;
pub use runner::{Eviction, Execution, ModelRunner, OnFull, RoomTimes, RunnerModel};
pub use setup::{Dealing, Fault, FaultKind, Flows, Setup};
pub use statistics::Estimate;
pub use workload::{
    Arrivals, ClosedLoop, ColdStart, DayCut, ModelCall, ModelFunction, Popularity, Service, Synthetic, TraceError, Workload,
    is_day_file, read_calls, read_days, read_functions,
};
