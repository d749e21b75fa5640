//! What of an answer reaches the client, and how it breaks.

use super::scripted::{agent, answered, attempt, call, held, text};
use crate::protocol::LoadReport;
use crate::runner::BodyError;
use crate::runner::http::AnswerFacts;

#[tokio::test]
async fn an_answer_keeps_its_own_headers_and_tells_its_facts_apart() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write(
            "HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\nkeep-alive: timeout=5\r\nconnection: x-hop\r\nx-hop: 1\r\n\
             runpool-load: inflight=3, slots=8, warm=2\r\nserver-timing: sched;dur=1, exec;dur=2\r\n\
             transfer-encoding: chunked\r\ncontent-length: 99\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .await;
    });
    let response = answered(ended);
    let facts = response.extensions().get::<AnswerFacts>().unwrap().clone();
    assert_eq!(facts.load, Some(LoadReport { in_flight: 3, slots: 8, warm: 2 }));
    assert!(facts.timing.is_some());
    let mut names: Vec<_> = response.headers().iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["server-timing", "set-cookie", "set-cookie"]);
    assert_eq!(text(response).await, "hi");
    assert_eq!(runner.view().last_load, facts.load);
}

#[tokio::test]
async fn an_answer_tells_how_long_its_attempt_waited_for_a_connection_which_is_not_at_all_for_one_that_was_kept() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (waited, ()) = tokio::join!(
        async {
            let mut waited = Vec::new();
            for _ in 0..2 {
                let response = answered(attempt(&runner, &call, &body).await);
                waited.push(response.extensions().get::<AnswerFacts>().is_none_or(|facts| facts.connecting.is_zero()));
                text(response).await;
            }
            waited
        },
        async {
            let mut peer = server.accept().await;
            for _ in 0..2 {
                peer.head().await;
                peer.bytes(1).await;
                peer.answer("200 OK", "", "hi").await;
            }
        }
    );
    assert_eq!(waited, [false, true]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_of_its_body_and_never_a_short_success() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfor").await;
    });
    let error = answered(ended).into_body().collect_bytes().await.unwrap_err();
    assert!(matches!(error, BodyError::Connection(_)), "{error}");
    assert_eq!(runner.view().in_flight, 0);
}

#[tokio::test]
async fn an_answer_without_a_body_is_over_with_its_head() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, _peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        peer
    });
    let response = answered(ended);
    assert!(http_body::Body::is_end_stream(response.body()));
    assert_eq!(runner.view().in_flight, 0);
}
