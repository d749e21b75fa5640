//! What an agent is told, and how its refusals and errors are understood.

use std::time::{Duration, Instant};

use super::scripted::{agent, answered, attempt, call, failed, held, refused, text};
use crate::model::{CallKind, Digest, FunctionSpec, Intent, Outcome};
use crate::protocol::{LoadReport, Problem, RefusalReason};
use crate::runner::{Attempt, CallBody, RefusedWhy, Runner as _, RunnerCall, StatusError};

#[tokio::test]
async fn an_agent_is_told_the_call_its_function_and_its_trace() {
    let (server, runner) = agent().await;
    let mut call = call();
    call.head.rest = "/a%20b?c=d".to_owned();
    call.head.authority = Some("shop.example".to_owned());
    call.head.headers.insert("x-mine", "1".parse().unwrap());
    call.deadline = Some(Instant::now() + Duration::from_secs(3_600));
    let body = held("hello");
    let attempting =
        runner.try_exec(RunnerCall { call: &call, body: &body, attempt: 3, room: None, trace: super::scripted::TRACE });
    let (attempt, head) = tokio::join!(attempting, async {
        let mut peer = server.accept().await;
        let head = peer.head().await;
        assert_eq!(peer.bytes(5).await, b"hello");
        peer.answer("200 OK", "", "hi").await;
        head
    });
    assert_eq!(text(answered(attempt)).await, "hi");
    assert!(head.starts_with("post /call/greet/a%20b?c=d http/1.1\r\n"), "{head}");
    for line in [
        "runpool-call: 00000000000000000000000001",
        "runpool-attempt: 3",
        &format!("runpool-function: {}", call.function.digest),
        "traceparent: 00-01010101010101010101010101010101-0202020202020202-01",
        "host: shop.example",
        "content-length: 5",
        "x-mine: 1",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {head}");
    }
    let left = head.split("runpool-timeout: ").nth(1).unwrap().lines().next().unwrap();
    assert!((1..=3_600_000).contains(&left.parse::<u64>().unwrap()), "{left}");
    for absent in ["runpool-kind", "runpool-target", "runpool-intent", "expect:", "transfer-encoding"] {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
}

#[tokio::test]
async fn a_detached_http_request_is_marked_as_both_and_started_with_202() {
    let (server, runner) = agent().await;
    let mut call = call();
    call.kind = CallKind::Detached;
    call.intent = Intent::HttpRequest;
    call.head.original_target = "/t/shop?x=1".parse().unwrap();
    let body = CallBody::empty();
    let (attempt, head) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        let head = peer.head().await;
        peer.answer("202 Accepted", "runpool-outcome: accepted\r\n", "").await;
        head
    });
    assert_eq!(answered(attempt).status(), 202);
    for line in ["runpool-kind: detached", "runpool-target: /t/shop?x=1", "runpool-intent: httprequest", "content-length: 0"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {head}");
    }
    assert!(head.contains(&format!("\r\nhost: {}\r\n", server.address())), "{head}");
}

#[tokio::test]
async fn a_client_cannot_speak_to_an_agent_in_runpools_name() {
    let (server, runner) = agent().await;
    let mut call = call();
    for (name, value) in
        [("runpool-kind", "detached"), ("runpool-timeout", "1"), ("runpool-intent", "httprequest"), ("expect", "100-continue")]
    {
        call.head.headers.insert(name, value.parse().unwrap());
    }
    let body = held("x");
    let (attempt, head) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        let head = peer.head().await;
        peer.answer("200 OK", "", "").await;
        head
    });
    answered(attempt);
    for absent in ["runpool-kind", "runpool-timeout", "runpool-intent", "expect:"] {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
}

