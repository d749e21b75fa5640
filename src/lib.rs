//! runpool places function calls onto a pool of runners over HTTP.
//!
//! The floors, from the bottom up (an import may only point down; `tests/floors.rs` holds that):
//! [`model`], [`files`], [`access`], [`telemetry`], [`protocol`], [`tls`], [`http1`], [`server`], [`runner`], [`pool`], [`agent`],
//! [`placement`], [`executions`],
//! [`fleet`] and [`front`], [`config`], [`cli`]; [`sim`] stands aside. Each floor's page says what it promises.
//!
//! To use the balancer inside a program of your own, start with [`placement::Placement`]; to add a strategy, with
//! [`placement::Placer`]; to place onto something of your own, with [`runner::Runner`] and [`pool::RunnerPool`].

pub mod access;
pub mod agent;
pub mod cli;
pub mod config;
pub mod executions;
pub mod files;
pub mod fleet;
pub mod front;
pub mod http1;
pub mod model;
pub mod placement;
pub mod pool;
pub mod protocol;
pub mod runner;
pub mod server;
pub mod sim;
pub mod telemetry;
pub mod tls;
