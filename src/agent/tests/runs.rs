//! Calls that go well.

use std::time::Duration;

use http::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{Meeting, agent, channel, worker};
use crate::model::{CallId, Digest};
use crate::protocol::ServerTiming;

// Trailers of a client could pass for what only we tell a function, and are no part of the contract.
#[tokio::test]
async fn trailers_of_a_client_end_at_the_agent() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let mut stream = TcpStream::connect(agent.address).await.unwrap();
    let call = format!(
        "POST /call/f HTTP/1.1\r\nhost: test\r\nconnection: close\r\nrunpool-call: {}\r\nrunpool-function: {}\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nfirst\r\n0\r\nfn-http-h-x-user: admin\r\n\r\n",
        CallId::from_parts(1, 9),
        Digest::of(&f).as_str(),
    );
    stream.write_all(call.as_bytes()).await.unwrap();
    let mut first = String::new();
    stream.read_to_string(&mut first).await.unwrap();
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("first"), "{first}");
    // A worker that was sent one would take it for the beginning of the next call.
    let second = agent.call(&f).body("second").send().await;
    assert_eq!(second.text(), "second");
    assert!(first.contains(&format!("x-pid: {}", second.pid())), "{first}");
    agent.ended().await;
}

// Cases 37 and 43.
#[tokio::test]
async fn a_function_echoes_and_its_worker_stays_warm_for_the_next_call() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let first = agent.call(&f).header("x-set", "content-type=a/lie").body("hello").send().await;
    assert_eq!((first.status, first.text(), first.header("content-type")), (StatusCode::OK, "hello", "a/lie"));
    assert!(ServerTiming::parse(first.header("server-timing")).unwrap().scheduling > Duration::ZERO);
    let second = agent.call(&f).body("again").send().await;
    assert_eq!((second.text(), second.pid()), ("again", first.pid()));
    let load = agent.call(&f).header("x-pid", "").send().await.load();
    assert_eq!((load.slots, load.warm), (8, 0), "the worker that answers is not counted");
    agent.ended().await;
}

// Cases 37 and 45 (EmptyOutput).
#[tokio::test]
async fn an_empty_answer_is_empty_cold_and_hot() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    for _ in 0..2 {
        let answer = agent.call(&f).send().await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    }
    assert_eq!(agent.status().await.requests_handled, 2);
    agent.ended().await;
}

// Case 45 (BigOutput).
#[tokio::test]
async fn a_big_answer_is_complete_announced_or_not() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    for chunked in ["", "1"] {
        let call = agent.call(&f).header("x-bytes", 5_300_000);
        let call = if chunked.is_empty() { call } else { call.header("x-chunked", chunked) };
        let answer = call.send().await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 5_300_000));
    }
    agent.ended().await;
}

// Case 34 (HTTPWithoutContentLengthWorks).
#[tokio::test]
async fn a_body_of_unknown_length_streams_to_the_function() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let (pieces, body) = channel();
    let call = agent.call(&f).streaming(body).start();
    for piece in ["one ", "two ", "three"] {
        pieces.send(piece).await.unwrap();
    }
    drop(pieces);
    let first = call.await.unwrap();
    assert_eq!(first.text(), "one two three");
    assert_eq!(agent.call(&f).send().await.pid(), first.pid(), "its worker is free again");
    agent.ended().await;
}

// Cases 38 (hop header both ways), 40 and 47.
#[tokio::test]
async fn a_framed_request_reaches_the_function_framed_and_its_answer_is_unframed() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let answer = agent
        .call(&f)
        .method(Method::PUT)
        .path("/call/f/inner?q=1")
        .header("runpool-target", "/t/app/f/inner?q=1")
        .header("runpool-intent", "httprequest")
        .header("content-type", "text/x")
        .header("keep-alive", "timeout=5")
        .header("x-show", 1)
        .header("x-many", "1")
        .header("x-many", "2")
        .header("x-set", "fn-http-status=202")
        .header("x-set", "content-type=text/y")
        .header("x-set", "fn-http-h-x-out=1")
        .header("x-set", "fn-http-h-x-out=2")
        .header("x-set", "fn-http-h-keep-alive=timeout=5")
        .header("x-set", "x-raw=1")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let outs: Vec<_> = answer.headers.get_all("x-out").iter().collect();
    assert_eq!(outs, ["1", "2"]);
    assert_eq!(answer.header("content-type"), "text/y");
    assert_eq!((answer.header("x-raw"), answer.header("keep-alive"), answer.header("x-pid")), ("", "", ""));
    let seen = answer.text();
    for line in [
        "POST /call HTTP/1.1\n",
        "\nfn-http-method: PUT\n",
        "\nfn-http-request-url: http://test/t/app/f/inner?q=1\n",
        "\nfn-intent: httprequest\n",
        "\ncontent-type: text/x\n",
        "\nfn-http-h-x-many: 1\nfn-http-h-x-many: 2\n",
        "\nfn-call-id: ",
        "\nfn-deadline: 2",
        "\ntraceparent: 00-",
    ] {
        assert!(seen.contains(line), "{line:?} is missing in {seen}");
    }
    for absent in ["\nkeep-alive", "\nfn-http-h-keep-alive", "runpool-", "fn-http-h-fn-intent"] {
        assert!(!seen.contains(absent), "{absent} in {seen}");
    }
    agent.ended().await;
}

