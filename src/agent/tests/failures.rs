//! Calls that fail, each in its own way.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;

use super::harness::{Answer, Guest, Meeting, agent, agent_with, channel, collect, config, worker};
use crate::agent::AgentConfig;
use crate::model::{ByteSize, FunctionSpec, Outcome};
use crate::protocol::RefusalReason;

fn with(name: &str, variable: &str, value: impl ToString) -> FunctionSpec {
    FunctionSpec { config: [(variable.to_owned(), value.to_string())].into(), ..worker(name) }
}

// Cases 30 (BadContainer, at init) and 38.
#[tokio::test]
async fn a_worker_that_ends_before_it_listens_is_an_init_failure_with_its_last_words() {
    let f = with("f", "INIT_EXIT", 7);
    let agent = agent(std::slice::from_ref(&f)).await;
    let text = agent.call(&f).send().await.problem(Outcome::InitFailed);
    let expected = "function failed to initialize: its process ended with status 7 before it listened";
    assert_eq!(text, expected);
    let missing = FunctionSpec { command: vec!["/no/such/program".into()], ..worker("missing") };
    agent.request(http::Method::PUT, &put(&missing), serde_json::to_vec(&missing).unwrap()).await;
    let text = agent.call(&missing).send().await.problem(Outcome::InitFailed);
    assert!(text.starts_with("function failed to initialize: could not start `/no/such/program`: No such file"), "{text}");
    assert_eq!(agent.status().await.memory_used, ByteSize(0));
    agent.ended().await;
}

/// Waits for the answer of a call that is killed, and for the death of its function.
async fn ended(guest: Result<Guest, Ended>, call: JoinHandle<Answer>) -> Answer {
    match guest {
        Ok(guest) => {
            let answer = call.await.unwrap();
            guest.died().await;
            answer
        }
        Err(answer) => answer.unwrap(),
    }
}

type Ended = Result<Answer, tokio::task::JoinError>;

fn put(spec: &FunctionSpec) -> String {
    format!("/functions/{}", crate::model::Digest::of(spec))
}

// Cases 31 (HungFDK), 38 and 42.
#[tokio::test]
async fn a_worker_that_does_not_listen_in_time_is_killed() {
    let meeting = Meeting::new().await;
    let f = FunctionSpec { init_timeout: Duration::from_millis(400), ..with("f", "INIT_MEET", meeting.port) };
    let agent = agent(std::slice::from_ref(&f)).await;
    let answer = agent.call(&f).send().await;
    let expected = "function initialization timed out: its worker did not listen within 400ms";
    assert_eq!(answer.problem(Outcome::InitTimeout), expected);
    agent.ended().await;
}

// Cases 30 (BadContainer, during a call), 33 and 38.
#[tokio::test]
async fn a_worker_that_ends_during_a_call_is_a_crash_whatever_its_status() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    for (name, value, end) in [
        ("x-exit", 0, "its process ended with status 0"),
        ("x-exit", 3, "its process ended with status 3"),
        ("x-signal", 11, "its process was killed by SIGSEGV"),
    ] {
        let answer = agent.call(&f).header(name, value).body("x").send().await;
        assert_eq!(answer.problem(Outcome::FunctionCrashed), format!("error receiving function response: {end}"));
        assert!(!answer.header("server-timing").is_empty());
    }
    assert_eq!(agent.call(&f).body("next").send().await.text(), "next");
    agent.ended().await;
}

// Cases 39 and 33.
#[tokio::test]
async fn a_call_that_runs_too_long_is_killed_and_the_next_one_is_well() {
    let f = FunctionSpec { timeout: Duration::from_secs(1), ..worker("f") };
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    // Warm, so that the time is spent in the function.
    agent.call(&f).send().await;
    let mut call = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest_unless(&mut call).await;
    let answer = ended(guest, call).await;
    assert_eq!(answer.problem(Outcome::FunctionTimeout), "function timed out: it ran longer than 1s");
    assert_eq!(agent.call(&f).body("next").send().await.text(), "next");
    agent.ended().await;
}

#[tokio::test]
async fn a_callers_own_timeout_shortens_the_functions() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    // Warm, so that the time is spent in the function.
    agent.call(&f).send().await;
    let mut call = agent.call(&f).header("x-meet", meeting.port).header("runpool-timeout", 1000).start();
    let guest = meeting.guest_unless(&mut call).await;
    ended(guest, call).await.problem(Outcome::FunctionTimeout);
    agent.ended().await;
}

#[tokio::test]
async fn a_callers_timeout_also_ends_the_wait_for_a_worker() {
    let meeting = Meeting::new().await;
    let f = with("f", "INIT_MEET", meeting.port);
    let agent = agent(std::slice::from_ref(&f)).await;
    let text = agent.call(&f).header("runpool-timeout", 100).send().await.problem(Outcome::FunctionTimeout);
    assert_eq!(text, "function timed out: the call's own deadline passed while its worker was starting");
    // The worker that was started for it is not lost.
    meeting.guest().await.release().await;
    assert_eq!(agent.call(&f).body("next").send().await.text(), "next");
    agent.ended().await;
}

// Case 34 (PipesAreClear): a timeout while the body is still being written.
#[tokio::test]
async fn a_call_that_timed_out_while_its_body_was_written_leaks_nothing_into_the_next() {
    let f = FunctionSpec { timeout: Duration::from_secs(1), ..worker("f") };
    let agent = agent(std::slice::from_ref(&f)).await;
    let (pieces, body) = channel();
    pieces.send("leak").await.unwrap();
    agent.call(&f).streaming(body).send().await.problem(Outcome::FunctionTimeout);
    assert_eq!(agent.call(&f).body("clean").send().await.text(), "clean");
    drop(pieces);
    agent.ended().await;
}

