//! Placement under a virtual clock.

mod clock;
mod contender;
mod engine;
mod experiment;
mod measures;
mod peers;
mod presets;
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
pub use presets::{Planned, Preset};
pub use report::{Heading, html};
pub use rule::Rule;
pub use runner::{Eviction, Execution, ModelRunner, OnFull, RoomTimes, RunnerModel};
pub use setup::{Dealing, Fault, FaultKind, Flows, Setup};
pub use statistics::Estimate;
pub use workload::{
    Arrivals, ClosedLoop, ColdStart, DayCut, ModelCall, ModelFunction, Popularity, Service, Synthetic, TraceError, Workload, is_day_file,
    read_calls, read_days, read_functions,
};
