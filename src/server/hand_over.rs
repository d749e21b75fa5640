//! Closing a socket while other processes listen on the same address.
//!
//! The kernel spreads connections over all sockets of an address (`SO_REUSEPORT`). With a socket that closes it resets those that it has given to it: the ones that wait to be
//! accepted, and the ones whose handshake is under way, which nobody can accept yet. So a socket that closes first takes no new handshakes: a filter drops the packet that begins
//! one (SYN, RFC 9293 section 3.5), which its client repeats after a second, when the socket is gone and the packet meets another. Then the handshakes that had begun are waited
//! for, and accepted.
//!
//! A kernel that gives what a socket leaves to another one (`net.ipv4.tcp_migrate_req=1`, Linux 5.14) needs none of it, and then nobody waits for that second.

use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::TcpListener;

use super::bind::Sharing;

/// How long a handshake may take that has begun: a round trip to most clients.
const HANDSHAKES: Duration = Duration::from_millis(200);

/// Says whether the kernel passes on what a socket leaves behind.
const MIGRATION: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// A classic BPF program (bpf(4) of BSD, the kernel's networking/filter): a TCP socket's filter sees the segment from its header on.
const NO_NEW_HANDSHAKES: [SockFilter; 5] = [
    // Load the flags: byte 13 of the header (RFC 9293 section 3.1).
    SockFilter::new(0x30, 0, 0, 13),
    // Of them SYN and ACK.
    SockFilter::new(0x54, 0, 0, 0x12),
    // SYN alone is dropped.
    SockFilter::new(0x15, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    // Everything else is kept whole.
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Makes a socket that is to be closed take no new handshakes, if others share its address; gives how long those that have begun are to be waited for.
///
/// Only for sockets of this process alone: the filter is the socket's, and stays with whoever else has it.
pub(super) fn hold_off(listener: &TcpListener, sharing: Sharing) -> Option<Duration> {
    if sharing == Sharing::Alone || is_migrating() {
        return None;
    }
    match SockRef::from(listener).attach_filter(&NO_NEW_HANDSHAKES) {
        Ok(()) => Some(HANDSHAKES),
        Err(error) => {
            tracing::warn!(%error, "could not hold new connections off a socket that is to be closed: some of them may be reset");
            None
        }
    }
}

fn is_migrating() -> bool {
    std::fs::read_to_string(MIGRATION).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::bind;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_socket_that_is_to_be_closed_keeps_what_it_has_and_leaves_what_comes_to_the_others() {
        let any = ([127, 0, 0, 1], 0).into();
        let mut old = bind(any, 1, Sharing::WithProcesses, "test").unwrap();
        let old = TcpListener::from_std(old.remove(0)).unwrap();
        let address = old.local_addr().unwrap();
        let mut before = TcpStream::connect(address).await.unwrap();
        SockRef::from(&old).attach_filter(&NO_NEW_HANDSHAKES).unwrap();
        let mut new = bind(address, 1, Sharing::WithProcesses, "test").unwrap();
        let new = TcpListener::from_std(new.remove(0)).unwrap();

        // What was connected before is whole.
        let (mut accepted, _) = old.accept().await.unwrap();
        accepted.write_all(b"old").await.unwrap();
        drop(accepted);
        let mut said = String::new();
        before.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "old");

        // Half of these would meet the old socket; they meet the new one when that is gone, if not at once. So many that not all of them meet the old one.
        const CLIENTS: usize = 64;
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
        new.accept().await.unwrap();
        drop(old);
        for _ in 1..CLIENTS {
            new.accept().await.unwrap();
        }
        for client in clients {
            client.await.unwrap().unwrap();
        }
    }
}
