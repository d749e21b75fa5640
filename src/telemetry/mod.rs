//! What the program tells about itself: metrics, traces, logs.
//!
//! * [`metrics`] makes families whose labels come only from configuration, and hands out handles that are held and recorded on
//!   without a look-up. Every floor declares its own metrics in one struct beside the code that records them.
//! * [`trace`] makes spans, cheap when not sampled, and exports them by OTLP when an endpoint is configured.
//! * [`access_log`] writes one JSON line a call, off the hot path, dropping and counting rather than blocking.
//! * [`logging`] sets up the program's own log.
//!
//! This floor imports `model` only.

mod config;
pub mod metrics;
pub mod trace;

pub use config::{AccessLogFilter, AccessLogTarget, InvalidTelemetry, LogFormat, TelemetryConfig};
