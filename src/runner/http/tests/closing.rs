//! Closing a runner.

use futures_util::FutureExt as _;

use super::scripted::{agent, answered, attempt, call, held, refused, text};
use crate::runner::{RefusedWhy, Runner as _};

#[tokio::test]
async fn a_closed_runner_refuses_and_one_that_is_closing_finishes_its_answers() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfor").await;
        peer
    });
    let answer = answered(ended);
    let mut closing = Box::pin(runner.close());
    assert!(closing.as_mut().now_or_never().is_none(), "an answer still streams");
    assert_eq!(refused(attempt(&runner, &call, &body).await).why, RefusedWhy::Closed);
    peer.write("all").await;
    assert_eq!(text(answer).await, "forall");
    closing.await;
    assert!(peer.until_closed().await.is_empty());
    let view = runner.view();
    assert_eq!((view.is_open, view.connections, view.idle_connections, view.in_flight), (false, 0, 0, 0));
    runner.close().await;
}

#[tokio::test]
async fn closing_waits_for_an_attempt_under_way() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let mut attempting = Box::pin(attempt(&runner, &call, &body));
    let mut peer = tokio::select! {
        ended = attempting.as_mut() => panic!("nobody answered: {ended:?}"),
        peer = async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer
        } => peer,
    };
    let mut closing = Box::pin(runner.close());
    assert!(closing.as_mut().now_or_never().is_none());
    peer.answer("200 OK", "", "").await;
    answered(attempting.await);
    closing.await;
}

/// Acceptance case 12, for one runner: it is listed, and closing it is no error.
#[tokio::test]
async fn a_runner_that_was_never_reached_closes_at_once() {
    let address = super::scripted::Server::start().await.address();
    let runner = super::scripted::runner_with(&address, super::scripted::settings(crate::runner::http::Protocol::Agent));
    assert_eq!(runner.address(), address);
    runner.close().await;
}
