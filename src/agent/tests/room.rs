//! Several balancers wait for room at one agent, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use tokio::task::JoinHandle;

use super::harness::{Answer, Meeting, TestAgent, agent_with, collect, config, full, send, worker};
use crate::agent::{AgentConfig, RoomConfig};
use crate::model::{FunctionSpec, Outcome};
use crate::protocol::{RefusalReason, RoomGrant, RoomToken};

const LONG: Duration = Duration::from_secs(60);

/// Times that no test waits for, but the grace.
const PATIENT: RoomConfig = RoomConfig { grace: Duration::from_millis(1), patience: LONG, lease: LONG, max_waiting: 64 };

async fn agent(slots: u32, room: RoomConfig, functions: &[FunctionSpec]) -> TestAgent {
    agent_with(AgentConfig { slots, room, ..config() }, functions, |builder| builder).await
}

/// Asks as this balancer, and waits for no longer than `wait`.
async fn ask_for(address: SocketAddr, balancer: &str, wait: Duration) -> Answer {
    let request = Request::builder()
        .uri(format!("/room?wait_ms={}", wait.as_millis()))
        .header("host", "test")
        .header("runpool-balancer", balancer);
    collect(send(address, request.body(full("")).unwrap()).await.unwrap()).await.unwrap()
}

fn ask(agent: &TestAgent, balancer: &'static str) -> JoinHandle<Answer> {
    tokio::spawn(ask_for(agent.address, balancer, LONG))
}

fn grant(answer: &Answer) -> RoomGrant {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.header("runpool-room").parse().unwrap()
}

/// Waits until so many balancers wait; there is no event for it across a socket.
async fn until_waiting(agent: &TestAgent, count: u32) {
    let line = format!("\nrunner_room_waiting {count}\n");
    while !agent.get("/metrics").await.text().contains(&line) {
        tokio::task::yield_now().await;
    }
}

/// Calls `function`; returns why not, if it was refused.
async fn call(agent: &TestAgent, function: &FunctionSpec, room: Option<RoomToken>) -> Option<RefusalReason> {
    let call = agent.call(function);
    let call = match room {
        Some(token) => call.header("runpool-room", token),
        None => call,
    };
    call.send().await.refusal()
}

const BUSY: Option<RefusalReason> = Some(RefusalReason::Busy);

#[tokio::test]
async fn a_freed_slot_goes_to_the_balancer_that_waits_longest_and_to_no_other() {
    let f = worker("f");
    let agent = agent(1, PATIENT, std::slice::from_ref(&f)).await;
    let meeting = Meeting::new().await;
    let running = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let first = ask(&agent, "a");
    until_waiting(&agent, 1).await;
    let second = ask(&agent, "b");
    until_waiting(&agent, 2).await;
    guest.release().await;
    running.await.unwrap();

    let room = first.await.unwrap();
    assert_eq!((grant(&room).lease, room.load().in_flight, room.load().slots), (LONG, 1, 1));
    let token = grant(&room).token;
    assert_eq!(call(&agent, &f, None).await, BUSY, "a lent slot is nobody else's");
    assert_eq!(call(&agent, &f, Some(RoomToken(token.0 ^ 1))).await, BUSY);
    assert!(!second.is_finished());
    assert_eq!(call(&agent, &f, Some(token)).await, None);

    let room = second.await.unwrap();
    assert_eq!(call(&agent, &f, None).await, BUSY);
    assert_eq!(call(&agent, &f, Some(grant(&room).token)).await, None);
    assert_eq!(call(&agent, &f, Some(token)).await, None, "a token that was used is no harm where there is room");
    agent.ended().await;
}

