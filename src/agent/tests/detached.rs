//! Detached calls.

use http::StatusCode;

use super::harness::{Meeting, agent, job, worker};
use crate::model::{FunctionSpec, Outcome};
use crate::protocol::RefusalReason;

// Case 44.
#[tokio::test]
async fn a_detached_call_is_accepted_when_it_has_started_and_runs_on_without_its_client() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let call = agent.call(&f).header("runpool-kind", "detached").header("x-meet", meeting.port).body("kept").send().await;
    assert_eq!((call.status, call.body.len(), call.refusal()), (StatusCode::ACCEPTED, 0, None));
    // The client and its connection are gone.
    let guest = meeting.guest().await;
    assert_eq!(agent.status().await.active_request_count, 1, "it holds its slot");
    guest.release().await;
    agent.until_idle().await;
    let status = agent.status().await;
    assert_eq!((status.requests_handled, status.warm_workers["f"]), (1, 1), "its worker is free again");
    agent.ended().await;
}

// Case 46 (BasicConcurrentDetachedExecution).
#[tokio::test]
async fn ten_detached_calls_are_all_accepted_or_refused_and_none_is_lost() {
    let j = job("j", "cat >/dev/null");
    let agent = agent(std::slice::from_ref(&j)).await;
    let calls: Vec<_> = (0..10).map(|_| agent.call(&j).header("runpool-kind", "detached").body("x").start()).collect();
    let mut accepted = 0;
    for call in calls {
        let answer = call.await.unwrap();
        match answer.refusal() {
            None => {
                assert_eq!(answer.status, StatusCode::ACCEPTED);
                accepted += 1;
            }
            reason => assert_eq!(reason, Some(RefusalReason::Busy)),
        }
    }
    agent.until_idle().await;
    assert_eq!(agent.status().await.requests_handled, accepted);
    assert!(accepted >= 8);
    agent.ended().await;
}

#[tokio::test]
async fn a_detached_call_that_cannot_start_is_not_accepted() {
    let f = FunctionSpec { config: [("INIT_EXIT".to_owned(), "4".to_owned())].into(), ..worker("f") };
    let agent = agent(std::slice::from_ref(&f)).await;
    agent.call(&f).header("runpool-kind", "detached").send().await.problem(Outcome::InitFailed);
    assert_eq!(agent.status().await.active_request_count, 0);
    agent.ended().await;
}

#[tokio::test]
async fn a_detached_body_that_cannot_be_held_is_refused_by_its_length() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let call = agent.call(&f).header("runpool-kind", "detached").body(vec![0; (6 << 20) + 1]);
    let text = call.send().await.problem(Outcome::BodyTooLarge);
    assert_eq!(text, "request body of a detached call too large: expected at most 6MiB");
    agent.until_idle().await;
    agent.ended().await;
}

#[tokio::test]
async fn a_failure_after_the_202_is_counted() {
    let j = job("j", "exit 3");
    let agent = agent(std::slice::from_ref(&j)).await;
    assert_eq!(agent.call(&j).header("runpool-kind", "detached").send().await.status, StatusCode::ACCEPTED);
    agent.until_idle().await;
    let metrics = agent.get("/metrics").await;
    let line = "runner_calls_total{function=\"j\",outcome=\"function_failed\"} 1\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    agent.ended().await;
}

#[tokio::test]
async fn a_drain_waits_for_detached_calls() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    agent.call(&f).header("runpool-kind", "detached").header("x-meet", meeting.port).send().await;
    let guest = meeting.guest().await;
    agent.agent.drain();
    let idle = tokio::spawn({
        let agent = agent.agent.clone();
        async move { agent.idle().await }
    });
    assert_eq!(agent.call(&f).send().await.refusal(), Some(RefusalReason::Draining));
    assert!(!idle.is_finished());
    guest.release().await;
    idle.await.unwrap();
    agent.ended().await;
}
