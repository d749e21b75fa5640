//! What balancer and runner say to each other, as pure text and JSON: header names, refusals, load reports, timings,
//! starts, lost workers, lent slots, problem documents, status.
//!
//! `placement` (which asks) and `agent` (which answers) do not know each other; this floor is all they share. Nothing here
//! opens a socket. Every message has a writer and a strict reader, and the two are tested against each other.
//!
//! The promise kept here is **P2**: only [`Refusal`]s un-commit a call, and a function cannot forge one, because an agent
//! strips every `runpool-*` header from what functions answer.

pub mod headers;
mod hop_by_hop;
mod known_fields;
mod load;
mod lost;
mod problem;
mod refusal;
mod room;
mod start;
mod status;
mod timing;
mod trace_context;

pub use hop_by_hop::{remove_hop_by_hop, remove_internal, remove_known_hop_by_hop};
pub use known_fields::{KnownField, KnownFields};
pub use load::LoadReport;
pub use lost::{InvalidLost, LostWarm};
pub use problem::Problem;
pub use refusal::{Refusal, RefusalReason};
pub use room::{BalancerId, InvalidRoom, RoomGrant, RoomToken};
pub use start::{InvalidStart, WorkerStart};
pub use status::{AgentState, AgentStatus};
pub use timing::ServerTiming;
pub use trace_context::{format_traceparent, parse_traceparent};
