//! Who drops an attempt or an answer closes the connection, so that the runner can kill the call.

use super::scripted::{agent, answered, attempt, call, held, plain, streaming};

#[tokio::test]
async fn dropping_an_attempt_closes_its_connection() {
    for (server, runner) in [agent().await, plain().await] {
        let (call, body) = (call(), held("x"));
        let peer = tokio::select! {
            ended = attempt(&runner, &call, &body) => panic!("nobody answered: {ended:?}"),
            peer = async {
                let mut peer = server.accept().await;
                peer.head().await;
                peer.bytes(1).await;
                peer
            } => peer,
        };
        peer.until_closed().await;
        let view = runner.view();
        assert_eq!((view.withdrawn, view.attempts, view.in_flight, view.idle_connections), (1, 1, 0, 0));
    }
}

#[tokio::test]
async fn dropping_an_attempt_before_the_agent_accepted_leaves_the_body() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), streaming("large"));
    let peer = tokio::select! {
        ended = attempt(&runner, &call, &body) => panic!("nobody answered: {ended:?}"),
        peer = async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer
        } => peer,
    };
    assert!(peer.until_closed().await.is_empty());
    assert!(body.is_replayable());
}

#[tokio::test]
async fn dropping_an_answer_before_its_end_closes_its_connection() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
        peer
    });
    let answer = answered(ended);
    assert_eq!(runner.view().in_flight, 1);
    drop(answer);
    peer.until_closed().await;
    let view = runner.view();
    assert_eq!((view.in_flight, view.idle_connections, view.committed, view.withdrawn), (0, 0, 1, 0));
}
