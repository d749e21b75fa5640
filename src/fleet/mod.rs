//! Size and life of runners. In this form: a fixed number of local runner processes.

mod config;

pub use config::FleetConfig;