#[tokio::test]
async fn the_clients_trace_is_passed_on() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = agent.call(&f).header("x-show", 1).header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).send().await;
    assert!(answer.text().contains(&format!("traceparent: 00-{trace}-")), "{}", answer.text());
    agent.ended().await;
}

// P2.
#[tokio::test]
async fn a_function_cannot_forge_a_refusal_or_a_load() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let call = agent.call(&f).header("runpool-intent", "httprequest").header("x-set", "fn-http-status=503");
    let call = call.header("x-set", "fn-http-h-runpool-refused=busy").header("x-set", "runpool-refused=busy");
    let call = call.header("x-set", "fn-http-h-server-timing=sched;dur=1, exec;dur=3600000, db;dur=7");
    let answer = call.header("x-set", "fn-http-h-runpool-load=inflight=0, slots=99, warm=99").send().await;
    let timings: Vec<_> = answer.headers.get_all("server-timing").iter().collect();
    assert_eq!(timings.len(), 2);
    assert!(ServerTiming::parse(timings[0].to_str().unwrap()).unwrap().execution < Duration::from_secs(3600));
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((answer.refusal(), answer.header("runpool-refused"), answer.load().slots), (None, "", 8));
    agent.ended().await;
}

// Case 39.
#[tokio::test]
async fn four_concurrent_calls_are_all_answered_by_workers_of_their_own() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let calls: Vec<_> =
        (0..4).map(|number| agent.call(&f).header("x-meet", meeting.port).body(number.to_string()).start()).collect();
    let mut guests = Vec::new();
    for _ in 0..4 {
        guests.push(meeting.guest().await);
    }
    let status = agent.status().await;
    assert_eq!((status.active_request_count, status.requests_received, status.requests_handled), (4, 4, 0));
    for guest in guests {
        guest.release().await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap();
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, number.to_string().as_str()));
    }
    assert_eq!(agent.status().await.warm_workers["f"], 4);
    agent.ended().await;
}

#[tokio::test]
async fn answers_without_a_body_leave_the_worker_usable() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let pid = agent.call(&f).send().await.pid();
    let head = agent.call(&f).method(Method::HEAD).header("x-bytes", 100_000).send().await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    let call = agent.call(&f).header("runpool-intent", "httprequest").header("x-bytes", 100_000);
    assert_eq!(call.header("x-set", "fn-http-status=204").send().await.status, StatusCode::NO_CONTENT);
    assert_eq!(agent.call(&f).send().await.pid(), pid);
    agent.ended().await;
}

#[tokio::test]
async fn an_answer_may_begin_before_the_request_has_ended() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let (pieces, body) = channel();
    pieces.send("begin").await.unwrap();
    let call = agent.call(&f).header("x-unread", 1).header("x-bytes", 10).header("x-meet-late", meeting.port);
    let head = call.streaming(body).head().await;
    assert_eq!(head.status(), StatusCode::OK);
    let guest = meeting.guest().await;
    pieces.send(" and end").await.unwrap();
    guest.release().await;
    drop(pieces);
    assert_eq!(super::harness::collect(head).await.unwrap().body.len(), 10);
    agent.ended().await;
}

// Case 34 (PipesAreClear, CallsDontInterlace).
#[tokio::test]
async fn a_worker_that_left_a_request_unread_never_sees_another_call() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let (pieces, body) = channel();
    pieces.send("left over").await.unwrap();
    let first = agent.call(&f).header("x-unread", 1).header("x-bytes", 3).streaming(body).send().await;
    assert_eq!(first.text(), "xxx");
    let second = agent.call(&f).body("clean").send().await;
    assert_eq!(second.text(), "clean");
    assert_ne!(second.pid(), first.pid());
    agent.ended().await;
}

#[tokio::test]
async fn a_worker_that_closes_its_connection_is_connected_to_again() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let first = agent.call(&f).header("x-close", 1).body("a").send().await;
    let second = agent.call(&f).body("b").send().await;
    assert_eq!((first.pid(), second.text()), (second.pid(), "b"));
    agent.ended().await;
}

#[tokio::test]
async fn a_warm_worker_that_died_costs_the_next_call_nothing_but_a_start() {
    let f = worker("f");
    let agent = agent(std::slice::from_ref(&f)).await;
    let first = agent.call(&f).send().await;
    kill(Pid::from_raw(first.pid()), Signal::SIGKILL).unwrap();
    // Not awaited, so that the agent, which runs on this thread, has not noticed it yet.
    while !std::fs::read_to_string(format!("/proc/{}/stat", first.pid())).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let second = agent.call(&f).body("still here").send().await;
    assert_eq!((second.status, second.text()), (StatusCode::OK, "still here"));
    assert_ne!(second.pid(), first.pid());
    agent.ended().await;
}

#[tokio::test]
async fn a_call_waits_for_its_worker_no_longer_than_for_one_that_becomes_free() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let busy = agent.call(&f).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    // The second call starts a worker, the first one's becomes free at the same time: whichever wins, both are answered.
    let waiting = agent.call(&f).body("second").start();
    guest.release().await;
    assert_eq!(busy.await.unwrap().status, StatusCode::OK);
    assert_eq!(waiting.await.unwrap().text(), "second");
    agent.ended().await;
}
