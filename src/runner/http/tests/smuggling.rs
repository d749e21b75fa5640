//! Answers that two readers would read differently.

use super::scripted::{answered, attempt, call, failed, held, plain, text};
use crate::model::Outcome;

#[tokio::test]
async fn an_answer_with_two_lengths_is_its_chunks_and_the_last_on_its_connection() {
    let (server, runner) = plain().await;
    let (call, body) = (call(), held("x"));
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
        peer
    });
    let response = answered(ended);
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(text(response).await, "abc");
    assert!(peer.until_closed().await.is_empty());
    assert_eq!(runner.view().idle_connections, 0);
}

#[tokio::test]
async fn an_answer_whose_end_is_unsure_is_no_answer() {
    for framing in ["transfer-encoding: gzip, chunked", "content-length: 1\r\ncontent-length: 2", "content-length: +1"] {
        let (server, runner) = plain().await;
        let (call, body) = (call(), held("x"));
        let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer.bytes(1).await;
            peer.write(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n0\r\n\r\n")).await;
            peer.until_closed().await;
        });
        assert_eq!(failed(ended).outcome, Outcome::BadAnswer, "{framing}");
    }
}

#[tokio::test]
async fn what_comes_behind_an_answer_reaches_nobody() {
    let (server, runner) = plain().await;
    let (call, body) = (call(), held("x"));
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother").await;
        peer
    });
    assert_eq!(text(answered(ended)).await, "hi");
    peer.until_closed().await;
    assert_eq!(runner.view().connections, 0);
}
