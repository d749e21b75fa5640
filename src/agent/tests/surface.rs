//! The HTTP surface besides calls, and refusals on the wire.

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Meeting, agent, worker};
use crate::model::{CallId, Digest, FunctionSpec, Outcome};
use crate::protocol::{AgentStatus, RefusalReason};

#[tokio::test]
async fn an_unknown_function_is_refused_told_and_then_run() {
    let (agent, f) = (agent(&[]).await, worker("f"));
    assert_eq!(agent.call(&f).send().await.refusal(), Some(RefusalReason::UnknownFunction));
    let (path, document) = (format!("/functions/{}", Digest::of(&f)), serde_json::to_vec(&f).unwrap());
    assert_eq!(agent.request(Method::PUT, &path, document).await.status, StatusCode::NO_CONTENT);
    assert_eq!(agent.call(&f).body("known").send().await.text(), "known");
    let listed: serde_json::Value = serde_json::from_slice(&agent.get("/functions").await.body).unwrap();
    assert_eq!(listed, serde_json::json!([{ "name": "f", "digest": Digest::of(&f).as_str() }]));
    agent.ended().await;
}

#[tokio::test]
async fn a_specification_that_is_not_what_its_digest_says_is_refused() {
    let (agent, f) = (agent(&[]).await, worker("f"));
    let other = FunctionSpec { concurrency: 7, ..f.clone() };
    let path = format!("/functions/{}", Digest::of(&f));
    for (path, body, text) in [
        (
            path.clone(),
            serde_json::to_vec(&other).unwrap(),
            format!("the specification's digest is {}: expected {}", Digest::of(&other), Digest::of(&f)),
        ),
        (path.clone(), b"{}".to_vec(), "the body is not a function's specification: missing field `name`".to_owned()),
        ("/functions/xyz".to_owned(), Vec::new(), "`xyz` is not a digest".to_owned()),
    ] {
        let problem = agent.request(Method::PUT, &path, body).await.problem(Outcome::BadRequest);
        assert!(problem.starts_with(&text), "{problem}");
    }
    let huge = vec![b' '; (1 << 20) + 1];
    let problem = agent.request(Method::PUT, &path, huge).await.problem(Outcome::BodyTooLarge);
    assert!(problem.ends_with("expected at most 1MiB of JSON"), "{problem}");
    assert_eq!(agent.call(&f).send().await.refusal(), Some(RefusalReason::UnknownFunction));
    agent.ended().await;
}

#[tokio::test]
async fn a_malformed_call_is_a_bad_request_that_says_what_was_expected() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let problem = agent.request(Method::POST, "/call/f", "").await.problem(Outcome::BadRequest);
    assert_eq!(problem, "header `runpool-call` is missing: expected a call id of 26 characters (a ULID)");
    let problem = agent.call(&f).path("/call/g").send().await.problem(Outcome::BadRequest);
    assert_eq!(problem, "the path names function `g`, and the digest is that of `f`: expected the same");
    agent.ended().await;
}

#[tokio::test]
async fn what_does_not_exist_and_wrong_methods_are_told() {
    let agent = agent(&[]).await;
    agent.get("/nope").await.problem(Outcome::NotFound);
    agent.get("/call").await.problem(Outcome::NotFound);
    let answer = agent.get("/drain").await;
    assert_eq!(
        (answer.problem(Outcome::MethodNotAllowed).as_str(), answer.header("allow")),
        ("GET is not possible at /drain: expected POST", "POST")
    );
    assert_eq!(answer.load().slots, 8, "everything says how full the agent is");
    agent.ended().await;
}

