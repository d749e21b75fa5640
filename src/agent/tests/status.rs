//! `GET /status`: counts, the status function, the custom check, the barrier file.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::harness::{Meeting, TestAgent, agent, agent_with, config, job, worker};
use crate::agent::{AgentConfig, AgentError, HealthCheck};
use crate::model::{FunctionSpec, Outcome};
use crate::protocol::{AgentState, AgentStatus};

fn with_status_function(name: &str) -> AgentConfig {
    AgentConfig { status_function: Some(name.parse().unwrap()), ..config() }
}

fn counting_check(result: Result<&'static str, &'static str>) -> (HealthCheck, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&count);
    let check: HealthCheck = Arc::new(move || {
        seen.fetch_add(1, Ordering::Relaxed);
        result.map(|value| BTreeMap::from([("key".to_owned(), value.to_owned())])).map_err(str::to_owned)
    });
    (check, count)
}

async fn with_check(config: AgentConfig, functions: &[FunctionSpec], check: HealthCheck) -> TestAgent {
    agent_with(config, functions, |builder| builder.health_check(check)).await
}

// Case 14.
#[tokio::test]
async fn without_a_status_function_the_status_is_what_was_counted() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    agent.call(&f).send().await;
    let status = agent.status().await;
    assert_eq!((status.requests_received, status.requests_handled, status.active_request_count), (1, 1, 0));
    assert_eq!((status.state, status.slots, status.incarnation), (AgentState::Ready, 8, Some(agent.agent.incarnation())));
    assert_eq!((status.status_id.as_str(), status.status_failed, status.cached), ("", false, false));
    agent.ended().await;
}

// Case 15.
#[tokio::test]
async fn the_status_function_is_really_run() {
    let f = FunctionSpec { command: ["sh", "-c", "echo fine"].map(str::to_owned).into(), ..job("probe", "") };
    let agent = agent_with(with_status_function("probe"), &[f], |builder| builder).await;
    let status = agent.status().await;
    assert_eq!((status.details.as_str(), status.status_failed, status.error_code), ("fine\n", false, 0), "{status:?}");
    assert_eq!(status.status_id.len(), 26);
    assert!(status.created_at <= status.started_at && status.started_at <= status.completed_at);
    assert!(status.execution_duration_ns > 0 && status.completed_at.ends_with('Z'));
    assert_eq!((status.requests_received, status.requests_handled), (0, 0), "it is no call");
    agent.ended().await;
}

// Case 51 (Status2 IO): what a worker answers to GET / stands in the details.
#[tokio::test]
async fn a_worker_as_status_function_is_asked_for_its_root() {
    let f = FunctionSpec { config: [("KEY".to_owned(), "v".to_owned())].into(), ..worker("probe") };
    let agent = agent_with(with_status_function("probe"), &[f], |builder| builder).await;
    let status = agent.status().await;
    assert!(!status.status_failed && status.init_start_time_ns > 0, "{status:?}");
    assert_eq!(status.warm_workers.len(), 0, "its worker is none of those for calls");
    agent.ended().await;
}

// Case 16.
#[tokio::test]
async fn the_check_and_the_status_function_are_both_asked() {
    let (check, count) = counting_check(Ok("value"));
    let agent = with_check(with_status_function("probe"), &[job("probe", "echo fine")], check).await;
    let status = agent.status().await;
    assert_eq!((status.details.as_str(), status.custom_status["key"].as_str()), ("fine\n", "value"));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    agent.ended().await;
}

// Cases 17 and 51 (CustomHealthChecker).
#[tokio::test]
async fn a_failing_check_fails_the_status_and_the_function_is_not_run() {
    let (check, _) = counting_check(Err("disk full"));
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    let f = job("probe", &format!("touch {}", ran.display()));
    let agent = with_check(with_status_function("probe"), &[f], check).await;
    let status = agent.status().await;
    assert_eq!((status.status_failed, status.error_code, status.error_str.as_str()), (true, 450, "disk full"));
    assert!(!ran.exists());
    agent.ended().await;
}

// Case 18: here a check works without a status function too.
#[tokio::test]
async fn a_check_is_asked_without_a_status_function() {
    let (check, count) = counting_check(Ok("value"));
    let agent = with_check(config(), &[], check).await;
    assert_eq!(agent.status().await.custom_status["key"], "value");
    assert!(agent.status().await.cached);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    agent.ended().await;
}

#[tokio::test]
async fn a_status_function_that_fails_fails_the_status() {
    let agent = agent_with(with_status_function("probe"), &[job("probe", "exit 2")], |builder| builder).await;
    let status = agent.status().await;
    let expected = "function failed: its process ended with status 2";
    assert_eq!((status.status_failed, status.error_code, status.error_str.as_str()), (true, 502, expected));
    agent.ended().await;
}

