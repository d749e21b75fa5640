//! What an agent tells beside its answers: starts, lost workers, when to come back, how full and how fast it is.

use std::time::Duration;

use http::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::harness::{Answer, Meeting, TestAgent, agent, agent_with, channel, config, worker};
use crate::agent::AgentConfig;
use crate::model::{ByteSize, FunctionName, FunctionSpec};
use crate::protocol::{LostWarm, RefusalReason};

fn lost(answer: &Answer) -> LostWarm {
    answer.header("runpool-lost").parse().unwrap()
}

fn since(answer: &Answer, seen: u64) -> Vec<(String, u32)> {
    lost(answer).since(seen).unwrap().into_iter().map(|(name, count)| (FunctionName::to_string(name), count)).collect()
}

/// Looks until something more was lost; there is no event for it across a socket.
async fn until_lost(agent: &TestAgent, seen: u64) -> Answer {
    loop {
        let answer = agent.get("/load").await;
        if lost(&answer).newest() > seen {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn idle_workers_that_are_evicted_or_expire_or_die_are_told_to_everybody() {
    let sized = |name: &str| FunctionSpec { memory: ByteSize::mib(100), ..worker(name) };
    let (a, b) = (sized("a"), sized("b"));
    let c = FunctionSpec { idle_timeout: Duration::from_millis(10), memory: ByteSize::mib(1), ..worker("c") };
    let config = AgentConfig { memory: ByteSize::mib(110), memory_watch: Duration::ZERO, ..config() };
    let agent = agent_with(config, &[a.clone(), b.clone(), c.clone()], |builder| builder).await;
    let first = agent.call(&a).send().await;
    let seen = lost(&first).newest();
    let evicting = agent.call(&b).send().await;
    assert_eq!(since(&evicting, seen), [("a".to_owned(), 1)], "evicted, and told with the very answer that it made room for");
    let status = agent.status().await;
    assert_eq!((status.lost_seq, status.warm_workers.get("b")), (seen + 1, Some(&1)));

    kill(Pid::from_raw(evicting.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(since(&until_lost(&agent, seen + 1).await, seen + 1), [("b".to_owned(), 1)]);

    agent.call(&c).send().await;
    assert_eq!(since(&until_lost(&agent, seen + 2).await, seen), [("c".to_owned(), 1), ("b".to_owned(), 1), ("a".to_owned(), 1)]);
    agent.ended().await;
}

/// Whoever read the answer thinks that the worker is idle now.
#[tokio::test]
async fn a_worker_that_is_killed_after_it_has_answered_is_told_as_lost() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    for bytes in [0, 3] {
        // A body that does not end before the answer.
        let (pieces, body) = channel();
        pieces.send("left over").await.unwrap();
        let answer = agent.call(&f).header("x-unread", 1).header("x-bytes", bytes).streaming(body).send().await;
        let after = agent.get("/load").await;
        assert_eq!(since(&after, lost(&answer).newest()), [("f".to_owned(), 1)], "after the answer, not with it");
    }
    agent.ended().await;
}

#[tokio::test]
async fn a_new_life_of_an_agent_counts_on_above_the_old_one() {
    let old = agent(&[]).await;
    let seen = lost(&old.get("/load").await).newest();
    old.ended().await;
    let new = agent(&[]).await;
    assert!(lost(&new.get("/load").await).newest() >= seen);
    new.ended().await;
}

#[tokio::test]
async fn a_refusal_says_why_and_when_to_come_back_and_how_full_the_agent_is() {
    let (f, one) = (worker("f"), FunctionSpec { concurrency: 1, ..worker("one") });
    let functions = [f.clone(), one.clone()];
    let (agent, meeting) =
        (agent_with(AgentConfig { slots: 2, ..config() }, &functions, |builder| builder).await, Meeting::new().await);
    agent.call(&one).send().await;
    let running = agent.call(&one).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let refused = agent.call(&one).send().await;
    assert_eq!(refused.refusal(), Some(RefusalReason::FunctionBusy));
    assert!(refused.header("retry-after-ms").parse::<u64>().unwrap() >= 1);
    assert_eq!((refused.load().in_flight, refused.header("runpool-start")), (1, ""));
    let other = agent.call(&f).header("x-meet", meeting.port).start();
    let other_guest = meeting.guest().await;
    let refused = agent.call(&f).send().await;
    assert_eq!((refused.refusal(), refused.load().in_flight), (Some(RefusalReason::Busy), 2));
    assert!(refused.header("retry-after-ms").parse::<u64>().unwrap() >= 1);
    guest.release().await;
    other_guest.release().await;
    running.await.unwrap();
    other.await.unwrap();
    agent.ended().await;
}

#[tokio::test]
async fn the_load_is_asked_for_without_a_document() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let empty = agent.get("/load").await;
    assert_eq!((empty.status, empty.header("runpool-latency"), empty.load().slots), (StatusCode::NO_CONTENT, "", 8));
    agent.call(&f).send().await;
    assert!(agent.get("/load").await.header("runpool-latency").parse::<f64>().unwrap() > 0.0);
    assert_eq!(agent.request(Method::POST, "/load", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    agent.ended().await;
}

#[tokio::test]
async fn an_accepted_detached_call_tells_whether_it_met_a_warm_worker() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    agent.call(&f).send().await;
    let accepted = agent.call(&f).header("runpool-kind", "detached").send().await;
    assert_eq!((accepted.status, accepted.header("runpool-start")), (StatusCode::ACCEPTED, "warm"));
    agent.until_idle().await;
    agent.ended().await;
}

#[tokio::test]
async fn an_answer_counts_the_idle_workers_beside_the_one_that_answers() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let both = [(); 2].map(|()| agent.call(&f).header("x-meet", meeting.port).start());
    for guest in [meeting.guest().await, meeting.guest().await] {
        guest.release().await;
    }
    for running in both {
        running.await.unwrap();
    }
    for body in ["", "x"] {
        assert_eq!(agent.call(&f).body(body).send().await.load().warm, 1, "with `{body}`, whether it is idle again or not");
    }
    agent.ended().await;
}
