//! Clients that take their time, or too much of everything: they lose their connection, and cost others nothing.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use support::bench::Bench;
use support::frames::{DATA, Frames, SETTINGS, WINDOW_UPDATE, block, frame, head, request, setting};
use support::recorder::Step;
use support::wire::{Ended, Fault, Wire};

const GET: &str = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n";

/// What clients may make the balancer grow by, whatever they do. A debug build with its tables.
const MOST_GROWTH: usize = 48 << 20;

/// Says that the memory did not grow, once others are served.
fn assert_small(bench: &Bench, before: usize) {
    bench.sentinel().unwrap();
    let grown = bench.lb.memory().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "grew by {grown} bytes");
}

/// How much memory the balancer takes once it has begun to work.
fn memory(bench: &Bench) -> usize {
    for _ in 0..3 {
        bench.sentinel().unwrap();
    }
    bench.lb.memory()
}

#[test]
fn a_head_that_does_not_come_ends_its_connection() {
    let bench = Bench::with("limits.header_timeout = \"300ms\"", "");
    for beginning in ["", "G", "GET /x HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut wire = bench.connect();
        wire.send(beginning);
        match wire.answer("GET") {
            Ok(answer) => assert_eq!(answer.status, 408, "{beginning:?}"),
            Err(fault) => assert_eq!(fault, Fault::Nothing(Ended::Closed), "{beginning:?}"),
        }
    }
    // What HTTP/2 begins with, too, is a head of HTTP/1.1 that does not come.
    for beginning in ["P", "PRI * HTTP/2.0\r\n"] {
        let mut wire = bench.connect();
        wire.send(beginning);
        assert_eq!(wire.answer("GET").unwrap().status, 408, "{beginning:?}");
    }
    // Nor does one that comes a little at a time.
    let mut wire = bench.connect();
    wire.send("GET /x HTTP/1.1\r\nhost: a\r\n");
    let mut sender = Wire::new(wire.stream().try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while sender.send("x: y\r\n") {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let (bytes, ended) = wire.rest();
        assert_ne!(ended, Ended::Silent);
        assert!(
            bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 408 ") || bytes.starts_with(b"HTTP/1.1 431 "),
            "{:?}",
            bytes.escape_ascii().to_string()
        );
        wire.close();
    });
    assert!(bench.runner.arrived().is_empty());
}