// Case 49 and the header of the unit tests: a running look is shared, its result is told again, then a new one is made.
#[tokio::test]
async fn ten_who_ask_at_once_share_one_look_and_later_ones_get_its_result_for_a_while() {
    let meeting = Meeting::new().await;
    let f = FunctionSpec { config: [("INIT_MEET".to_owned(), meeting.port.to_string())].into(), ..worker("probe") };
    let config = AgentConfig { status_cache: Duration::from_secs(3600), ..with_status_function("probe") };
    let agent = agent_with(config, &[f], |builder| builder).await;
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let agent = agent.agent.clone();
            tokio::spawn(async move { agent.status().await })
        })
        .collect();
    meeting.guest().await.release().await;
    let mut told: Vec<AgentStatus> = Vec::new();
    for status in asking {
        told.push(status.await.unwrap());
    }
    let ids: HashSet<_> = told.iter().map(|status| status.status_id.clone()).collect();
    assert_eq!((ids.len(), told.iter().filter(|status| !status.cached).count()), (1, 1));
    assert!(told.iter().all(|status| !status.status_failed), "{told:?}");
    assert!(agent.status().await.cached);
    agent.ended().await;
}

// Case 49: after the cache a fresh id.
#[tokio::test]
async fn a_look_that_is_too_old_is_made_again() {
    let config = AgentConfig { status_cache: Duration::ZERO, ..with_status_function("probe") };
    let agent = agent_with(config, &[job("probe", "true")], |builder| builder).await;
    let (first, second) = (agent.status().await, agent.status().await);
    assert_ne!(first.status_id, second.status_id);
    assert!(!first.cached && !second.cached);
    agent.ended().await;
}

#[tokio::test]
async fn a_look_runs_on_when_whoever_asked_leaves() {
    let meeting = Meeting::new().await;
    let f = FunctionSpec { config: [("INIT_MEET".to_owned(), meeting.port.to_string())].into(), ..worker("probe") };
    let config = AgentConfig { status_cache: Duration::from_secs(3600), ..with_status_function("probe") };
    let agent = agent_with(config, &[f], |builder| builder).await;
    let asking = tokio::spawn({
        let agent = agent.agent.clone();
        async move { agent.status().await }
    });
    let guest = meeting.guest().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    guest.release().await;
    let status = agent.status().await;
    assert!(!status.status_failed && !status.cached, "{status:?}");
    agent.ended().await;
}

#[tokio::test]
async fn a_full_agent_can_still_be_looked_at() {
    let (f, probe) = (worker("f"), job("probe", "echo fine"));
    let config = AgentConfig { slots: 1, memory: f.memory, ..with_status_function("probe") };
    let (agent, meeting) = (agent_with(config, &[f.clone(), probe], |builder| builder).await, Meeting::new().await);
    let call = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let status = agent.status().await;
    assert_eq!((status.active_request_count, status.details.as_str()), (1, "fine\n"));
    guest.release().await;
    call.await.unwrap();
    agent.ended().await;
}

// Case 50.
#[tokio::test]
async fn a_missing_barrier_file_disables_the_network_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let barrier = directory.path().join("barrier");
    let config =
        AgentConfig { barrier_file: Some(barrier.clone()), status_cache: Duration::ZERO, ..with_status_function("probe") };
    let agent = agent_with(config, &[job("probe", "true")], |builder| builder).await;
    let status = agent.status().await;
    assert_eq!((status.is_network_disabled, status.status_failed), (true, false));
    std::fs::write(barrier, "").unwrap();
    assert!(!agent.status().await.is_network_disabled);
    agent.ended().await;
}

// Case 48.
#[tokio::test]
async fn the_status_function_cannot_be_called() {
    let probe = job("probe", "true");
    let agent = agent_with(with_status_function("probe"), std::slice::from_ref(&probe), |builder| builder).await;
    let text = agent.call(&probe).send().await.problem(Outcome::BadRequest);
    assert_eq!(text, "function `probe` is the status function: it cannot be called");
    agent.ended().await;
}

#[tokio::test]
async fn a_status_function_that_does_not_exist_stops_the_agent_at_its_start() {
    let error = super::harness::builder(with_status_function("ghost")).build().map(|_| ()).unwrap_err();
    assert!(matches!(error, AgentError::NoStatusFunction { .. }));
    let text = "runner.status_function is `ghost`, which is no function with a command: expected one of the configured functions";
    assert_eq!(error.to_string(), text);
}
