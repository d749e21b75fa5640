//! What one listener allows: part of `[front]` and `[runner]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, human_duration};

/// The word with which an operator opens a listener beyond loopback although nothing there asks who is calling (P8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// Anybody who can reach the address may use it.
    WithoutAuthentication,
}

/// Limits of one listener. Every one is a bound that a client cannot pass (P5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionLimits {
    /// Connections at once. Beyond it, no more are accepted until one ends: they wait in the kernel's queue.
    pub max_connections: usize,
    /// How long the head of a request may take from the connection's first byte, or from the end of the last answer.
    #[serde(with = "human_duration")]
    pub header_timeout: Duration,
    /// The longest head of a request.
    pub max_header_size: ByteSize,
    /// The most header fields of a request.
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            header_timeout: Duration::from_secs(30),
            max_header_size: ByteSize::kib(64),
            max_headers: 100,
            max_streams: 200,
        }
    }
}
