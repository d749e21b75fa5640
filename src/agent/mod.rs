//! The runner's side: an HTTP server that takes calls, or refuses them, and runs functions.
//!
//! | read | for |
//! |---|---|
//! | `agent` | how an agent is made, served and ended |
//! | `routes`, `call_request` | its HTTP surface |
//! | `service`, `gate` | admission: in which order it refuses, slots, draining |
//! | `room`, `asking` | a pure machine: who gets a slot that is free again; balancers that wait for one |
//! | `workers`, `memory` | pure machines: which worker takes which call, who is evicted for whom |
//! | `house`, `worker` | what performs their decisions on real processes |
//! | `run` | the end of a call, which many can bring about and one does |
//! | `http_stream`, `worker_body`, `fn_contract` | functions of the Fn FDK contract |
//! | `exec_job`, `job_body` | functions that are one process a call |
//! | `detached`, `status` | calls nobody waits for, and the agent's own |
//! | `process` | processes: start, watch, kill, and the warden |
//!
//! Promises kept here:
//!
//! * **P2** A refusal is made before anything of the call has run or was read. A function cannot forge one.
//! * **P3** A worker takes another call only when both bodies of the last one were read to their end; else it is killed.
//! * **P5** Slots, memory, heads, bodies, lines and known functions have a bound.
//! * A call's slot and memory are free when the process that had them is dead or done, not before; and before the last byte of the answer is
//!   out, so that whoever has read that finds the slot free and the worker warm.
//! * No process of a function outlives its agent.
//!
//! This floor imports `server`, `protocol`, `telemetry` and `model`; it knows neither pools nor placers.

mod accepted;
#[expect(clippy::module_inception, reason = "the room's chief object")]
mod agent;
mod answer;
mod asking;
mod call_request;
mod calls;
mod config;
mod detached;
mod exec_job;
mod fn_contract;
mod functions;
mod gate;
mod house;
mod http_stream;
mod input;
mod job_body;
mod memory;
mod memory_watch;
mod metrics;
mod process;
mod register_config;
mod room;
mod routes;
mod run;
mod run_error;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod usual;
mod worker;
mod worker_body;
mod worker_connection;
mod workers;

pub use agent::{Agent, AgentBuilder, AgentError};
pub use config::{AgentConfig, InvalidAgentConfig, MAX_SOCKET_DIRECTORY};
pub use metrics::AgentMetrics;
pub use process::{INCARNATION_VARIABLE, WardenCommand, run_warden};
pub use register_config::RegisterConfig;
pub use room::RoomConfig;
pub use status::HealthCheck;
