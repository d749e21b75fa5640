//! The client's connection: kept, closed, half closed, pipelined (RFC 9112 section 9).

use crate::case::{Bench, case, get, post};
use crate::support::recorder::Step;
use crate::support::wire::{Ended, Fault, Framing};

const LINE: &str = "GET /x HTTP/1.1";

#[test]
fn a_connection_is_kept_in_1_1_and_closed_in_1_0_unless_the_client_says_otherwise() {
    let old = |lines: &str| format!("GET /x HTTP/1.0\r\nhost: a\r\n{lines}\r\n");
    Bench::start().judge(vec![
        case("1.1", "9112 9.3", get("")).passes(LINE).open(),
        case("1.1 and keep-alive", "9112 9.3", get("connection: keep-alive\r\n")).passes(LINE).open(),
        case("1.1 and close", "9112 9.6", get("connection: close\r\n")).passes(LINE).closed(),
        case("1.1 and CLOSE", "9112 9.6", get("connection: CLOSE\r\n")).passes(LINE).closed(),
        case("1.1 with close and keep-alive", "9112 9.3", get("connection: keep-alive, close\r\n")).passes(LINE).closed(),
        case("1.1 with close in a second line", "9112 9.3", get("connection: keep-alive\r\nconnection: close\r\n"))
            .passes(LINE)
            .closed(),
        case("a word that begins with close", "9110 7.6.1", get("connection: closed\r\n")).passes(LINE).open(),
        case("1.0", "9112 9.3", old("")).passes(LINE).closed(),
        case("1.0 and keep-alive", "9112 9.3", old("connection: keep-alive\r\n")).passes(LINE).either(),
        case("1.0 and close", "9112 9.3", old("connection: close\r\n")).passes(LINE).closed(),
        case("1.0 with a body", "9112 9.3", "POST /x HTTP/1.0\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
            .passes("POST /x HTTP/1.1")
            .body("hello")
            .closed(),
        case("a half-closed client gets its answer", "9112 9.6", get("")).then_ends().passes(LINE).closed(),
        case("a half-closed client with a body gets its answer", "9112 9.6", post("content-length: 5\r\n", "hello"))
            .then_ends()
            .passes("POST /x HTTP/1.1")
            .body("hello")
            .closed(),
        case("a half-closed client of 1.0 gets its answer", "9112 9.6", old("")).then_ends().passes(LINE).closed(),
        case("what follows a close is not looked at", "9112 9.6", format!("{}{}", get("connection: close\r\n"), get("")))
            .passes(LINE)
            .closed(),
    ]);
}

#[test]
fn a_kept_connection_says_so_and_a_closed_one_too() {
    let bench = Bench::start();
    for (lines, wanted) in [("", ""), ("connection: close\r\n", "close")] {
        let mut wire = bench.connect();
        wire.send(get(lines));
        let answer = wire.answer("GET").unwrap();
        assert_eq!(answer.field("connection"), wanted, "{answer:?}");
    }
    let mut wire = bench.connect();
    wire.send("GET /x HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
    let answer = wire.answer("GET").unwrap();
    // Without the word a client of 1.0 does not know that it may go on.
    match answer.field("connection").as_str() {
        "keep-alive" => {
            wire.send("GET /x HTTP/1.0\r\nhost: a\r\n\r\n");
            assert_eq!(wire.answer("GET").unwrap().status, 200);
        }
        _ => assert_eq!(wire.rest(), (Vec::new(), Ended::Closed)),
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order_and_their_bodies_do_not_run_into_each_other() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::ReadBody, Step::Write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into())]);
    for count in [2, 3, 10, 50] {
        bench.runner.take();
        let mut wire = bench.connect();
        let requests: String = (0..count)
            .map(|number| {
                let body = "b".repeat(number);
                match number % 3 {
                    0 => format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"),
                    1 => format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {number}\r\n\r\n{body}"),
                    _ => format!("POST /{number} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{number:x}\r\n{body}\r\n0\r\n\r\n"),
                }
            })
            .collect();
        wire.send(requests);
        for number in 0..count {
            assert_eq!(wire.answer("GET").map(|answer| answer.status), Ok(200), "{number} of {count}");
        }
        let arrived = bench.runner.take();
        let targets: Vec<&str> = arrived.iter().map(|arrived| arrived.target()).collect();
        let wanted: Vec<String> = (0..count).map(|number| format!("/{number}")).collect();
        assert_eq!(targets, wanted);
        for (number, arrived) in arrived.iter().enumerate() {
            let length = if number % 3 == 0 { 0 } else { number };
            assert_eq!((arrived.body.len(), &arrived.fault), (length, &None), "{number} of {count}");
        }
    }
}

