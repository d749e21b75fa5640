//! The runner's side.

mod config;

pub use config::AgentConfig;
