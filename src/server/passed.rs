//! Listening sockets that another process has opened for this one: `LISTEN_FDS` (sd_listen_fds(3)).
//!
//! Whoever opened them keeps them open while this process is replaced by its next: connections wait in the kernel's queue in between, and none is refused.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// Sockets by the name of the listener that they are for.
#[derive(Debug, Default)]
pub struct PassedSockets {
    sockets: Vec<(&'static str, TcpListener)>,
}

/// Why sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// It is none of TCP, or not open.
    #[error("the file descriptor {number} that was passed (LISTEN_FDS) cannot be used: expected a TCP socket that listens")]
    NoSocket {
        /// The file descriptor.
        number: usize,
        /// What the system says.
        source: std::io::Error,
    },
    /// It does not listen.
    #[error("the socket {number} that was passed (LISTEN_FDS) does not listen: expected one that does")]
    NotListening {
        /// Its file descriptor.
        number: usize,
    },
    /// `LISTEN_FDNAMES` does not fit.
    #[error("LISTEN_FDNAMES has {names} names for {sockets} sockets: expected one for each")]
    NamesDiffer {
        /// Names that were told.
        names: usize,
        /// Sockets that were passed.
        sockets: usize,
    },
    /// A name that is nobody's.
    #[error("a socket was passed for `{name}` (LISTEN_FDNAMES): expected {expected}")]
    UnknownName {
        /// The name.
        name: String,
        /// Those that there are.
        expected: String,
    },
    /// More sockets than listeners.
    #[error("{sockets} sockets were passed without names (LISTEN_FDS): expected at most {most}, for {expected} in this order")]
    TooMany {
        /// Sockets that were passed.
        sockets: usize,
        /// Listeners.
        most: usize,
        /// Their names.
        expected: String,
    },
}

/// The first file descriptor that is passed.
const FIRST: usize = 3;

impl PassedSockets {
    /// Takes the sockets out of the environment, for the listeners of these names: no child inherits them. Without names the first socket is for the first listener,
    /// and so on. Call it once, before there is a second thread. The sockets do not block.
    ///
    /// # Errors
    /// What was passed is no socket that listens, or for nobody.
    pub fn from_environment(listeners: &[&'static str]) -> Result<Self, PassedError> {
        let mut passed = ListenFd::from_env();
        let count = passed.len();
        let told = std::env::var("LISTEN_FDNAMES").ok();
        let mut sockets = Vec::with_capacity(count);
        for index in 0..count {
            let number = FIRST + index;
            let Some(socket) = passed.take_tcp_listener(index).map_err(|source| PassedError::NoSocket { number, source })? else {
                continue;
            };
            if !SockRef::from(&socket).is_listener().unwrap_or(false) {
                return Err(PassedError::NotListening { number });
            }
            socket.set_nonblocking(true).map_err(|source| PassedError::NoSocket { number, source })?;
            sockets.push(socket);
        }
        let names = names(sockets.len(), told.as_deref(), listeners)?;
        Ok(Self { sockets: names.into_iter().zip(sockets).collect() })
    }

    /// Takes the sockets for the listener of this name; none if nobody has passed any.
    pub fn take(&mut self, listener: &str) -> Vec<TcpListener> {
        self.sockets.extract_if(.., |(name, _)| *name == listener).map(|(_, socket)| socket).collect()
    }
}

/// The listener that each of `count` sockets is for.
fn names(count: usize, told: Option<&str>, listeners: &[&'static str]) -> Result<Vec<&'static str>, PassedError> {
    let told: Vec<&str> = told.filter(|told| !told.is_empty()).map_or_else(Vec::new, |told| told.split(':').collect());
    let expected = || listeners.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if count == 0 {
        return Ok(Vec::new());
    }
    // A unit that gives no name has its own, and who knows none says so (systemd.socket(5), `FileDescriptorName=`).
    let is_name = |name: &&str| !(name.is_empty() || *name == "unknown" || name.ends_with(".socket"));
    if !told.iter().any(is_name) {
        return match listeners.get(..count) {
            Some(first) => Ok(first.to_vec()),
            None => Err(PassedError::TooMany { sockets: count, most: listeners.len(), expected: expected() }),
        };
    }
    if told.len() != count {
        return Err(PassedError::NamesDiffer { names: told.len(), sockets: count });
    }
    let named = |name: &str| {
        let known = listeners.iter().copied().find(|listener| *listener == name);
        known.ok_or_else(|| PassedError::UnknownName { name: name.to_owned(), expected: format!("one of {}", expected()) })
    };
    told.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENERS: [&str; 2] = ["front", "admin"];

    fn named(count: usize, told: Option<&str>) -> Result<Vec<&'static str>, String> {
        names(count, told, &LISTENERS).map_err(|error| error.to_string())
    }

    #[test]
    fn names_say_what_a_socket_is_for() {
        assert_eq!(named(2, Some("admin:front")), Ok(vec!["admin", "front"]));
        assert_eq!(named(3, Some("front:front:admin")), Ok(vec!["front", "front", "admin"]));
        assert_eq!(named(1, Some("admin")), Ok(vec!["admin"]));
    }

    #[test]
    fn without_names_the_order_says_it() {
        for told in [None, Some(""), Some("runpool.socket:runpool.socket"), Some("unknown:unknown")] {
            assert_eq!(named(2, told), Ok(vec!["front", "admin"]), "{told:?}");
        }
        assert_eq!(named(1, None), Ok(vec!["front"]));
        assert_eq!(named(0, Some("left over")), Ok(vec![]));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let errors = [
            (2, Some("front:fornt"), "a socket was passed for `fornt` (LISTEN_FDNAMES): expected one of `front`, `admin`"),
            (2, Some("front:a.socket"), "a socket was passed for `a.socket` (LISTEN_FDNAMES): expected one of `front`, `admin`"),
            (2, Some("front"), "LISTEN_FDNAMES has 1 names for 2 sockets: expected one for each"),
            (3, None, "3 sockets were passed without names (LISTEN_FDS): expected at most 2, for `front`, `admin` in this order"),
        ];
        for (count, told, error) in errors {
            assert_eq!(named(count, told), Err(error.to_owned()));
        }
    }
}
