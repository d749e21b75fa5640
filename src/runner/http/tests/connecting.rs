//! Runners that cannot be reached, connections that died, and the commit point between them.

use std::time::Duration;

use super::scripted::{
    Server, agent, answered, attempt, call, failed, held, plain, refused, runner_with, settings, streaming, text,
};
use crate::model::Outcome;
use crate::runner::http::{HttpRunnerSettings, Protocol};
use crate::runner::{RefusedWhy, Runner as _};

/// The address of a server that is not there any more.
async fn nobody() -> String {
    Server::start().await.address()
}

#[tokio::test]
async fn an_unreachable_runner_refuses_and_leaves_the_body() {
    for protocol in [Protocol::Agent, Protocol::Plain] {
        let runner = runner_with(&nobody().await, settings(protocol));
        let (call, body) = (call(), streaming("large"));
        let ended = refused(attempt(&runner, &call, &body).await);
        let RefusedWhy::Unreachable(reason) = &ended.why else { panic!("{ended:?}") };
        assert!(reason.starts_with(&format!("could not connect to {}: ", runner.address())), "{reason}");
        assert!(body.is_replayable());
        assert_eq!(runner.view().refusals["unreachable"], 1);
    }
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_a_refusal() {
    // A listener with a full queue lets the next connection wait. Linux's smallest queue holds one.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address)).await {
        filling.push(stream.unwrap());
    }
    let short = HttpRunnerSettings { connect_timeout: Duration::from_millis(50), ..settings(Protocol::Agent) };
    let runner = runner_with(&address.to_string(), short);
    let ended = refused(attempt(&runner, &call(), &held("x")).await);
    assert_eq!(ended.why, RefusedWhy::Unreachable(format!("connecting to {address} took longer than 50ms")));
}

/// Weakness W7 of the ancestor: a back-off of up to two minutes.
#[tokio::test]
async fn a_runner_that_came_back_is_used_by_the_very_next_attempt() {
    let address = nobody().await;
    let runner = runner_with(&address, settings(Protocol::Agent));
    let (call, body) = (call(), held("x"));
    for _ in 0..20 {
        refused(attempt(&runner, &call, &body).await);
    }
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    let server = Server::listening(listener);
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("200 OK", "", "back").await;
    });
    assert_eq!(text(answered(ended)).await, "back");
}

#[tokio::test]
async fn connections_that_died_while_unused_cost_the_call_nothing() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (first, second, peers) = tokio::join!(attempt(&runner, &call, &body), attempt(&runner, &call, &body), async {
        let mut peers = [server.accept().await, server.accept().await];
        for peer in &mut peers {
            peer.head().await;
            peer.answer("200 OK", "", "").await;
        }
        peers
    });
    drop((answered(first), answered(second)));
    assert_eq!(runner.view().idle_connections, 2);
    drop(peers);
    // The runtime does not run meanwhile: it cannot have seen that the connections are closed.
    std::thread::sleep(Duration::from_millis(20));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("200 OK", "", "fresh").await;
    });
    assert_eq!(text(answered(ended)).await, "fresh");
}

#[tokio::test]
async fn the_connection_used_last_is_used_first() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (first, second, mut peers) = tokio::join!(attempt(&runner, &call, &body), attempt(&runner, &call, &body), async {
        let mut peers = [server.accept().await, server.accept().await];
        for (peer, name) in peers.iter_mut().zip(["left", "right"]) {
            peer.head().await;
            peer.bytes(1).await;
            peer.answer("200 OK", "", name).await;
        }
        peers
    });
    // A connection is free when its answer was read.
    text(answered(first)).await;
    let used_last = text(answered(second)).await;
    let [left, right] = &mut peers;
    for _ in 0..3 {
        let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
            let (peer, name) = tokio::select! {
                _ = left.head() => (&mut *left, "left"),
                _ = right.head() => (&mut *right, "right"),
            };
            peer.bytes(1).await;
            peer.answer("200 OK", "", name).await;
        });
        assert_eq!(text(answered(ended)).await, used_last);
    }
    assert_eq!(runner.view().connections, 2);
}

#[tokio::test]
async fn what_a_burst_has_left_stays_for_seconds_and_then_half_of_it_goes_every_second_but_not_the_last() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let one = || attempt(&runner, &call, &body);
    let (a, b, c, d, _peers) = tokio::join!(one(), one(), one(), one(), async {
        let mut peers = Vec::new();
        for _ in 0..4 {
            peers.push(server.accept().await);
        }
        for peer in &mut peers {
            peer.head().await;
            peer.bytes(1).await;
            peer.answer("200 OK", "", "hi").await;
        }
        peers
    });
    for ended in [a, b, c, d] {
        text(answered(ended)).await;
    }
    assert_eq!(runner.view().idle_connections, 4);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert_eq!(runner.view().idle_connections, 4, "for the next burst");
    for left in [2, 1, 1] {
        // The look itself, and what it says it does after that.
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(runner.view().idle_connections, left);
    }
}

#[tokio::test]
async fn unused_connections_are_bounded_in_number_and_age() {
    for (max_idle_connections, idle_timeout) in [(0, Duration::from_secs(60)), (8, Duration::ZERO)] {
        let server = Server::start().await;
        let bounded = HttpRunnerSettings { max_idle_connections, idle_timeout, ..settings(Protocol::Agent) };
        let runner = runner_with(&server.address(), bounded);
        let (call, body) = (call(), held("x"));
        for _ in 0..2 {
            let (ended, _peer) = tokio::join!(attempt(&runner, &call, &body), async {
                // A new connection every time.
                let mut peer = server.accept().await;
                peer.head().await;
                peer.bytes(1).await;
                peer.answer("200 OK", "", "hi").await;
                peer
            });
            assert_eq!(text(answered(ended)).await, "hi");
            assert!(runner.view().idle_connections <= 1);
        }
    }
}

/// Weakness W14 of the ancestor: "internal server error" for everything.
#[tokio::test]
async fn a_connection_lost_after_the_call_was_handed_over_is_a_runner_reset() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
    });
    let error = failed(ended);
    assert_eq!(error.outcome, Outcome::RunnerReset);
    let begin = format!("the connection to runner {} was lost after the call was handed over: ", server.address());
    assert!(error.detail.starts_with(&begin), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_http_or_has_an_endless_head_is_named() {
    let (server, runner) = plain().await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
        peer.until_closed().await;
    });
    assert_eq!(failed(ended).outcome, Outcome::BadAnswer);
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
        peer.until_closed().await;
    });
    assert_eq!(failed(ended).outcome, Outcome::BadAnswer);
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.write(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(200_000))).await;
        peer.until_closed().await;
    });
    assert_eq!(failed(ended).outcome, Outcome::AnswerTooLarge);
}