// RFC 9112 sections 9.3.2 and 9.6: what was sent before the end was sent to be answered.
#[test]
fn a_half_closed_client_has_all_its_pipelined_requests_answered() {
    let bench = Bench::start();
    for count in [2, 3, 50] {
        bench.runner.take();
        let mut wire = bench.connect();
        wire.send(get("").repeat(count));
        wire.half_close();
        for number in 0..count {
            assert_eq!(wire.answer("GET").map(|answer| answer.status), Ok(200), "{number} of {count}");
        }
        assert_eq!(wire.rest(), (Vec::new(), Ended::Closed));
        assert_eq!(bench.runner.take().len(), count);
    }
}

#[test]
fn a_pipelined_request_that_is_malformed_is_refused_after_those_before_it_were_answered() {
    let bench = Bench::start();
    let mut wire = bench.connect();
    wire.send(format!("{}{}{}{}", get(""), get("x-a : b\r\n"), get("x-smuggled: 1\r\n"), get("")));
    assert_eq!(wire.answer("GET").unwrap().status, 200);
    assert_eq!(wire.answer("GET").unwrap().status, 400);
    assert_eq!(wire.rest().0, b"");
    assert_eq!(bench.runner.take().len(), 1, "only the first arrived");
}

#[test]
fn answers_without_a_body_have_none_and_the_next_one_follows() {
    let bench = Bench::start();
    for (method, head, status) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\netag: \"x\"\r\n\r\n", 200),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\netag: \"x\"\r\n\r\n", 200),
        ("HEAD", "HTTP/1.1 404 No\r\netag: \"x\"\r\n\r\n", 404),
        ("GET", "HTTP/1.1 204 No Content\r\netag: \"x\"\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 1000\r\n\r\n", 304),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", 304),
    ] {
        bench.runner.answer(head);
        let mut wire = bench.connect();
        wire.send(format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n{}", get("").replace("/x", "/again")));
        let answer = wire.answer(method).unwrap();
        assert_eq!((answer.status, answer.field("etag").as_str()), (status, "\"x\""), "{method} {head:?}");
        if status == 204 {
            assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (String::new(), String::new()));
        }
        let next = wire.answer("GET").unwrap();
        assert_eq!((next.status, next.text()), (200, "ok".to_owned()), "{method} {head:?}");
    }
    // Of an answer to HEAD the length is kept: it says what GET would give.
    bench.runner.answer("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    let mut wire = bench.connect();
    wire.send("HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.answer("HEAD").unwrap().field("content-length"), "1000");
}

#[test]
fn a_client_that_goes_away_takes_its_call_back() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::WaitForClose]);
    let mut wire = bench.connect();
    wire.send(get(""));
    bench.runner.wait_until("the call", |arrived| arrived.len() == 1);
    // Unread bytes make this a reset: nobody can take it for a half-closed client.
    socket2::SockRef::from(wire.stream()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(wire);
    bench.runner.wait_for_ends(1);
}

