//! Connections that stop speaking HTTP.

use ::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::scripted::{agent, answered, attempt, call, failed, plain};
use crate::http1::Tunnel;
use crate::model::{Call, Outcome};
use crate::runner::{CallBody, Runner as _};

fn upgrading() -> Call {
    let mut call = call();
    call.head.method = ::http::Method::GET;
    call.head.upgrade = Some("websocket".parse().unwrap());
    call
}

#[tokio::test]
async fn a_protocol_that_was_asked_for_makes_a_tunnel_that_counts_as_in_flight() {
    let (server, runner) = plain().await;
    let (call, body) = (upgrading(), CallBody::empty());
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        let head = peer.head().await;
        assert!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
        peer.write(
            "HTTP/1.1 101 Switching\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\nx-mine: 1\r\nrunpool-load: x\r\n\r\nearly",
        )
        .await;
        peer
    });
    let response = answered(ended);
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "upgrade", "x-mine"]);
    let mut end = response.extensions().get::<Tunnel>().unwrap().take().unwrap();
    assert_eq!(end.unread, "early");
    assert_eq!(runner.view().in_flight, 1);
    end.io.write_all(b"ping").await.unwrap();
    assert_eq!(peer.bytes(4).await, b"ping");
    peer.write("pong").await;
    let mut pong = [0; 4];
    end.io.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"pong");
    drop((end, response));
    assert!(peer.until_closed().await.is_empty());
    let view = runner.view();
    assert_eq!((view.in_flight, view.connections, view.idle_connections), (0, 0, 0));
    runner.close().await;
}

#[tokio::test]
async fn a_protocol_that_was_not_asked_for_is_a_bad_answer() {
    for (call, protocol) in [(upgrading(), "h2c"), (call(), "websocket")] {
        let (server, runner) = plain().await;
        let body = CallBody::empty();
        let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer.write(&format!("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")).await;
            peer.until_closed().await;
        });
        let error = failed(ended);
        assert_eq!(error.outcome, Outcome::BadAnswer);
        assert!(error.detail.ends_with("switched to a protocol nobody asked for"), "{error}");
    }
}

#[tokio::test]
async fn a_runner_that_does_not_switch_answers_as_ever_and_an_agent_is_not_asked() {
    for ((server, runner), is_offered) in [(plain().await, true), (agent().await, false)] {
        let (call, body) = (upgrading(), CallBody::empty());
        let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            assert_eq!(peer.head().await.contains("upgrade"), is_offered);
            peer.answer("200 OK", "", "no").await;
        });
        assert_eq!(answered(ended).status(), 200);
    }
}