/// Weakness W9 of the ancestor: attempts shared one response.
#[tokio::test]
async fn nothing_of_a_refusal_reaches_the_next_answer_and_its_connection_is_used_again() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let refusal = "runpool-refused: busy\r\nretry-after-ms: 25\r\nrunpool-load: inflight=8, slots=8, warm=0\r\nx-leak: 1\r\n";
    let (first, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", refusal, "go away").await;
        peer
    });
    let first = refused(first);
    assert_eq!(first.why, RefusedWhy::Agent(RefusalReason::Busy));
    assert_eq!(first.retry_after, Some(Duration::from_millis(25)));
    assert_eq!(first.load, Some(LoadReport { in_flight: 8, slots: 8, warm: 0 }));

    let (second, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        // The same connection.
        peer.head().await;
        peer.answer("200 OK", "", "mine").await;
    });
    let second = answered(second);
    assert!(!second.headers().contains_key("x-leak"));
    assert_eq!(text(second).await, "mine");
    let view = runner.view();
    assert_eq!((view.attempts, view.committed, view.refusals["busy"], view.connections), (2, 1, 1, 1));
    assert_eq!(view.last_load, first.load);
    assert_eq!(view.last_refusal.unwrap().text, "refused: busy");
}

#[tokio::test]
async fn an_agent_that_drains_gets_no_call_until_somebody_at_its_address_is_ready() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (first, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", "runpool-refused: draining\r\n", "").await;
    });
    assert_eq!(refused(first).why, RefusedWhy::Agent(RefusalReason::Draining));
    let answers = async {
        let mut questions = 0;
        loop {
            let mut peer = server.accept().await;
            let head = peer.head().await;
            if head.starts_with("post /call/greet ") {
                peer.answer("200 OK", "", "hi").await;
                return questions;
            }
            assert!(head.starts_with("get /readyz "), "{head}");
            questions += 1;
            let status = if questions == 3 { "200 OK" } else { "503 Service Unavailable" };
            peer.answer(status, "connection: close\r\n", "").await;
        }
    };
    let attempts = async {
        loop {
            match attempt(&runner, &call, &body).await {
                Attempt::Refused(refused) => assert_eq!(refused.why, RefusedWhy::Agent(RefusalReason::Draining)),
                Attempt::Committed(answer) => return text(answer.unwrap()).await,
            }
            tokio::task::yield_now().await;
        }
    };
    let (answer, questions) = tokio::join!(attempts, answers);
    assert_eq!((answer.as_str(), questions), ("hi", 3));
}

#[tokio::test]
async fn a_long_refusal_costs_its_connection_and_not_the_callers_time() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (attempt, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 503 x\r\nrunpool-refused: memory\r\ncontent-length: 1000000\r\n\r\n").await;
        peer.until_closed().await;
    });
    assert_eq!(refused(attempt).why, RefusedWhy::Agent(RefusalReason::Memory));
    assert_eq!(runner.view().idle_connections, 0);
}

#[tokio::test]
async fn a_functions_own_503_is_its_answer() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (attempt, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("503 Service Unavailable", "retry-after: 9\r\n", "tired").await;
    });
    let response = answered(attempt);
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "9");
    assert_eq!(text(response).await, "tired");
}

#[tokio::test]
async fn an_agent_that_does_not_know_the_function_is_told_and_asked_again_in_the_same_attempt() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (attempt, specification) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", "runpool-refused: unknown-function\r\n", "").await;
        let mut other = server.accept().await;
        let head = other.head().await;
        assert!(head.starts_with(&format!("put /functions/{} http/1.1\r\n", call.function.digest)), "{head}");
        let length: usize = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        let specification = other.bytes(length).await;
        other.answer("204 No Content", "", "").await;
        let head = peer.head().await;
        assert!(head.contains("runpool-attempt: 1"), "{head}");
        assert_eq!(peer.bytes(1).await, b"x");
        peer.answer("200 OK", "", "hi").await;
        specification
    });
    assert_eq!(text(answered(attempt)).await, "hi");
    let specification: FunctionSpec = serde_json::from_slice(&specification).unwrap();
    assert_eq!(Digest::of(&specification), call.function.digest);
}

