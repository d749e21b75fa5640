//! One system call on a socket, and nothing around it.
//!
//! The C library makes `send` and `recv` points at which a thread can be cancelled, and marks each with two locked instructions in a process of several threads. A
//! call that passes makes four such calls; nobody here cancels threads.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what there is into `room`, which is not empty. Returns how many bytes came; 0 at the end.
pub(super) fn poll_recv(stream: &TcpStream, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        if let Some(done) = once(stream, Interest::READABLE, room.len(), || {
            recv(stream, &mut *room, RecvFlags::empty()).map(|(_, length)| length)
        }) {
            return Poll::Ready(done);
        }
    }
}

/// Writes of `bytes`, which are not empty. Returns how many the socket took.
pub(super) fn poll_send(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        if let Some(done) = once(stream, Interest::WRITABLE, bytes.len(), || send(stream, bytes, SendFlags::NOSIGNAL)) {
            return Poll::Ready(done);
        }
    }
}

/// Makes the call; `None` if the runtime was wrong, and the socket is not ready.
///
/// Who got less than `all` knows that there is no more: the runtime is told so, as by its own calls, which spares the next one. It is told within this call, as it then knows
/// whether something has come since.
fn once(
    stream: &TcpStream,
    interest: Interest,
    all: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut moved = 0;
    let called = stream.try_io(interest, || {
        moved = call()?;
        if 0 < moved && moved < all { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match called {
        _ if moved > 0 => Some(Ok(moved)),
        Ok(()) => Some(Ok(0)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_whatever_the_pieces_and_then_the_end() {
        let (ours, theirs) = pair().await;
        // More than the sockets hold, so that both sides have to wait for each other.
        let sent: Vec<u8> = (0..16 << 20_u32).map(|number: u32| number.to_le_bytes()[1] ^ number.to_le_bytes()[0]).collect();
        let writing = async {
            let mut left = &sent[..];
            while !left.is_empty() {
                let written = poll_fn(|cx| poll_send(&ours, cx, left)).await.unwrap();
                left = &left[written..];
            }
            drop(ours);
        };
        let reading = async {
            let (mut read, mut room) = (Vec::new(), vec![0; 3_000]);
            loop {
                match poll_fn(|cx| poll_recv(&theirs, cx, &mut room)).await.unwrap() {
                    0 => return read,
                    length => read.extend_from_slice(&room[..length]),
                }
            }
        };
        let ((), read) = tokio::join!(writing, reading);
        assert!(read == sent);
    }

    #[tokio::test]
    async fn after_a_short_read_the_next_byte_still_wakes() {
        let (ours, mut theirs) = pair().await;
        let mut room = [0; 16];
        for round in 0..100_u8 {
            theirs.write_all(&[round]).await.unwrap();
            let length = poll_fn(|cx| poll_recv(&ours, cx, &mut room)).await.unwrap();
            assert_eq!((length, room[0]), (1, round));
        }
    }

    #[tokio::test]
    async fn a_reset_is_an_error_both_ways() {
        let (ours, theirs) = pair().await;
        socket2::SockRef::from(&theirs).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(theirs);
        let read = poll_fn(|cx| poll_recv(&ours, cx, &mut [0; 16])).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        // And no signal.
        assert_eq!(poll_fn(|cx| poll_send(&ours, cx, b"x")).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn it_mixes_with_the_runtimes_own_calls() {
        let (mut ours, mut theirs) = pair().await;
        for round in 0..100_u8 {
            theirs.write_all(&[round; 2]).await.unwrap();
            let mut room = [0; 1];
            assert_eq!(poll_fn(|cx| poll_recv(&ours, cx, &mut room)).await.unwrap(), 1);
            assert_eq!((ours.read_u8().await.unwrap(), room[0]), (round, round));
        }
    }
}