#[tokio::test]
async fn an_answer_that_began_is_cut_when_the_time_is_over() {
    let f = FunctionSpec { timeout: Duration::from_secs(2), ..worker("f") };
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    for chunked in ["", "1"] {
        let call = agent.call(&f).header("x-bytes", 1000).header("x-meet-late", meeting.port);
        let head = if chunked.is_empty() { call } else { call.header("x-chunked", 1) }.head().await;
        assert_eq!(head.status(), StatusCode::OK);
        assert!(collect(head).await.is_err(), "a part passed for the whole");
    }
    agent.until_idle().await;
    agent.ended().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_hold_a_slot_longer_than_the_function_may_run() {
    let f = FunctionSpec { timeout: Duration::from_secs(1), ..worker("f") };
    let agent = agent(std::slice::from_ref(&f)).await;
    // More than all buffers on the way hold.
    let head = agent.call(&f).header("x-bytes", 64 << 20).head().await;
    agent.until_idle().await;
    drop(head);
    agent.ended().await;
}

// Section 1.12: the FDK's 502 and 504 leave the worker usable.
#[tokio::test]
async fn a_function_that_fails_by_its_own_account_keeps_its_worker() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let pid = agent.call(&f).send().await.pid();
    let failed = agent.call(&f).header("x-status", 502).body("why").send().await;
    assert_eq!(failed.problem(Outcome::FunctionFailed), "function failed");
    agent.call(&f).header("x-status", 504).send().await.problem(Outcome::FunctionTimeout);
    assert_eq!(agent.call(&f).send().await.pid(), pid);
    agent.ended().await;
}

#[tokio::test]
async fn an_answer_that_is_none_kills_the_worker() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let pid = agent.call(&f).send().await.pid();
    let text = agent.call(&f).header("x-status", 500).send().await.problem(Outcome::BadAnswer);
    assert_eq!(text, "invalid function response: its worker answered with status 500: expected 200, 502 or 504");
    let next = agent.call(&f).send().await.pid();
    assert_ne!(next, pid);
    let text = agent.call(&f).header("x-garbage", 1).send().await.problem(Outcome::BadAnswer);
    assert!(text.starts_with("invalid function response: "), "{text}");
    assert_ne!(agent.call(&f).send().await.pid(), next);
    agent.ended().await;
}

// P3: what nobody asked for is nobody's.
#[tokio::test]
async fn a_second_answer_of_a_worker_reaches_no_other_call() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let first = agent.call(&f).header("x-twice", 1).body("first").send().await;
    let second = agent.call(&f).body("second").send().await;
    assert_eq!((first.text(), second.text()), ("first", "second"));
    assert_eq!(first.pid(), second.pid());
    agent.ended().await;
}

// Cases 38 and 45 (TooBigOutput).
#[tokio::test]
async fn answers_that_are_too_large_are_refused_by_their_head_or_cut() {
    let f = worker("f");
    let config = AgentConfig { max_answer_body: ByteSize::kib(100), max_answer_head: ByteSize::kib(16), ..config() };
    let agent = agent_with(config, std::slice::from_ref(&f), |builder| builder).await;
    assert_eq!(agent.call(&f).header("x-bytes", 102_400).send().await.body.len(), 102_400);
    assert_eq!(agent.call(&f).header("x-head", 9_000).send().await.header("x-big").len(), 9_000);
    let answer = agent.call(&f).header("x-bytes", 102_401).send().await;
    assert_eq!(answer.problem(Outcome::AnswerTooLarge), "function response body too large");
    let answer = agent.call(&f).header("x-head", 17_000).send().await;
    assert_eq!(answer.problem(Outcome::AnswerTooLarge), "function response header too large");
    let head = agent.call(&f).header("x-bytes", 102_401).header("x-chunked", 1).head().await;
    assert!(collect(head).await.is_err());
    agent.until_idle().await;
    agent.ended().await;
}

// Case 38 (OOM).
#[tokio::test]
async fn a_function_that_eats_more_memory_than_it_may_is_killed() {
    let f = FunctionSpec { memory: ByteSize::mib(48), ..worker("f") };
    let agent = agent(std::slice::from_ref(&f)).await;
    let text = agent.call(&f).header("x-eat", 100).send().await.problem(Outcome::FunctionOutOfMemory);
    assert!(text.starts_with("function out of memory: it used ") && text.ends_with(" and may use 48MiB"), "{text}");
    assert_eq!(agent.call(&f).body("next").send().await.text(), "next");
    agent.ended().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_worker_with_it_and_the_slot_is_free_when_that_is_dead() {
    let f = worker("f");
    let config = AgentConfig { slots: 1, ..config() };
    let (agent, meeting) = (agent_with(config, std::slice::from_ref(&f), |builder| builder).await, Meeting::new().await);
    // Before the head of the answer.
    let call = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    assert_eq!(agent.call(&f).send().await.refusal(), Some(RefusalReason::Busy));
    call.abort();
    guest.died().await;
    agent.until_idle().await;
    // In the middle of the answer.
    let head = agent.call(&f).header("x-bytes", 100).header("x-meet-late", meeting.port).head().await;
    let guest = meeting.guest().await;
    drop(head);
    guest.died().await;
    agent.until_idle().await;
    // In the middle of the request.
    let (pieces, body) = channel();
    pieces.send("half").await.unwrap();
    let call = agent.call(&f).streaming(body).start();
    while agent.status().await.active_request_count == 0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    agent.until_idle().await;
    assert_eq!(agent.call(&f).body("next").send().await.text(), "next");
    agent.ended().await;
}
