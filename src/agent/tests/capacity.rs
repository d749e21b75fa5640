//! Slots, memory, eviction, idleness.

use std::time::Duration;

use super::harness::{Meeting, agent_with, config, job, worker};
use crate::agent::AgentConfig;
use crate::model::{ByteSize, FunctionSpec, Outcome};
use crate::protocol::RefusalReason;

fn sized(name: &str, memory: u64) -> FunctionSpec {
    FunctionSpec { memory: ByteSize::mib(memory), ..worker(name) }
}

fn with_memory(memory: u64) -> AgentConfig {
    // The watch looks at what is really used; here it is about what is promised.
    AgentConfig { memory: ByteSize::mib(memory), memory_watch: Duration::ZERO, ..config() }
}

#[tokio::test]
async fn a_full_agent_refuses_and_says_how_full_it_is() {
    let (f, one) = (worker("f"), FunctionSpec { concurrency: 1, ..worker("one") });
    let functions = [f.clone(), one.clone()];
    let (agent, meeting) =
        (agent_with(AgentConfig { slots: 2, ..config() }, &functions, |builder| builder).await, Meeting::new().await);
    let first = agent.call(&one).header("x-meet", meeting.port).start();
    let first_guest = meeting.guest().await;
    let refused = agent.call(&one).send().await;
    assert_eq!(refused.refusal(), Some(RefusalReason::FunctionBusy), "the function has the one slot it may have");
    assert_eq!((refused.load().in_flight, refused.load().slots), (1, 2));
    let second = agent.call(&f).header("x-meet", meeting.port).start();
    let second_guest = meeting.guest().await;
    let refused = agent.call(&f).send().await;
    assert_eq!((refused.refusal(), refused.load().in_flight, refused.body.len()), (Some(RefusalReason::Busy), 2, 0));
    first_guest.release().await;
    second_guest.release().await;
    first.await.unwrap();
    second.await.unwrap();
    let status = agent.status().await;
    assert_eq!((status.requests_received, status.requests_handled), (4, 2), "refusals are not handled");
    assert_eq!(agent.call(&one).send().await.refusal(), None);
    agent.ended().await;
}

// Case 29 (PlainNoEvict).
#[tokio::test]
async fn a_busy_worker_is_not_evicted() {
    let (a, b) = (sized("a", 128), sized("b", 128));
    let functions = [a.clone(), b.clone()];
    let (agent, meeting) = (agent_with(with_memory(160), &functions, |builder| builder).await, Meeting::new().await);
    let call = agent.call(&a).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let refused = agent.call(&b).send().await;
    assert_eq!(refused.refusal(), Some(RefusalReason::Memory));
    guest.release().await;
    assert_eq!(call.await.unwrap().refusal(), None);
    assert_eq!(agent.status().await.requests_handled, 1);
    agent.ended().await;
}

// Case 29 (PlainDoEvict).
#[tokio::test]
async fn an_idle_worker_of_another_function_is_evicted_and_dead_before_its_memory_is_given_out() {
    let (a, b) = (sized("a", 128), sized("b", 128));
    let functions = [a.clone(), b.clone()];
    let agent = agent_with(with_memory(160), &functions, |builder| builder).await;
    let evicted = agent.call(&a).send().await.pid();
    let answer = agent.call(&b).body("room").send().await;
    assert_eq!(answer.text(), "room");
    assert!(!std::path::Path::new(&format!("/proc/{evicted}")).exists());
    let status = agent.status().await;
    assert_eq!((status.memory_used, status.warm_workers.len()), (ByteSize::mib(128), 1));
    assert!(agent.get("/metrics").await.text().contains("\nrunner_evictions_total 1\n"));
    agent.ended().await;
}