#[tokio::test]
async fn a_call_in_hand_gives_signs_of_life() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let call = agent.call(&f).header("x-meet", meeting.port).header("x-meet-late", meeting.port).header("x-bytes", 9);
    let id = call.header("runpool-attempt", 3);
    let (id, call) = (id.id, id.start());
    let path = format!("/calls/{id}");
    let guest = meeting.guest().await;
    let view = agent.get(&path).await;
    let document: serde_json::Value = serde_json::from_slice(&view.body).unwrap();
    assert_eq!((&document["call"], &document["function"]), (&serde_json::json!(id), &serde_json::json!("f")));
    assert_eq!((&document["attempt"], &document["state"]), (&serde_json::json!(3), &serde_json::json!("running")));
    assert!(document["elapsed_ms"].is_u64());
    guest.release().await;
    let guest = meeting.guest().await;
    // Half of the answer was sent before the guest came, but the agent may not have read it yet.
    while !agent.get(&path).await.text().contains("\"answering\"") {
        tokio::task::yield_now().await;
    }
    guest.release().await;
    call.await.unwrap();
    assert_eq!(agent.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(agent.get(&format!("/calls/{}", CallId::from_parts(0, 0))).await.status, StatusCode::NOT_FOUND);
    agent.get("/calls/x").await.problem(Outcome::BadRequest);
    agent.ended().await;
}

#[tokio::test]
async fn a_drained_agent_refuses_and_says_so_everywhere() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let call = agent.call(&f).header("x-meet", meeting.port).body("goes on").start();
    let guest = meeting.guest().await;
    let drained = agent.request(Method::POST, "/drain", "").await;
    let status: AgentStatus = serde_json::from_slice(&drained.body).unwrap();
    assert_eq!((status.state, status.active_request_count), (crate::protocol::AgentState::Draining, 1));
    let refused = agent.call(&f).send().await;
    assert_eq!((refused.refusal(), refused.load().in_flight), (Some(RefusalReason::Draining), 1));
    assert_eq!(agent.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(agent.get("/livez").await.status, StatusCode::OK);
    guest.release().await;
    assert_eq!(call.await.unwrap().text(), "goes on");
    agent.ended().await;
}

#[tokio::test]
async fn metrics_are_there_under_their_names() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    agent.call(&f).send().await;
    agent.call(&worker("unknown")).send().await;
    let metrics = agent.get("/metrics").await;
    for line in [
        "runner_calls_total{function=\"f\",outcome=\"ok\"} 1\n",
        "runner_refusals_total{outcome=\"unknown-function\"} 1\n",
        "runner_cold_starts_total{function=\"f\"} 1\n",
        "runner_init_seconds_count{function=\"f\"} 1\n",
        "runner_scheduling_seconds_count{function=\"f\"} 1\n",
        "runner_execution_seconds_count{function=\"f\"} 1\n",
        "runner_in_flight 0\n",
        "runner_slots 8\n",
        "runner_memory_bytes 2147483648\n",
        "runner_memory_used_bytes 67108864\n",
        "runner_workers_starting 0\n",
        "runner_workers_idle 1\n",
        "runner_workers_busy 0\n",
        "runner_evictions_total 0\n",
    ] {
        assert!(metrics.text().contains(line), "{line} is missing in {}", metrics.text());
    }
    agent.ended().await;
}

/// P2 on the wire: the refusal comes without `100 Continue`, so no byte of the body was asked for.
#[tokio::test]
async fn a_refused_call_is_never_asked_for_its_body() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    agent.agent.drain();
    let first = exchange_head(&agent, &f).await;
    assert!(first.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{first}");
    assert!(first.contains("\r\nrunpool-refused: draining\r\n"), "{first}");
    agent.ended().await;
}

#[tokio::test]
async fn an_accepted_call_is_asked_for_its_body() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let first = exchange_head(&agent, &f).await;
    assert!(first.starts_with("HTTP/1.1 100 Continue\r\n"), "{first}");
    agent.ended().await;
}

/// Sends the head of a call that expects `100 Continue`, and returns the first head that comes back.
async fn exchange_head(agent: &super::harness::TestAgent, f: &FunctionSpec) -> String {
    let mut stream = TcpStream::connect(agent.address).await.unwrap();
    let head = format!(
        "POST /call/{} HTTP/1.1\r\nhost: t\r\nrunpool-call: {}\r\nrunpool-function: {}\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
        f.name,
        CallId::from_parts(0, 77),
        Digest::of(f),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed without an answer");
    }
    String::from_utf8(seen).unwrap()
}