#[tokio::test]
async fn no_slot_is_lent_twice() {
    let agent = agent(2, PATIENT, &[]).await;
    let names = ["a", "b", "c", "d", "e", "f"];
    let answers = futures_util::future::join_all(names.map(|name| ask_for(agent.address, name, Duration::from_millis(50)))).await;
    let (granted, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(granted.len(), 2, "{answers:?}");
    assert_ne!(grant(granted[0]).token, grant(granted[1]).token);
    for other in others {
        assert_eq!((other.status, other.load().in_flight), (StatusCode::NO_CONTENT, 2));
    }
    agent.ended().await;
}

#[tokio::test]
async fn a_lease_that_nobody_uses_ends_and_the_next_gets_the_slot() {
    let f = worker("f");
    let agent = agent(1, RoomConfig { lease: Duration::from_millis(5), ..PATIENT }, std::slice::from_ref(&f)).await;
    let unused = grant(&ask(&agent, "a").await.unwrap());
    let used = grant(&ask(&agent, "b").await.unwrap());
    assert_ne!(unused.token, used.token);
    // However late: then there is a free slot.
    assert_eq!(call(&agent, &f, Some(used.token)).await, None);
    agent.ended().await;
}

#[tokio::test]
async fn a_drain_is_told_to_those_that_wait_at_once() {
    let f = worker("f");
    let agent = agent(1, PATIENT, std::slice::from_ref(&f)).await;
    let meeting = Meeting::new().await;
    let running = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let waiting = ask(&agent, "a");
    until_waiting(&agent, 1).await;
    agent.agent.drain();
    assert_eq!(waiting.await.unwrap().refusal(), Some(RefusalReason::Draining));
    assert_eq!(ask(&agent, "b").await.unwrap().refusal(), Some(RefusalReason::Draining));
    guest.release().await;
    running.await.unwrap();
    agent.ended().await;
}

#[tokio::test]
async fn a_balancer_that_goes_away_leaves_its_place() {
    let f = worker("f");
    let agent = agent(1, RoomConfig { max_waiting: 1, ..PATIENT }, std::slice::from_ref(&f)).await;
    let meeting = Meeting::new().await;
    let running = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let waiting = ask(&agent, "a");
    until_waiting(&agent, 1).await;
    let refused = ask(&agent, "b").await.unwrap();
    assert_eq!((refused.refusal(), refused.load().in_flight), (BUSY, 1), "one may wait");
    waiting.abort();
    until_waiting(&agent, 0).await;
    let waiting = ask(&agent, "b");
    until_waiting(&agent, 1).await;
    guest.release().await;
    running.await.unwrap();
    grant(&waiting.await.unwrap());
    agent.ended().await;
}

/// Without talking to each other, without a herd: a call is refused once at most before it waits, and then the slot is its own.
#[tokio::test]
async fn four_balancers_share_two_slots_with_one_refusal_a_call_at_most() {
    const CALLS: u32 = 40;
    let f = worker("f");
    // The lease as it is by default could be over on a machine that is busy with other tests.
    let agent = agent(2, RoomConfig { lease: LONG, ..RoomConfig::default() }, std::slice::from_ref(&f)).await;
    let balancers = ["a", "b", "c", "d"].map(|name| {
        let (agent, f) = (&agent, &f);
        async move {
            for _ in 0..CALLS {
                if call(agent, f, None).await.is_some() {
                    let room = ask_for(agent.address, name, LONG).await;
                    assert_eq!(call(agent, f, Some(grant(&room).token)).await, None);
                }
            }
        }
    });
    futures_util::future::join_all(balancers).await;
    assert_eq!(agent.status().await.requests_handled, u64::from(4 * CALLS));
    agent.ended().await;
}

#[tokio::test]
async fn a_request_for_room_that_is_malformed_is_told_with_what_was_expected() {
    let agent = agent(1, PATIENT, &[]).await;
    let text = |answer: Answer| answer.problem(Outcome::BadRequest);
    assert_eq!(text(agent.get("/room?wait=1").await), "the query is `wait=1`: expected wait_ms=MILLISECONDS");
    assert!(text(agent.get("/room?wait_ms=1").await).starts_with("header `runpool-balancer`: `` is not a balancer's id"));
    let f = worker("f");
    assert!(text(agent.call(&f).header("runpool-room", "x").send().await).contains("expected the token of a room"));
    agent.ended().await;
}