// Case 29 (HungFDKNoEvict).
#[tokio::test]
async fn a_worker_that_hangs_at_its_start_is_not_evicted() {
    let meeting = Meeting::new().await;
    let hung = FunctionSpec {
        init_timeout: Duration::from_secs(2),
        config: [("INIT_MEET".to_owned(), meeting.port.to_string())].into(),
        ..sized("hung", 128)
    };
    let other = sized("other", 128);
    let functions = [hung.clone(), other.clone()];
    let agent = agent_with(with_memory(160), &functions, |builder| builder).await;
    let call = agent.call(&hung).start();
    while agent.status().await.memory_used == ByteSize(0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.call(&other).send().await.refusal(), Some(RefusalReason::Memory));
    call.await.unwrap().problem(Outcome::InitTimeout);
    agent.ended().await;
}

// Case 28 (NBIOResourceTracker).
#[tokio::test]
async fn of_twenty_concurrent_calls_those_that_fit_run_and_all_others_are_refused() {
    let f = sized("f", 50);
    let config = AgentConfig { slots: 20, ..with_memory(280) };
    let (agent, meeting) = (agent_with(config, std::slice::from_ref(&f), |builder| builder).await, Meeting::new().await);
    let calls: Vec<_> = (0..20).map(|_| agent.call(&f).header("x-meet", meeting.port).start()).collect();
    // All twenty have been decided when five are inside and fifteen were refused.
    let mut guests = Vec::new();
    for _ in 0..5 {
        guests.push(meeting.guest().await);
    }
    while agent.status().await.requests_received < 20 {
        tokio::task::yield_now().await;
    }
    for guest in guests {
        guest.release().await;
    }
    let (mut ran, mut refused) = (0, 0);
    for call in calls {
        let answer = call.await.unwrap();
        match answer.refusal() {
            None => ran += 1,
            Some(RefusalReason::Memory) => refused += 1,
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!((ran, refused), (5, 15));
    agent.ended().await;
}

// Cases 35 and 38 (impossible memory).
#[tokio::test]
async fn a_function_that_can_never_fit_is_told_so() {
    let (f, j) = (sized("f", 161), FunctionSpec { memory: ByteSize::mib(161), ..job("j", "cat") });
    let agent = agent_with(with_memory(160), &[f.clone(), j.clone()], |builder| builder).await;
    for spec in [&f, &j] {
        let answer = agent.call(spec).send().await;
        assert_eq!(answer.refusal(), None);
        let text = answer.problem(Outcome::Impossible);
        let expected =
            format!("function `{}` wants 161MiB of memory for a worker, and this runner has 160MiB for all of them", spec.name);
        assert_eq!(text, expected);
    }
    agent.ended().await;
}

#[tokio::test]
async fn an_idle_worker_ends_after_its_idle_timeout() {
    let f = FunctionSpec { idle_timeout: Duration::from_millis(200), ..worker("f") };
    let (agent, meeting) = (super::harness::agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let call = agent.call(&f).header("x-child", meeting.port).start();
    let child = meeting.silent_guest().await;
    let first = call.await.unwrap().pid();
    while agent.status().await.memory_used > ByteSize(0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.status().await.warm_workers.len(), 0);
    assert_ne!(agent.call(&f).send().await.pid(), first);
    // The child left its worker's group: only the agent's end reaches it.
    agent.ended().await;
    child.died().await;
}

#[tokio::test]
async fn a_job_holds_memory_while_it_runs_and_evicts_idle_workers() {
    let (f, j) = (sized("f", 128), FunctionSpec { memory: ByteSize::mib(128), ..job("j", "cat") });
    let functions = [f.clone(), j.clone()];
    let (agent, meeting) = (agent_with(with_memory(160), &functions, |builder| builder).await, Meeting::new().await);
    agent.call(&f).send().await;
    assert_eq!(agent.call(&j).body("job").send().await.text(), "job");
    assert_eq!(agent.status().await.memory_used, ByteSize(0), "the worker was evicted, and the job has ended");
    let call = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    assert_eq!(agent.call(&j).send().await.refusal(), Some(RefusalReason::Memory));
    guest.release().await;
    call.await.unwrap();
    agent.ended().await;
}
