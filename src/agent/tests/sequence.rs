//! What a balancer finds that has just read the last byte of an answer: a free slot and a warm worker.

use std::time::Duration;

use http::{Method, Request};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::harness::{Answer, TestAgent, TestBody, agent_with, channel, collect, config, full, job, worker};
use crate::agent::AgentConfig;
use crate::model::{CallId, Digest, FunctionSpec, Outcome};
use crate::protocol::{LoadReport, WorkerStart};

type Headers<'a> = &'a [(&'a str, &'a str)];

/// One connection that is kept.
struct Client {
    sender: SendRequest<TestBody>,
    calls: u64,
}

impl Client {
    async fn connect(agent: &TestAgent) -> Self {
        let stream = TcpStream::connect(agent.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, calls: 0 }
    }

    /// Calls, and reads the answer to its last byte.
    async fn call(&mut self, spec: &FunctionSpec, method: Method, headers: Headers<'_>, body: &'static str) -> Answer {
        self.calls += 1;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/call/{}", spec.name))
            .header("host", "test")
            .header("runpool-call", CallId::from_parts(self.calls, 7).to_string())
            .header("runpool-function", Digest::of(spec).as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await.unwrap();
        collect(self.sender.send_request(request.body(full(body)).unwrap()).await.unwrap()).await.unwrap()
    }
}

fn one_slot() -> AgentConfig {
    AgentConfig { slots: 1, ..config() }
}

fn start(answer: &Answer) -> WorkerStart {
    answer.header("runpool-start").parse().unwrap()
}

/// Of an agent with one slot, on an answer: the answered call is in it, and its worker is not counted as idle.
const ANSWERED: LoadReport = LoadReport { in_flight: 1, slots: 1, warm: 0 };

#[tokio::test]
async fn the_next_call_finds_the_slot_free_and_the_worker_warm() {
    let f = worker("f");
    let agent = agent_with(one_slot(), std::slice::from_ref(&f), |builder| builder).await;
    let mut client = Client::connect(&agent).await;
    let first = client.call(&f, Method::POST, &[], "x").await;
    assert!(matches!(start(&first), WorkerStart::Cold(cost) if cost > Duration::ZERO), "{first:?}");
    let kinds: [(Method, Headers<'_>, usize); 5] = [
        (Method::POST, &[], 1),
        (Method::POST, &[("x-chunked", "1")], 1),
        (Method::GET, &[("x-bytes", "0")], 0),
        (Method::POST, &[("x-bytes", "300000")], 300_000),
        (Method::HEAD, &[("x-bytes", "9")], 0),
    ];
    for (method, headers, length) in kinds.iter().cycle().take(200) {
        let answer = client.call(&f, method.clone(), headers, "x").await;
        assert_eq!((answer.refusal(), answer.body.len()), (None, *length), "{headers:?}: {:?}", answer.headers);
        assert_eq!((answer.load(), start(&answer)), (ANSWERED, WorkerStart::Warm), "{headers:?}");
        assert_eq!(answer.pid(), first.pid());
    }
    agent.ended().await;
}

#[tokio::test]
async fn the_next_job_finds_the_slot_free() {
    let (short, long) = (job("short", "cat"), job("long", "head -c 200000 /dev/zero"));
    let functions = [short.clone(), long.clone()];
    let agent = agent_with(one_slot(), &functions, |builder| builder).await;
    let mut client = Client::connect(&agent).await;
    for (spec, length) in [(&short, 1), (&long, 200_000)].into_iter().cycle().take(40) {
        let answer = client.call(spec, Method::POST, &[], "x").await;
        assert_eq!((answer.refusal(), answer.body.len(), answer.load()), (None, length, ANSWERED));
        assert!(matches!(start(&answer), WorkerStart::Cold(_)));
    }
    agent.ended().await;
}

/// The worker cannot have another call then, and must be dead before its slot is free: the last byte waits for that.
#[tokio::test]
async fn the_next_call_finds_the_slot_free_when_the_worker_had_to_be_killed() {
    let f = worker("f");
    let agent = agent_with(one_slot(), std::slice::from_ref(&f), |builder| builder).await;
    let mut client = Client::connect(&agent).await;
    for headers in [&[("x-bytes", "3")][..], &[("x-bytes", "3"), ("x-chunked", "1")], &[("x-bytes", "0")]] {
        // A body that does not end before the answer: its connection cannot be kept.
        let (pieces, body) = channel();
        pieces.send("left over").await.unwrap();
        let mut call = agent.call(&f).header("x-unread", 1).streaming(body);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.send().await;
        assert_eq!((answer.refusal(), answer.load()), (None, ANSWERED), "{headers:?}");
        assert_eq!(client.call(&f, Method::POST, &[], "x").await.refusal(), None, "{headers:?}");
    }
    for headers in [("x-exit", "3"), ("x-signal", "9"), ("x-garbage", "1"), ("x-status", "299")] {
        let answer = client.call(&f, Method::POST, &[headers], "x").await;
        assert_eq!((answer.refusal(), answer.load()), (None, ANSWERED), "{headers:?}");
        assert_ne!(answer.header("runpool-outcome"), "");
    }
    agent.ended().await;
}

#[tokio::test]
async fn the_next_call_finds_the_slot_free_after_a_failure_of_the_functions_own() {
    let (f, slow) = (worker("f"), FunctionSpec { timeout: Duration::from_millis(50), ..job("slow", "sleep 60") });
    let functions = [f.clone(), slow.clone()];
    let agent = agent_with(one_slot(), &functions, |builder| builder).await;
    let mut client = Client::connect(&agent).await;
    for _ in 0..10 {
        let answer = client.call(&f, Method::POST, &[("x-status", "502")], "x").await;
        answer.problem(Outcome::FunctionFailed);
        assert_eq!((answer.load().in_flight, answer.load().warm), (1, 1), "an error tells that the worker lives");
    }
    for _ in 0..3 {
        client.call(&slow, Method::POST, &[], "").await.problem(Outcome::FunctionTimeout);
    }
    agent.ended().await;
}
