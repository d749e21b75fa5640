//! What the program tells about itself: metrics, traces, logs.
//!
//! * [`metrics`] makes families whose labels come only from configuration, and hands out handles that are held and recorded on
//!   without a look-up. Every floor declares its own metrics in one struct beside the code that records them.
//! * [`exposition`] writes them out in the format that a scraper asks for; [`process`] adds those of the process itself.
//! * [`trace`] makes spans, cheap when not sampled, and exports them by OTLP when an endpoint is configured.
//! * [`access_log`] writes one JSON line a call, off the hot path, dropping and counting rather than blocking.
//! * [`turn`] is the clock of the hot path: one reading for each turn of a connection. [`deadline`] waits with a limit, and without a timer where none is needed.
//! * [`current_worker`] says which worker a thread is: what workers count, each counts for itself.
//! * [`logging`] sets up the program's own log.
//!
//! The promise of this floor: whatever becomes of a scraper, a collector or a log file, calls go on at their pace. Every queue
//! here is bounded, and what does not fit is counted. This floor imports `model` only.

pub mod access_log;
mod config;
pub mod deadline;
pub mod exposition;
mod family;
mod handle_cache;
mod histogram;
pub mod logging;
pub mod metrics;
mod per_worker;
pub mod process;
pub mod trace;
pub mod turn;

pub use config::{AccessLogFilter, AccessLogTarget, InvalidTelemetry, LogFormat, TelemetryConfig};
pub use per_worker::{Sum, become_worker, current_worker, highest_worker, next_worker};