#[tokio::test]
async fn an_agent_that_never_learns_the_function_refuses_after_two_requests() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let unknown = "runpool-refused: unknown-function\r\n";
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", unknown, "").await;
        let mut other = server.accept().await;
        other.head().await;
        other.answer("200 OK", "", "").await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", unknown, "").await;
        peer
    });
    assert_eq!(refused(ended).why, RefusedWhy::Agent(RefusalReason::UnknownFunction));

    // The same when the agent does not take the specification: then there is no second request.
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = peer;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("503 Service Unavailable", unknown, "").await;
        let mut other = server.accept().await;
        other.head().await;
        other.answer("500 Oh", "", "").await;
        peer
    });
    assert_eq!(refused(ended).why, RefusedWhy::Agent(RefusalReason::UnknownFunction));
    runner.close().await;
    assert!(peer.until_closed().await.is_empty());
}

#[tokio::test]
async fn an_agents_own_error_is_the_calls_outcome_with_its_text() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (_, document) = Problem::new(Outcome::FunctionTimeout, "greet ran longer than 1s").to_parts();
    let document = String::from_utf8(document.to_vec()).unwrap();
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.bytes(1).await;
        peer.answer("504 Gateway Timeout", "runpool-outcome: function_timeout\r\n", &document).await;
        peer
    });
    let error = failed(ended);
    assert_eq!((error.outcome, error.detail.as_str()), (Outcome::FunctionTimeout, "greet ran longer than 1s"));

    // A word of a later version, without a document.
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        peer.head().await;
        peer.answer("599 Oh", "runpool-outcome: eaten\r\n", "not json").await;
    });
    let error = failed(ended);
    assert_eq!(error.outcome, Outcome::Internal);
    assert!(error.detail.contains("with the outcome `eaten`"), "{error}");
    assert!(runner.view().last_error.unwrap().text.contains("eaten"));
}

#[tokio::test]
async fn an_agents_status_is_read_and_a_plain_server_has_none() {
    let (server, runner) = agent().await;
    let (status, ()) = tokio::join!(runner.status(), async {
        let mut peer = server.accept().await;
        assert!(peer.head().await.starts_with("get /status http/1.1\r\n"));
        let status = crate::protocol::AgentStatus { slots: 7, ..Default::default() };
        peer.answer("200 OK", "", &serde_json::to_string(&status).unwrap()).await;
    });
    assert_eq!(status.unwrap().slots, 7);

    let (status, ()) = tokio::join!(runner.status(), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("404 Not Found", "", "").await;
    });
    let text = status.unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("runner {} answered with something that is not a status: it answered 404", server.address())),
        "{text}"
    );

    let (_, plain) = super::scripted::plain().await;
    assert!(matches!(plain.status().await, Err(StatusError::Unsupported { .. })));
}

#[tokio::test]
async fn a_call_that_no_runner_could_be_given_fails_without_a_connection() {
    let (_server, runner) = agent().await;
    let body = held("x");
    let mut call = call();
    call.head.method = ::http::Method::CONNECT;
    assert_eq!(failed(attempt(&runner, &call, &body).await).outcome, Outcome::BadRequest);
    call.head.method = ::http::Method::GET;
    call.head.rest = "/a b".to_owned();
    let error = failed(attempt(&runner, &call, &body).await);
    assert!(error.detail.starts_with("`/call/greet/a b` cannot be the target of a request"), "{error}");
    assert_eq!(runner.view().connections, 0);
}

/// The function never ran, so its outcome cannot be `ok`.
#[tokio::test]
async fn what_the_agents_parser_gives_up_on_is_a_bad_request_and_a_functions_own_400_is_an_answer() {
    for (status, headers, is_answer) in [
        ("431 Request Header Fields Too Large", "", false),
        ("400 Bad Request", "", false),
        ("431 Request Header Fields Too Large", "runpool-load: inflight=1, slots=4, warm=0\r\n", true),
        ("400 Bad Request", "runpool-load: inflight=1, slots=4, warm=0\r\n", true),
    ] {
        let (server, runner) = agent().await;
        let (call, body) = (call(), CallBody::empty());
        let (attempt, ()) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer.answer(status, headers, "").await;
        });
        if is_answer {
            assert!(status.starts_with(answered(attempt).status().as_str()));
        } else {
            let error = failed(attempt);
            assert_eq!(error.outcome, Outcome::BadRequest);
            assert!(error.detail.contains(status), "{}", error.detail);
        }
    }
}
