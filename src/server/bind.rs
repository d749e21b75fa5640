//! Opening listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// A listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address} for {purpose}")]
pub struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    source: io::Error,
}

/// Who else may listen on the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: that the address is taken is an error.
    Alone,
    /// Other processes of the same user that say so too: the kernel spreads connections over all of them (`SO_REUSEPORT`, socket(7)).
    WithProcesses,
}

/// Connections that may wait to be accepted; the kernel's `somaxconn` is the other bound.
const BACKLOG: i32 = 4_096;

/// Listens on `address` with `count` sockets, between which the kernel spreads connections; port 0 takes a free one. `purpose` names the listener in
/// the error. The sockets do not block.
///
/// # Errors
/// The address is taken, not ours, or not allowed.
pub fn bind(address: SocketAddr, count: usize, sharing: Sharing, purpose: &'static str) -> Result<Vec<TcpListener>, BindError> {
    bind_all(address, count.max(1), sharing).map_err(|source| BindError { address, purpose, source })
}

fn bind_all(mut address: SocketAddr, count: usize, sharing: Sharing) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    if sharing == Sharing::Alone {
        // Several sockets of ours share the address, and so could those of another process. That nobody has it is asked first.
        let alone = open(address, false)?;
        if count == 1 {
            return Ok(vec![alone]);
        }
        address = alone.local_addr()?;
        drop(alone);
    }
    for _ in 0..count {
        let listener = open(address, true)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn open(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn several_sockets_share_one_address_that_nobody_else_can_take() {
        for count in [1, 3] {
            let listeners = bind(any(), count, Sharing::Alone, "test").unwrap();
            let address = listeners[0].local_addr().unwrap();
            assert_eq!(listeners.len(), count);
            assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
            let error = bind(address, count, Sharing::Alone, "the front").unwrap_err();
            assert_eq!(error.to_string(), format!("could not listen on {address} for the front"));
        }
    }

    #[test]
    fn two_processes_that_both_say_so_share_an_address() {
        let first = bind(any(), 2, Sharing::WithProcesses, "test").unwrap();
        let address = first[0].local_addr().unwrap();
        assert!(bind(address, 2, Sharing::WithProcesses, "test").is_ok());
        assert!(bind(address, 1, Sharing::Alone, "test").is_err());
    }
}
