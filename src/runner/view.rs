//! What a balancer knows of a runner, for people and for `/v1/runners`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::http::Protocol;
use crate::protocol::LoadReport;

/// One runner as this balancer saw it so far. Numbers count from when the balancer began to use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerView {
    /// Where it is, as configured.
    pub address: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Whether new attempts may be made; not, once it was closed on our side.
    pub is_open: bool,
    /// Attempts under way and answers still streaming, of this balancer.
    pub in_flight: u64,
    /// Open connections, unused ones included.
    pub connections: u64,
    /// Open connections that are kept for the next attempt.
    pub idle_connections: u64,
    /// Attempts that ended or were withdrawn.
    pub attempts: u64,
    /// Of these, the committed ones.
    pub committed: u64,
    /// Of these, the ones that were withdrawn by the caller before they were decided.
    pub withdrawn: u64,
    /// Of these, the refused ones, by why; a reason that never occurred is absent.
    pub refusals: BTreeMap<String, u64>,
    /// The last load report, if the runner sent one.
    pub last_load: Option<LoadReport>,
    /// The last refusal.
    pub last_refusal: Option<Noted>,
    /// The last committed attempt without an answer of its function.
    pub last_error: Option<Noted>,
}

/// Something that was noted some time ago.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// What.
    pub text: String,
    /// How long ago, in seconds.
    pub seconds_ago: f64,
}