#[test]
fn half_heads_of_many_cost_little_and_others_are_served() {
    let bench = Bench::start();
    let before = memory(&bench);
    let mut slow: Vec<Wire> = (0..500).map(|_| bench.connect()).collect();
    for wire in &mut slow {
        wire.send(format!("GET /x HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(8_000)));
    }
    assert_small(&bench, before);
}

#[test]
fn a_body_that_does_not_come_ends_its_call() {
    // The short one is to be held, the long one streams to the runner.
    let bench = Bench::with("body_timeout = \"300ms\"\nlimits.body_timeout = \"300ms\"", "");
    for length in [100, 1_000_000] {
        let mut wire = bench.connect();
        wire.send(format!("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\nhello"));
        let answer = wire.answer("POST").unwrap();
        assert_eq!((answer.status, answer.field("connection").as_str()), (408, "close"), "{length}: {answer:?}");
        assert_ne!(wire.rest().1, Ended::Silent, "{length}");
    }
    assert!(bench.runner.arrived().iter().all(|arrived| !arrived.is_whole));
    bench.sentinel().unwrap();
}

#[test]
fn a_connection_without_requests_is_closed() {
    let bench = Bench::with("limits.idle_timeout = \"200ms\"", "");
    let mut wire = bench.connect();
    wire.send(GET);
    assert_eq!(wire.answer("GET").unwrap().status, 200);
    assert_eq!(wire.rest(), (Vec::new(), Ended::Closed));
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.ask(1, &request("GET", &[]));
    assert_eq!(client.outcome(1).statuses, [200]);
    client.read_until(|frames| frames.goaway.is_some());
    assert_eq!((client.goaway, client.ended), (Some(0), None), "without an error");
}

#[test]
fn a_call_that_takes_longer_than_allowed_is_given_up() {
    let bench = Bench::with("limits.total_timeout = \"300ms\"", "");
    bench.runner.script(vec![Step::WaitForClose]);
    let mut wire = bench.connect();
    wire.send(GET);
    match wire.answer("GET") {
        Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
        Err(fault) => assert!(matches!(fault, Fault::Nothing(Ended::Closed | Ended::Reset)), "{fault:?}"),
    }
    // And its runner knows.
    bench.runner.wait_for_ends(1);
    bench.runner.answer_fine();
    bench.sentinel().unwrap();
}

/// An answer that no buffer holds.
fn large_answer(bench: &Bench) {
    let length = 64 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    answer.extend(vec![b'x'; length]);
    bench.runner.answer(answer);
}

/// Whether the stream was reset before its end, and a later one of the same connection is answered.
fn assert_cut_alone(bench: &Bench, client: &mut Frames, stream: u32) {
    let outcome = client.outcome(stream);
    assert_eq!((&outcome.statuses[..], outcome.is_whole, outcome.reset.is_some()), (&[200][..], false, true), "{outcome:?}");
    bench.runner.answer_fine();
    client.send(frame(WINDOW_UPDATE, 0, 0, 1_000_000_u32.to_be_bytes()));
    client.ask(stream + 2, &request("GET", &[]));
    assert_eq!(client.outcome(stream + 2).statuses, [200]);
    assert_eq!((client.goaway, client.ended), (None, None));
}

#[test]
fn an_answer_of_http2_that_its_client_does_not_take_ends_its_stream_alone() {
    let bench = Bench::with("limits.write_timeout = \"300ms\"", "");
    large_answer(&bench);
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.opens_windows = false;
    client.ask(1, &request("GET", &[]));
    assert_cut_alone(&bench, &mut client, 1);
}

#[test]
fn an_answer_of_http2_that_takes_longer_than_allowed_ends_its_stream_alone() {
    let bench = Bench::with("limits.total_timeout = \"300ms\"", "");
    bench.runner.script(vec![Step::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec()), Step::WaitForClose]);
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.ask(1, &request("GET", &[]));
    assert_cut_alone(&bench, &mut client, 1);
}

#[test]
fn a_connection_of_http2_that_is_being_answered_is_not_idle() {
    let bench = Bench::with("limits.idle_timeout = \"300ms\"", "");
    let beginning = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx".to_vec();
    bench.runner.script(vec![Step::Write(beginning), Step::Hold, Step::Write(b"y".to_vec())]);
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.ask(1, &request("GET", &[]));
    client.read_until(|client| client.streams.get(&1).is_some_and(|stream| stream.body == b"x"));
    // Another one, of which nothing is open, is told to go in the meantime.
    let mut idle = Frames::connect(bench.lb.front(), &[]);
    idle.read_until(|idle| idle.goaway.is_some());
    client.round_trip();
    assert_eq!(client.goaway, None);
    bench.runner.go_on();
    assert_eq!(client.outcome(1).body, b"xy");
    client.read_until(|client| client.goaway.is_some());
}

#[test]
fn large_answers_that_nobody_reads_are_not_held() {
    let bench = Bench::start();
    large_answer(&bench);
    let before = memory(&bench);
    let mut slow: Vec<Wire> = (0..30).map(|_| bench.connect()).collect();
    for wire in &mut slow {
        wire.send(GET);
    }
    for wire in &mut slow {
        wire.head().unwrap();
    }
    assert_small(&bench, before);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_loses_it() {
    let bench = Bench::with("limits.write_timeout = \"300ms\"", "");
    large_answer(&bench);
    let mut wire = bench.connect();
    wire.send(GET);
    // The runner's end is told of without a byte more being read here.
    bench.runner.wait_for_ends(1);
    let (bytes, ended) = wire.rest();
    assert!(bytes.len() < 64 << 20, "all of it came");
    assert_ne!(ended, Ended::Silent);
    bench.sentinel().unwrap();
}

#[test]
fn a_client_of_http_2_that_takes_nothing_of_its_answer_loses_it() {
    let bench = Bench::with("limits.write_timeout = \"300ms\"", "");
    large_answer(&bench);
    let mut client = Frames::connect(bench.lb.front(), &setting(4, 0));
    client.opens_windows = false;
    client.ask(1, &request("GET", &[]));
    client.read_until(|frames| frames.streams.contains_key(&1));
    bench.runner.wait_for_ends(1);
    assert!(client.outcome(1).reset.is_some(), "and is told so");
    bench.sentinel().unwrap();
}

#[test]
fn a_client_of_http_2_whose_body_does_not_come_loses_its_call() {
    let bench = Bench::with("body_timeout = \"300ms\"\nlimits.body_timeout = \"300ms\"", "");
    for length in [100, 1_000_000] {
        let mut client = Frames::connect(bench.lb.front(), &[]);
        client.send(head(1, 0, &block(&request("POST", &[("content-length", &length.to_string())]))));
        client.send(frame(DATA, 0, 1, "hello"));
        let stream = client.outcome(1);
        assert!(stream.reset.is_some() || stream.statuses.iter().all(|status| *status >= 400), "{length}: {stream:?}");
        assert_ne!(client.ended, Some(Ended::Silent), "{length}");
    }
    assert!(bench.runner.arrived().iter().all(|arrived| !arrived.is_whole));
}

#[test]
fn requests_that_are_sent_without_reading_answers_are_not_piled_up() {
    let bench = Bench::start();
    let before = memory(&bench);
    let mut wire = bench.connect();
    wire.stream().set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let many = GET.repeat(1_000);
    for _ in 0..1_000 {
        // Ends when both directions are full.
        if !wire.send(&many) {
            break;
        }
    }
    assert_small(&bench, before);
}

#[test]
fn no_more_connections_are_served_than_allowed_and_the_next_one_when_one_ends() {
    let bench = Bench::with("limits.max_connections = 4", "");
    let mut kept: Vec<Wire> = (0..4).map(|_| bench.connect()).collect();
    for wire in &mut kept {
        wire.send(GET);
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    }
    let mut waiting = bench.connect();
    waiting.send(GET);
    for wire in &mut kept {
        wire.send(GET);
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    }
    waiting.stream().set_nonblocking(true).unwrap();
    let early = waiting.stream().read(&mut [0; 1]);
    assert_eq!(early.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock), "it waits in the kernel's queue");
    waiting.stream().set_nonblocking(false).unwrap();
    kept.pop();
    assert_eq!(waiting.answer("GET").unwrap().status, 200);
}

/// An address of this machine that is not its loopback, if it has one.
fn address_beyond_loopback() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only looks for the way.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback() && !address.ip().is_unspecified())
}

