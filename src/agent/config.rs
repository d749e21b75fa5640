//! `[runner]`: the agent's own settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, FunctionName, human_duration};
use crate::server::{ConnectionLimits, Exposure};

/// `[runner]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Address to listen on. Balancers call here; `/status`, `/metrics`, `/livez` and `/readyz` are here too.
    pub listen: SocketAddr,
    /// The word `without-authentication` opens an address that is not loopback: whoever reaches an agent may run programs on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
    /// Calls that may run at once.
    pub slots: u32,
    /// Memory that workers may be admitted with in total.
    pub memory: ByteSize,
    /// Directory for sockets of workers; a new directory below the system's temporary one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_directory: Option<PathBuf>,
    /// The longest answer of a function; longer ones are a 502 if their length is announced, else cut.
    pub max_answer_body: ByteSize,
    /// The longest head of a function's answer.
    pub max_answer_head: ByteSize,
    /// A function that `/status` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_function: Option<FunctionName>,
    /// A file whose absence `/status` reports as `is_network_disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barrier_file: Option<PathBuf>,
    /// How long a result of the status function is reported again (Fn: 500 ms and the idle timeout of 1 s).
    #[serde(with = "human_duration")]
    pub status_cache: Duration,
    /// How often the memory of busy workers is looked at; zero never.
    #[serde(with = "human_duration")]
    pub memory_watch: Duration,
    /// Limits of the listener.
    pub limits: ConnectionLimits,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9001)),
            expose: None,
            slots: 8,
            memory: ByteSize::gib(2),
            socket_directory: None,
            max_answer_body: ByteSize::gib(1),
            max_answer_head: ByteSize::kib(64),
            status_function: None,
            barrier_file: None,
            status_cache: Duration::from_millis(1_500),
            memory_watch: Duration::from_millis(500),
            limits: ConnectionLimits::default(),
        }
    }
}

/// The longest [`AgentConfig::socket_directory`], in bytes: the path of a unix socket has at most 107, of which the agent and the functions'
/// libraries need the rest (`/rp-INCARNATION/s/NUMBER/phonylsnr.sock`).
pub const MAX_SOCKET_DIRECTORY: usize = 39;

/// A value of `[runner]` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAgentConfig {
    /// A number is too small.
    #[error("runner.{key} is {value}: expected at least {least}")]
    TooSmall {
        /// The key below `[runner]`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be at least.
        least: String,
    },
    /// The address is not loopback, and nobody said that this is meant.
    #[error(
        "runner.listen is {listen}, which others can reach, and whoever reaches an agent may run programs on it: expected a loopback address, or runner.expose = \"without-authentication\""
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// The directory's path is relative.
    #[error("runner.socket_directory is {path}: expected an absolute path")]
    RelativeDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory's path is too long for the sockets in it.
    #[error(
        "runner.socket_directory is {path}, {length} bytes long: expected at most {MAX_SOCKET_DIRECTORY}, as paths of unix sockets are short"
    )]
    LongDirectory {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
}

impl AgentConfig {
    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// The first value that cannot be used, with what was expected.
    pub fn validate(&self) -> Result<(), InvalidAgentConfig> {
        if !self.listen.ip().is_loopback() && self.expose.is_none() {
            return Err(InvalidAgentConfig::Exposed { listen: self.listen });
        }
        at_least("slots", self.slots, 1)?;
        at_least("memory", self.memory, ByteSize::mib(1))?;
        at_least("max_answer_body", self.max_answer_body, ByteSize(1))?;
        at_least("max_answer_head", self.max_answer_head, ByteSize::kib(1))?;
        at_least("limits.max_connections", self.limits.max_connections, 1)?;
        at_least("limits.max_header_size", self.limits.max_header_size, ByteSize::kib(1))?;
        at_least("limits.max_headers", self.limits.max_headers, 16)?;
        at_least("limits.max_streams", self.limits.max_streams, 1)?;
        match &self.socket_directory {
            Some(path) => check_socket_directory(path),
            None => Ok(()),
        }
    }
}

fn at_least<T: PartialOrd + ToString>(key: &'static str, value: T, least: T) -> Result<(), InvalidAgentConfig> {
    if value < least {
        return Err(InvalidAgentConfig::TooSmall { key, value: value.to_string(), least: least.to_string() });
    }
    Ok(())
}

/// Checks that sockets below `path` have paths that a socket can have.
pub(crate) fn check_socket_directory(path: &Path) -> Result<(), InvalidAgentConfig> {
    let length = path.as_os_str().len();
    if !path.is_absolute() {
        return Err(InvalidAgentConfig::RelativeDirectory { path: path.to_owned() });
    }
    if length > MAX_SOCKET_DIRECTORY {
        return Err(InvalidAgentConfig::LongDirectory { path: path.to_owned(), length });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(AgentConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_what_was_expected() {
        let default = AgentConfig::default;
        let open = SocketAddr::from(([0, 0, 0, 0], 9001));
        for (config, text) in [
            (AgentConfig { slots: 0, ..default() }, "runner.slots is 0: expected at least 1"),
            (AgentConfig { memory: ByteSize::kib(1), ..default() }, "runner.memory is 1KiB: expected at least 1MiB"),
            (AgentConfig { max_answer_head: ByteSize(9), ..default() }, "runner.max_answer_head is 9B: expected at least 1KiB"),
            (
                AgentConfig { listen: open, ..default() },
                "runner.listen is 0.0.0.0:9001, which others can reach, and whoever reaches an agent may run programs on it: expected a loopback address, or runner.expose = \"without-authentication\"",
            ),
            (
                AgentConfig { socket_directory: Some("run".into()), ..default() },
                "runner.socket_directory is run: expected an absolute path",
            ),
            (
                AgentConfig { socket_directory: Some("/a/very/long/path/for/the/sockets/of/workers".into()), ..default() },
                "runner.socket_directory is /a/very/long/path/for/the/sockets/of/workers, 44 bytes long: expected at most 39, as paths of unix sockets are short",
            ),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), text);
        }
        let exposed = AgentConfig { listen: open, expose: Some(Exposure::WithoutAuthentication), ..default() };
        assert_eq!(exposed.validate(), Ok(()));
    }
}
