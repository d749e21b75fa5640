//! The commit point seen from the socket: a request of which nothing was written goes on another connection.

use super::scripted::{answered, attempt, call, held, plain, streaming, text};
use crate::runner::{CallBody, Runner as _};

/// Bodies that are held and bodies that stream: neither has lost anything.
#[tokio::test]
async fn a_kept_connection_that_the_runner_has_closed_costs_no_call_and_no_byte() {
    for body in [held("hello"), streaming("hello")] {
        let (server, runner) = plain().await;
        let (call, first) = (call(), CallBody::empty());
        let (ended, peer) = tokio::join!(attempt(&runner, &call, &first), async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer.answer("200 OK", "", "").await;
            peer
        });
        answered(ended);
        assert_eq!(runner.view().idle_connections, 1);
        drop(peer);
        // The runtime learns of the close before the next call.
        tokio::task::yield_now().await;
        let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            peer.head().await;
            assert_eq!(peer.bytes(5).await, b"hello");
            peer.answer("200 OK", "", "fresh").await;
        });
        assert_eq!(text(answered(ended)).await, "fresh");
        assert_eq!(runner.view().refusals.len(), 0);
    }
}

#[tokio::test]
async fn a_kept_connection_on_which_the_runner_spoke_unasked_is_not_used_again() {
    let (server, runner) = plain().await;
    let (call, body) = (call(), held("x"));
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("200 OK", "", "").await;
        peer
    });
    answered(ended);
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother").await;
    tokio::task::yield_now().await;
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("200 OK", "", "mine").await;
    });
    assert_eq!(text(answered(ended)).await, "mine");
    drop(peer);
}

#[tokio::test]
async fn an_attempt_under_way_is_small() {
    let (_server, runner) = plain().await;
    let (call, body) = (call(), held("x"));
    let attempting = runner.try_exec(crate::runner::RunnerCall {
        call: &call,
        body: &body,
        attempt: 1,
        room: None,
        trace: super::scripted::TRACE,
    });
    let size = std::mem::size_of_val(&*attempting);
    assert!(size < 4_096, "{size} bytes");
    // What an answer that streams takes, beside the bytes that have come.
    assert!(std::mem::size_of::<crate::runner::http::StreamedAnswer>() < 512);
    assert!(std::mem::size_of::<crate::runner::AnswerBody>() <= 64);
}