#[test]
fn one_address_gets_no_more_connections_than_allowed() {
    let Some(address) = address_beyond_loopback() else {
        eprintln!("skipped: this machine has no address but its loopback, and clients there are not counted");
        return;
    };
    let runner = support::recorder::Recorder::start();
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[front]\nlisten = \"0.0.0.0:0\"\nexpose = \"without-authentication\"\nlimits.max_connections_per_client = 3\n[pool]\nprotocol = \"plain\"\n\
         runners = [\"{}\"]\n[[function]]\nname = \"web\"\n[[route]]\npath = \"/\"\nfunction = \"web\"\n",
        runner.address
    );
    let file = support::write(directory.path(), "lb.toml", &text);
    let lb = support::start(&["lb", "--config", &file, "--admin-listen", "127.0.0.1:0", "--announce", "--workers", "1"]);
    let front = SocketAddr::new(address.ip(), lb.front().port());
    let mut kept: Vec<Wire> = (0..3).map(|_| Wire::connect(front)).collect();
    for wire in &mut kept {
        wire.send(GET);
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    }
    let mut refused = Wire::connect(front);
    refused.send(GET);
    assert!(matches!(refused.rest(), (bytes, Ended::Closed | Ended::Reset) if bytes.is_empty()));
    // Others are not counted with it.
    let mut other = Wire::connect(SocketAddr::from(([127, 0, 0, 1], front.port())));
    other.send(GET);
    assert_eq!(other.answer("GET").unwrap().status, 200);
    kept.pop();
    // The place is free when the balancer has seen the end.
    let answered = (0..200).any(|_| {
        let mut next = Wire::connect(front);
        next.send(GET);
        let is_answered = next.answer("GET").is_ok_and(|answer| answer.status == 200);
        if !is_answered {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        is_answered
    });
    assert!(answered, "the place that became free was never given");
}

#[test]
fn without_file_descriptors_the_balancer_waits_and_goes_on() {
    let bench = Bench::start();
    bench.sentinel().unwrap();
    let limit = open_files(&bench) + 20;
    let pid = bench.lb.pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:{limit}")]).status().unwrap();
    assert!(status.success(), "prlimit of util-linux is needed");
    let crowd: Vec<Wire> = (0..60).map(|_| bench.connect()).collect();
    bench.lb.log_line(&["could not accept a connection"]);
    // Those in hand go on: it needs a new connection only for a runner, of which one is kept.
    drop(crowd);
    bench.sentinel().unwrap();
    assert!(open_files(&bench) <= limit);
    let complaints = bench.lb.log_text().matches("could not accept a connection").count();
    assert!(complaints < 10_000, "{complaints} lines: it spins");
}

fn open_files(bench: &Bench) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", bench.lb.pid())).unwrap().count()
}

#[test]
fn bodies_that_are_held_share_a_bounded_memory() {
    let bench = Bench::with("held_body = \"1MiB\"\nmax_buffered = \"4MiB\"", "");
    let before = memory(&bench);
    let mut crowd: Vec<Wire> = (0..100).map(|_| bench.connect()).collect();
    for wire in &mut crowd {
        wire.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
        wire.send(vec![b'x'; 900_000]);
    }
    // Some of them are told so at once; the others wait for the rest of their body.
    let grown = bench.lb.memory().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "grew by {grown} bytes");
    let mut statuses: Vec<u16> = Vec::new();
    for wire in &mut crowd {
        wire.send(vec![b'x'; 100_000]);
        statuses.extend(wire.answer("POST").map(|answer| answer.status));
    }
    let (taken, refused) =
        (statuses.iter().filter(|status| **status == 200).count(), statuses.iter().filter(|status| **status == 503).count());
    assert!(taken > 0 && refused > 0 && taken + refused == 100, "{taken} taken, {refused} refused, of {statuses:?}");
    assert_small(&bench, before);
}

#[test]
fn settings_of_clients_do_not_set_what_is_held_for_them() {
    let bench = Bench::start();
    large_answer(&bench);
    let before = memory(&bench);
    // The largest window there is.
    let mut client = Frames::connect(bench.lb.front(), &setting(4, 0x7fff_ffff));
    client.opens_windows = false;
    client.send(frame(SETTINGS, 0, 0, setting(5, 0x00ff_ffff)));
    for number in 0..20_u32 {
        client.send(head(number * 2 + 1, 1, &block(&request("GET", &[]))));
    }
    client.read_until(|frames| !frames.streams.is_empty());
    assert_small(&bench, before);
}
