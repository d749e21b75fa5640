//! Asking for room and for the load, and what comes with refusals and errors.

use std::time::Duration;

use ::http::StatusCode;

use super::scripted::{Peer, agent, answered, attempt, call, failed, held, plain, refused};
use crate::protocol::{LoadReport, RefusalReason, RoomToken, WorkerStart};
use crate::runner::http::AnswerFacts;
use crate::runner::{NoRoom, RefusedWhy, Runner as _, RunnerCall, StatusError};

const NEWS: &str = "runpool-load: inflight=2, slots=2, warm=1\r\nrunpool-lost: seq=17; a, b*2\r\n";
const LOAD: LoadReport = LoadReport { in_flight: 2, slots: 2, warm: 1 };

async fn answer(peer: &mut Peer, status: StatusCode, headers: &str) {
    peer.head().await;
    peer.answer(&format!("{} x", status.as_u16()), &format!("{NEWS}{headers}"), "").await;
}

#[tokio::test]
async fn room_is_asked_for_by_name_and_its_token_goes_with_the_call() {
    let (server, runner) = agent().await;
    let token = RoomToken(0x3f9c);
    let (room, mut peer) = tokio::join!(runner.ask_room(Duration::from_millis(250)), async {
        let mut peer = server.accept().await;
        let head = peer.head().await;
        assert!(head.starts_with("get /room?wait_ms=250 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("runpool-balancer: {}\r\n", runner.settings().balancer)), "{head}");
        peer.answer("200 OK", &format!("{NEWS}runpool-room: {token}; lease_ms=50\r\n"), "").await;
        peer
    });
    let room = room.unwrap();
    assert_eq!((room.token, room.lease, room.load), (token, Duration::from_millis(50), Some(LOAD)));
    assert_eq!(room.lost.map(|lost| lost.newest()), Some(17));

    let (call, body) = (call(), held("x"));
    let with_room = RunnerCall { call: &call, body: &body, attempt: 1, room: Some(token), trace: super::scripted::TRACE };
    let (attempt, ()) = tokio::join!(runner.try_exec(with_room), async {
        let head = peer.head().await;
        assert!(head.contains(&format!("runpool-room: {token}\r\n")), "{head}");
        peer.bytes(1).await;
        peer.answer("200 OK", &format!("{NEWS}runpool-start: cold;dur=403.2\r\n"), "").await;
    });
    let facts = answered(attempt).extensions().get::<AnswerFacts>().unwrap().clone();
    assert_eq!((facts.load, facts.start), (Some(LOAD), Some(WorkerStart::Cold(Duration::from_micros(403_200)))));
    assert_eq!(facts.lost.map(|lost| lost.to_string()), Some("seq=17; a, b*2".to_owned()));
}

#[tokio::test]
async fn why_there_is_no_room_is_told_with_what_came_beside() {
    let (server, runner) = agent().await;
    let ask = || runner.ask_room(Duration::ZERO);
    let (none, mut peer) = tokio::join!(ask(), async {
        let mut peer = server.accept().await;
        answer(&mut peer, StatusCode::NO_CONTENT, "").await;
        peer
    });
    assert!(matches!(none, Err(NoRoom::NoneInTime { load: Some(LOAD), lost: Some(_) })), "{none:?}");
    let (none, ()) = tokio::join!(ask(), answer(&mut peer, StatusCode::SERVICE_UNAVAILABLE, "runpool-refused: draining\r\n"));
    let Err(NoRoom::Refused(why)) = none else { panic!("{none:?}") };
    assert_eq!((why.why, why.load), (RefusedWhy::Agent(RefusalReason::Draining), Some(LOAD)));
    for (status, headers, text) in [
        (StatusCode::OK, "", "no room: `` is not a room: expected `TOKEN; lease_ms=N`"),
        (StatusCode::OK, "runpool-room: all\r\n", "no room: `all` is not a room"),
        (StatusCode::NOT_FOUND, "", "no room: it answered 404 Not Found"),
    ] {
        let (none, ()) = tokio::join!(ask(), answer(&mut peer, status, headers));
        let none = none.unwrap_err().to_string();
        assert!(none.contains(text), "{none}");
    }
    let (_, plain) = plain().await;
    assert!(matches!(plain.ask_room(Duration::ZERO).await, Err(NoRoom::Unsupported { .. })));
    assert!(matches!(plain.probe().await, Err(StatusError::Unsupported { .. })));
}

#[tokio::test]
async fn a_probe_is_a_load_report_with_or_without_a_latency() {
    let (server, runner) = agent().await;
    let (probe, mut peer) = tokio::join!(runner.probe(), async {
        let mut peer = server.accept().await;
        assert!(peer.head().await.starts_with("get /load http/1.1\r\n"));
        peer.write(&format!("HTTP/1.1 204 x\r\n{NEWS}runpool-latency: 12.5\r\n\r\n")).await;
        peer
    });
    let probe = probe.unwrap();
    assert_eq!((probe.load, probe.latency), (LOAD, Some(Duration::from_micros(12_500))));
    let (probe, ()) = tokio::join!(runner.probe(), answer(&mut peer, StatusCode::NO_CONTENT, ""));
    assert_eq!(probe.unwrap().latency, None);
    let (probe, ()) = tokio::join!(runner.probe(), answer(&mut peer, StatusCode::NOT_FOUND, ""));
    assert!(matches!(probe, Err(StatusError::Malformed { .. })));
}

#[tokio::test]
async fn refusals_and_errors_bring_the_news_too() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        answer(&mut peer, StatusCode::SERVICE_UNAVAILABLE, "runpool-refused: function-busy\r\nretry-after-ms: 7\r\n").await;
        peer.bytes(1).await;
        peer
    });
    let refusal = refused(ended);
    assert_eq!(
        (refusal.why, refusal.retry_after),
        (RefusedWhy::Agent(RefusalReason::FunctionBusy), Some(Duration::from_millis(7)))
    );
    assert_eq!((refusal.load, refusal.lost.map(|lost| lost.newest())), (Some(LOAD), Some(17)));
    let (ended, ()) = tokio::join!(
        attempt(&runner, &call, &body),
        answer(&mut peer, StatusCode::BAD_GATEWAY, "runpool-outcome: function_crashed\r\nrunpool-start: warm\r\n")
    );
    let facts = failed(ended).facts.unwrap();
    assert_eq!((facts.load, facts.start), (Some(LOAD), Some(WorkerStart::Warm)));
    assert_eq!(runner.view().last_load, Some(LOAD));
}

#[tokio::test]
async fn a_runner_that_is_closed_waits_for_no_room_and_closes_the_connection() {
    let (server, runner) = agent().await;
    let (none, ()) = tokio::join!(runner.ask_room(Duration::from_secs(60)), async {
        let mut peer = server.accept().await;
        peer.head().await;
        runner.close().await;
        peer.until_closed().await;
    });
    assert!(matches!(&none, Err(NoRoom::Unreachable { reason, .. }) if reason.contains("closed")), "{none:?}");
}
