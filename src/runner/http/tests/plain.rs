//! Plain HTTP servers.

use std::time::Duration;

use ::http::Method;

use super::scripted::{answered, attempt, call, failed, held, plain, refused, streaming, text};
use crate::model::Outcome;
use crate::runner::{CallBody, RefusedWhy};

#[tokio::test]
async fn a_plain_server_gets_the_clients_request_and_nothing_of_runpool() {
    for (rest, path) in [("", "/"), ("?q=1", "/?q=1"), ("/a/b?c", "/a/b?c")] {
        let (server, runner) = plain().await;
        let mut call = call();
        call.head.method = Method::GET;
        call.head.rest = rest.to_owned();
        call.head.headers.insert("runpool-refused", "busy".parse().unwrap());
        call.head.headers.insert("accept", "text/plain".parse().unwrap());
        let body = CallBody::empty();
        let (attempt, head) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            let head = peer.head().await;
            peer.answer("200 OK", "runpool-load: inflight=1, slots=1, warm=1\r\n", "hi").await;
            head
        });
        let response = answered(attempt);
        let facts = response.extensions().get::<crate::runner::http::AnswerFacts>().unwrap().clone();
        assert_eq!((facts.load, facts.timing), (None, None));
        assert_eq!(text(response).await, "hi");
        assert!(head.starts_with(&format!("get {path} http/1.1\r\n")), "{head}");
        assert!(head.contains("\r\naccept: text/plain\r\n") && head.contains("\r\ntraceparent: 00-0101"), "{head}");
        assert!(head.contains(&format!("\r\nhost: {}\r\n", server.address())), "{head}");
        assert!(!head.contains("runpool-") && !head.contains("content-length"), "{head}");
    }
}

#[tokio::test]
async fn a_503_with_retry_after_is_a_refusal_and_a_bare_one_is_the_answer() {
    let (server, runner) = plain().await;
    let (call, body) = (call(), held("x"));
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", "retry-after: 2\r\n", "later").await;
        peer
    });
    let ended = refused(ended);
    assert_eq!((ended.why, ended.retry_after), (RefusedWhy::Status(503), Some(Duration::from_secs(2))));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        peer.head().await;
        peer.answer("503 Service Unavailable", "", "broken").await;
    });
    assert_eq!(text(answered(ended)).await, "broken");
}

#[tokio::test]
async fn a_refusal_after_the_stream_was_taken_is_the_clients_answer() {
    let (server, runner) = plain().await;
    let (call, body) = (call(), streaming("large"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        assert!(!peer.head().await.contains("expect:"));
        assert_eq!(peer.bytes(5).await, b"large");
        peer.answer("503 Service Unavailable", "retry-after: 2\r\n", "later").await;
    });
    let response = answered(ended);
    assert_eq!((response.status().as_u16(), text(response).await.as_str()), (503, "later"));
    let again = failed(attempt(&runner, &call, &body).await);
    assert_eq!(again.outcome, Outcome::Internal);
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_sent_in_chunks_whatever_the_method() {
    let (server, runner) = plain().await;
    let mut call = call();
    call.head.method = Method::GET;
    let (pipe, stream) = super::scripted::piped();
    let body = CallBody::streaming(stream);
    pipe.send("abc".into()).await.unwrap();
    drop(pipe);
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        assert!(peer.head().await.contains("\r\ntransfer-encoding: chunked\r\n"));
        assert_eq!(peer.bytes(13).await, b"3\r\nabc\r\n0\r\n\r\n");
        peer.answer("200 OK", "", "").await;
    });
    answered(ended);
}
