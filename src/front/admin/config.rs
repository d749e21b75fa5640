//! `/v1/config`: every value in force and where it came from.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;

/// One value of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigValue {
    /// Its key, with dots between tables.
    #[schema(example = "placement.placer_timeout")]
    pub key: String,
    /// The value in force.
    #[schema(value_type = Value, example = "360s")]
    pub value: serde_json::Value,
    /// Where it came from: the default, a file with its line, a variable, a flag.
    #[schema(example = "default")]
    pub origin: String,
}

/// The whole configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigList {
    /// The values, in the order of their keys.
    values: Vec<ConfigValue>,
}

/// Every value in force and where it came from. Secrets are masked.
#[utoipa::path(get, path = "/v1/config", operation_id = "listConfig", tag = "configuration", responses((status = 200, body = ConfigList)))]
pub(super) async fn list(State(shared): State<Shared>) -> Json<ConfigList> {
    let mut values = shared.sources.config();
    values.sort_by(|one, other| one.key.cmp(&other.key));
    Json(ConfigList { values })
}
