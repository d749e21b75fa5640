//! What `GET /status` of an agent answers: one JSON object, Fn's fields in snake case and our own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, IncarnationId};

/// Whether an agent takes calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Not ready yet.
    #[default]
    Starting,
    /// Its gate is open.
    Ready,
    /// Its gate is closed; calls may still run.
    Draining,
}

/// The status of an agent. The second block has Fn's `RunnerStatus` fields (its protocol numbers 2 to 22); those about an
/// image, a container or a kernel dump stay at zero while functions are processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// This life of the agent; absent only in a default value.
    pub incarnation: Option<IncarnationId>,
    /// Whether it takes calls.
    pub state: AgentState,
    /// How many calls may run at once.
    pub slots: u32,
    /// Memory that workers may be admitted with in total.
    pub memory: ByteSize,
    /// Memory that the living workers are admitted with.
    pub memory_used: ByteSize,
    /// Idle workers by function name.
    pub warm_workers: BTreeMap<String, u32>,
    /// The number of the newest loss of an idle worker ([`LostWarm`](super::LostWarm)) that `warm_workers` has taken in.
    #[serde(default)]
    pub lost_seq: u64,

    /// Calls in slots now.
    pub active_request_count: u64,
    /// Calls received since the start, refused ones included.
    pub requests_received: u64,
    /// Calls that really ran since the start: refusals are excluded (Fn counts them, by a defect).
    pub requests_handled: u64,
    /// Always 0: no container runs here.
    pub kdumps_on_disk: u64,
    /// The status function, or the custom check before it, failed.
    pub status_failed: bool,
    /// The status function's part was taken from an earlier run.
    pub cached: bool,
    /// The call id of the status function's run; empty without a status function.
    pub status_id: String,
    /// What the status function answered.
    pub details: String,
    /// HTTP status of the status function's failure, or 450 if the custom check failed; else 0.
    pub error_code: u16,
    /// The failure in words.
    pub error_str: String,
    /// RFC 3339; when the status run was made; empty without one.
    pub created_at: String,
    /// RFC 3339; when its worker took it.
    pub started_at: String,
    /// RFC 3339; when it ended.
    pub completed_at: String,
    /// Nanoseconds from made to started.
    pub scheduler_duration_ns: u64,
    /// Nanoseconds from started to ended.
    pub execution_duration_ns: u64,
    /// Always 0: no image is pulled.
    pub image_pull_wait_duration_ns: u64,
    /// Always 0: no container is prepared.
    pub ctr_prep_duration_ns: u64,
    /// Always 0: no container is created.
    pub ctr_create_duration_ns: u64,
    /// Nanoseconds the status function's worker took to start.
    pub init_start_time_ns: u64,
    /// The barrier file is configured and missing.
    pub is_network_disabled: bool,
    /// What the embedding program's own check reported.
    pub custom_status: BTreeMap<String, String>,
}
