//! Bodies that stream to an agent: not a byte before it has accepted the call.

use bytes::Bytes;

use super::scripted::{agent, answered, attempt, call, failed, piped, refused, streaming, text};
use crate::model::{Call, CallKind, Outcome};
use crate::runner::{CallBody, Runner as _};

#[tokio::test]
async fn a_refusal_costs_no_byte_of_a_large_body_and_leaves_it_for_the_next_runner() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), streaming("large"));
    let (ended, sent) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        let head = peer.head().await;
        assert!(head.contains("\r\nexpect: 100-continue\r\n") && head.contains("\r\ncontent-length: 5\r\n"), "{head}");
        peer.answer("503 Service Unavailable", "runpool-refused: busy\r\n", "").await;
        peer.until_closed().await
    });
    refused(ended);
    assert!(sent.is_empty());
    assert!(body.is_replayable());

    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        assert!(body.is_replayable() && peer.unread().is_empty());
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.bytes(5).await, b"large");
        peer.answer("200 OK", "", "done").await;
    });
    assert_eq!(text(answered(ended)).await, "done");
    assert!(!body.is_replayable());
}

#[tokio::test]
async fn a_final_answer_without_100_decides_and_leaves_the_body() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), streaming("large"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        // Another informational answer opens nothing.
        peer.write("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        peer.answer("413 Too Large", "", "no").await;
    });
    let response = answered(ended);
    assert_eq!(response.status(), 413);
    assert_eq!(text(response).await, "no");
    assert!(body.is_replayable());
    assert_eq!(runner.view().idle_connections, 0, "a connection with half a request cannot be used again");
}

#[tokio::test]
async fn a_body_streams_while_it_comes_and_its_connection_is_used_again() {
    let (server, runner) = agent().await;
    let call = call();
    let (pipe, stream) = piped();
    let body = CallBody::streaming(stream);
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        assert!(peer.head().await.contains("\r\ntransfer-encoding: chunked\r\n"));
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        for part in ["one", "two"] {
            pipe.send(Bytes::from(part)).await.unwrap();
            assert_eq!(peer.bytes(8).await, format!("3\r\n{part}\r\n").as_bytes());
        }
        drop(pipe);
        assert_eq!(peer.bytes(5).await, b"0\r\n\r\n");
        peer.answer("200 OK", "", "done").await;
        peer
    });
    assert_eq!(text(answered(ended)).await, "done");
    let body = streaming("again");
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        peer.head().await;
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.bytes(5).await;
        peer.answer("200 OK", "", "done").await;
    });
    assert_eq!(text(answered(ended)).await, "done");
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_is_gone_and_the_runner_is_told() {
    let (server, runner) = agent().await;
    let call = call();
    let broken = futures_util::stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
        Err(crate::runner::BodyError::TooLarge { limit: 4 }),
    ]);
    let body = CallBody::streaming(http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(broken)));
    let (ended, sent) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.until_closed().await
    });
    let error = failed(ended);
    assert_eq!(error.outcome, Outcome::BodyTooLarge);
    assert!(error.detail.ends_with("the body is longer than the 4 bytes allowed"), "{error}");
    assert!(!sent.ends_with(b"0\r\n\r\n"), "a cut body must not look complete");
}

/// Weakness W8 of the ancestor: a detached call's body was given back while it was still being sent.
#[tokio::test]
async fn held_bodies_of_detached_calls_arrive_whole_although_the_answer_came_first_and_the_runner_is_closed() {
    const LENGTH: usize = 4 * 1024 * 1024;
    for round in 0..8_u8 {
        let (server, runner) = agent().await;
        let body = CallBody::Held(Bytes::from(vec![round; LENGTH]));
        let call = Call { kind: CallKind::Detached, ..call() };
        let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer.answer("202 Accepted", "", "").await;
            peer
        });
        assert_eq!(answered(ended).status(), 202);
        drop(body);
        let ((), arrived) = tokio::join!(runner.close(), peer.bytes(LENGTH));
        assert!(arrived.iter().all(|byte| *byte == round), "bytes of another call");
        assert!(peer.until_closed().await.is_empty());
    }
}

#[tokio::test]
async fn streams_of_detached_calls_go_on_although_the_answer_came_first_and_the_runner_is_closed() {
    let (server, runner) = agent().await;
    let call = Call { kind: CallKind::Detached, ..call() };
    let (pipe, stream) = piped();
    let body = CallBody::streaming(stream);
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.answer("202 Accepted", "", "").await;
        peer
    });
    drop((answered(ended), body));
    tokio::join!(runner.close(), async {
        pipe.send(Bytes::from("one")).await.unwrap();
        assert_eq!(peer.bytes(8).await, b"3\r\none\r\n");
        drop(pipe);
        assert_eq!(peer.bytes(5).await, b"0\r\n\r\n");
    });
    assert!(peer.until_closed().await.is_empty());
}
