//! HTTP in: what clients and operators talk to.
//!
//! * [`Front`] takes calls: limits, routing, the held body, placement, the streamed answer, the access log.
//! * [`admin`] answers operators: liveness, readiness, metrics, runners, functions, configuration.
//! * [`Catalog`] is what there is to call: functions and routes, swapped whole at a reload.
//!
//! It imports every floor below and is imported only by `cli` and `config`.

pub mod admin;
mod answer;
mod body_memory;
#[cfg(test)]
mod cases;
mod catalog;
mod config;
mod explain;
mod forwarding;
mod guard;
mod held_body;
mod identity;
mod invoke;
mod listen;
mod metrics;
mod places;
mod plainest_path;
mod record;
mod routes;
mod token_config;
mod trailers;

pub use answer::FrontBody;
pub use catalog::{Catalog, CatalogError};
pub use config::{AdminConfig, Forward, FrontConfig, RouteConfig, ShutdownConfig};
pub use explain::{CallPlacement, CandidateView, ExplainedCalls};
pub use forwarding::ForwardedStyle;
pub use invoke::{CallOption, ClientAddress, ClientIdentity, Front};
pub use listen::{serve, server};
pub use metrics::FrontMetrics;
pub use record::FrontTelemetry;
pub use token_config::{AdminRole, AdminToken, FrontToken};
