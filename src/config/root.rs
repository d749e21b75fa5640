//! The whole configuration: one field a table.

use serde::{Deserialize, Serialize};

use crate::agent::AgentConfig;
use crate::fleet::FleetConfig;
use crate::front::{AdminConfig, FrontConfig, RouteConfig, ShutdownConfig};
use crate::model::FunctionSpec;
use crate::placement::PlacementConfig;
use crate::pool::PoolConfig;
use crate::telemetry::TelemetryConfig;

/// Every effective value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Threads that do the work; 0 is one for each core.
    pub workers: u16,
    /// Where clients call.
    pub front: FrontConfig,
    /// Where operators look.
    pub admin: AdminConfig,
    /// The strategy and its times.
    pub placement: PlacementConfig,
    /// Which runners there are and how they are spoken to.
    pub pool: PoolConfig,
    /// The agent's own settings.
    pub runner: AgentConfig,
    /// The local runners of `runpool up`.
    pub fleet: FleetConfig,
    /// What the program tells about itself.
    pub telemetry: TelemetryConfig,
    /// How long ending may take.
    pub shutdown: ShutdownConfig,
    /// Which requests go to which function.
    #[serde(rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
    /// What there is to call.
    #[serde(rename = "function", skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionSpec>,
}