#[test]
fn an_answer_that_the_runner_gives_early_ends_the_upload_and_reaches_the_client() {
    let bench = Bench::start();
    bench.runner.script(vec![
        Step::Write("HTTP/1.1 413 Too Long\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno".into()),
        Step::Close,
    ]);
    for _ in 0..20 {
        let mut wire = bench.connect();
        let (mut reading, is_done) = (wire.stream().try_clone().unwrap(), std::sync::atomic::AtomicBool::new(false));
        // Sends on until it is told otherwise, as clients do that do not look before they have sent all.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::Write as _;
                let length = 64 << 20;
                let _ = write!(reading, "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
                for _ in 0..length / 65_536 {
                    if is_done.load(std::sync::atomic::Ordering::Relaxed) || reading.write_all(&[b'x'; 65_536]).is_err() {
                        break;
                    }
                }
            });
            let answer = wire.answer("POST");
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
            wire.close();
            let answer = answer.expect("the answer reaches a client that sends");
            assert_eq!((answer.status, answer.text()), (413, "no".to_owned()));
        });
    }
}

/// Whoever answered early may read on or not: the next request must not be read as the rest of a body, on either side.
#[test]
fn an_answer_before_the_body_is_over_leaves_no_connection_out_of_step() {
    let bench = Bench::start();
    let answers = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly";
    for (script, rest) in [
        (vec![Step::Write(answers.into())], Some(900_000)),
        (vec![Step::Write(answers.into())], None),
        (vec![Step::Write(answers.into()), Step::ReadBody], Some(900_000)),
        (vec![Step::Write(answers.into()), Step::Close], Some(900_000)),
        (vec![Step::Write(answers.into()), Step::Close], None),
    ] {
        bench.runner.script(script.clone());
        let mut wire = bench.connect();
        wire.send(format!("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(100_000)));
        let answer = wire.answer("POST").unwrap();
        assert_eq!((answer.status, answer.text()), (200, "early".to_owned()), "{script:?}");
        if let Some(rest) = rest {
            wire.send(vec![b'x'; rest]);
            wire.send("GET /again HTTP/1.1\r\nhost: a\r\n\r\n");
            match wire.answer("GET") {
                Ok(answer) => assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "{script:?}"),
                Err(fault) => assert!(matches!(fault, Fault::Nothing(Ended::Closed | Ended::Reset)), "{script:?}: {fault:?}"),
            }
        }
        drop(wire);
        for _ in 0..5 {
            bench.sentinel().unwrap();
        }
        for arrived in bench.runner.take() {
            assert_eq!(arrived.fault, None, "{script:?}: {arrived:?}");
            assert!(arrived.body.iter().all(|byte| *byte == b'x'), "{script:?}: a request became a part of a body");
        }
    }
}

#[test]
fn a_refused_upload_gets_its_answer_although_the_client_sends_on() {
    let bench = Bench::with("max_body = \"1MiB\"", "");
    for _ in 0..10 {
        let mut wire = bench.connect();
        wire.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4194304\r\n\r\n");
        // All of it is sent before anything is read.
        for _ in 0..64 {
            if !wire.send(vec![b'x'; 65_536]) {
                break;
            }
        }
        assert_eq!(wire.answer("POST").map(|answer| answer.status), Ok(413));
    }
    assert!(bench.runner.take().is_empty());
}

#[test]
fn a_connection_that_draws_out_its_answer_can_be_used_again_after_it() {
    let bench = Bench::start();
    bench.runner.answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let mut wire = bench.connect();
    for _ in 0..100 {
        wire.send(post("content-length: 5\r\n", "hello"));
        let answer = wire.answer("POST").unwrap();
        assert_eq!((answer.status, answer.text(), answer.framing == Framing::UntilClose), (200, "ok".to_owned(), false));
    }
    assert_eq!(bench.runner.connections().0, 1, "and so can the runner's");
    wire.half_close();
    assert_eq!(wire.answer("GET").map(|answer| answer.status), Err(Fault::Nothing(Ended::Closed)));
}
