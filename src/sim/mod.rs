//! Placement under a virtual clock: the very same [`Placing`](crate::placement::Placing) and placers as in production, over model runners
//! with slots. Same calls, same seed: same decisions, to the last attempt.
//!
//! In this form: runners have slots and nothing else, a refusal costs one round trip, one balancer. It is what tells, without a machine's
//! noise, how many attempts a strategy makes ([`Summary::attempts`]) and how long calls wait. Nothing in production imports this floor.
//!
//! ```
//! use std::time::Duration;
//! use runpool::placement::{Naive, PlacementConfig};
//! use runpool::sim::{ModelCall, Simulation};
//!
//! let simulation = Simulation { runners: 3, slots: 1, round_trip: Duration::from_micros(200), rules: PlacementConfig::default().rules() };
//! let calls = (0..30).map(|_| ModelCall::new("f", Duration::ZERO, Duration::from_millis(200)));
//! let summary = simulation.run(&Naive, calls, 1);
//! assert_eq!((summary.placed, summary.not_placed), (30, 0));
//! assert_eq!(summary.last_end.as_millis() / 100, 20, "ten rounds of 200 ms and a little waiting");
//! ```

mod clock;
mod model_runner;
mod run;

pub use run::{ModelCall, Simulation, Summary};
