//! `/v1/functions`: what there is to call.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::model::{Function, format_duration};

/// What stands in the place of a value that may be a secret.
const MASK: &str = "***";

/// All functions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FunctionList {
    /// The functions, by name.
    functions: Vec<FunctionEntry>,
}

/// One function, in its version of now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FunctionEntry {
    /// Its name.
    #[schema(example = "greet")]
    name: String,
    /// The application it belongs to.
    #[schema(example = "default")]
    app: String,
    /// How an agent talks to it: `http-stream` or `exec`.
    #[schema(value_type = String, example = "http-stream")]
    format: crate::model::Format,
    /// SHA-256 of its specification: equal digests mean the same version.
    digest: String,
    /// The program and its arguments.
    command: Vec<String>,
    /// The working directory of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// How long one call may run.
    #[schema(example = "30s")]
    timeout: String,
    /// How long a worker may take to start.
    #[schema(example = "5s")]
    init_timeout: String,
    /// How long a worker stays warm without a call.
    #[schema(example = "30s")]
    idle_timeout: String,
    /// Memory of one worker.
    #[schema(example = "128MiB")]
    memory: String,
    /// Calls of it that one runner may run at once; 0 is no limit but the runner's slots.
    concurrency: u32,
    /// Names of its environment. The values may be secrets and are masked.
    config: BTreeMap<String, &'static str>,
}

impl From<&Function> for FunctionEntry {
    fn from(function: &Function) -> Self {
        let spec = &function.spec;
        Self {
            name: spec.name.to_string(),
            app: spec.app.clone(),
            format: spec.format,
            digest: function.digest.to_string(),
            command: spec.command.clone(),
            directory: spec.directory.as_ref().map(|directory| directory.display().to_string()),
            timeout: format_duration(spec.timeout),
            init_timeout: format_duration(spec.init_timeout),
            idle_timeout: format_duration(spec.idle_timeout),
            memory: spec.memory.to_string(),
            concurrency: spec.concurrency,
            config: spec.config.keys().map(|name| (name.clone(), MASK)).collect(),
        }
    }
}

/// The functions that can be called, by name; values of their environment are masked.
#[utoipa::path(get, path = "/v1/functions", operation_id = "listFunctions", tag = "configuration", responses((status = 200, body = FunctionList)))]
pub(super) async fn list(State(shared): State<Shared>) -> Json<FunctionList> {
    let mut functions: Vec<_> = shared.sources.functions().iter().map(|function| FunctionEntry::from(&**function)).collect();
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    Json(FunctionList { functions })
}
