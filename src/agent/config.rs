//! `[runner]`: the agent's own settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::register_config::RegisterConfig;
use super::room::RoomConfig;
use crate::model::{ByteSize, FunctionName, InvalidValue, human_duration};
use crate::server::{Admitted, ConnectionLimits, Exposure};
use crate::tls::ServerTlsConfig;

/// `[runner]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Address to listen on. Balancers call here; `/status`, `/metrics`, `/livez` and `/readyz` are here too.
    pub listen: SocketAddr,
    /// The word `without-authentication` opens an address that is not loopback without client certificates: whoever reaches an agent may
    /// run programs on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
    /// TLS; with `client_certificates = "required"` only balancers with a certificate of `client_ca` come in.
    pub tls: ServerTlsConfig,
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
    /// How slots are lent to balancers that wait for one.
    pub room: RoomConfig,
    /// With which balancers it registers itself.
    pub register: RegisterConfig,
    /// Limits of the listener.
    pub limits: ConnectionLimits,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9001)),
            expose: None,
            tls: ServerTlsConfig::default(),
            slots: 8,
            memory: ByteSize::gib(2),
            socket_directory: None,
            max_answer_body: ByteSize::gib(1),
            max_answer_head: ByteSize::kib(64),
            status_function: None,
            barrier_file: None,
            status_cache: Duration::from_millis(1_500),
            memory_watch: Duration::from_millis(500),
            room: RoomConfig::default(),
            register: RegisterConfig::default(),
            limits: Self::limits(),
        }
    }
}

impl AgentConfig {
    /// Limits with room for what a balancer adds to a head that was just within its own.
    fn limits() -> ConnectionLimits {
        let front = ConnectionLimits::default();
        ConnectionLimits {
            max_headers: front.max_headers + 28,
            max_header_size: ByteSize(front.max_header_size.bytes() + ByteSize::kib(16).bytes()),
            ..front
        }
    }
}

/// The longest [`AgentConfig::socket_directory`], in bytes: the path of a unix socket has at most 107, of which the agent and the functions'
/// libraries need the rest (`/rp-INCARNATION/s/NUMBER/phonylsnr.sock`).
pub const MAX_SOCKET_DIRECTORY: usize = 39;

/// An agent cannot be made with this configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("runner.{}: expected {}", .0.key, .0.expected)]
pub struct InvalidAgentConfig(pub InvalidValue);

impl AgentConfig {
    /// Who can call.
    pub fn admitted(&self) -> Admitted {
        if self.tls.authenticates() {
            Admitted::Authenticated
        } else {
            Admitted::Anybody("tls.client_certificates = \"required\"")
        }
    }

    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid: Vec<InvalidValue> = Exposure::check(self.expose, self.listen, self.admitted()).into_iter().collect();
        invalid.extend(self.tls.validate().into_iter().map(|value| value.within("tls")));
        if self.slots == 0 {
            invalid.push(InvalidValue::new("slots", "at least 1"));
        }
        if self.memory < ByteSize::mib(1) {
            invalid.push(InvalidValue::new("memory", "at least 1MiB"));
        }
        if self.max_answer_body.bytes() == 0 {
            invalid.push(InvalidValue::new("max_answer_body", "more than 0B"));
        }
        // With less, a usual answer would be none.
        if !(ByteSize::kib(8)..=ByteSize::mib(16)).contains(&self.max_answer_head) {
            invalid.push(InvalidValue::new("max_answer_head", "from 8KiB to 16MiB"));
        }
        invalid.extend(self.socket_directory.as_deref().and_then(|path| check_socket_directory(path).err()));
        invalid.extend(self.room.validate().into_iter().map(|value| value.within("room")));
        invalid.extend(self.register.validate().into_iter().map(|value| value.within("register")));
        invalid.extend(self.limits.validate().into_iter().map(|value| value.within("limits")));
        invalid
    }
}

/// Checks that sockets below `path` have paths that a socket can have.
pub(crate) fn check_socket_directory(path: &Path) -> Result<(), InvalidValue> {
    let wrong = |expected: String| Err(InvalidValue::new("socket_directory", expected));
    if !path.is_absolute() {
        return wrong("an absolute path".to_owned());
    }
    if path.as_os_str().len() > MAX_SOCKET_DIRECTORY {
        return wrong(format!("a path of at most {MAX_SOCKET_DIRECTORY} bytes, as those of unix sockets are short"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_cannot_be_is_named() {
        assert_eq!(AgentConfig::default().validate(), []);
        let config = AgentConfig {
            listen: SocketAddr::from(([0, 0, 0, 0], 9001)),
            slots: 0,
            memory: ByteSize(0),
            max_answer_body: ByteSize(0),
            max_answer_head: ByteSize(1),
            socket_directory: Some("run".into()),
            room: RoomConfig { lease: Duration::ZERO, grace: Duration::from_secs(90), max_waiting: 0, ..RoomConfig::default() },
            ..AgentConfig::default()
        };
        let keys: Vec<String> = config.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(
            keys,
            [
                "listen",
                "slots",
                "memory",
                "max_answer_body",
                "max_answer_head",
                "socket_directory",
                "room.lease",
                "room.grace",
                "room.max_waiting"
            ]
        );
        let exposed =
            AgentConfig { expose: Some(Exposure::WithoutAuthentication), listen: config.listen, ..AgentConfig::default() };
        assert_eq!(exposed.validate(), []);
    }

    #[test]
    fn a_directory_in_which_no_socket_has_room_is_named() {
        let long = Path::new("/a/very/long/path/for/the/sockets/of/workers");
        let error = InvalidAgentConfig(check_socket_directory(long).unwrap_err()).to_string();
        assert_eq!(error, "runner.socket_directory: expected a path of at most 39 bytes, as those of unix sockets are short");
    }
}
