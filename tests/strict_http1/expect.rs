//! `Expect: 100-continue` (RFC 9110 section 10.1.1).

use crate::case::{Bench, case, post};
use crate::support::recorder::Step;

const LONG: usize = 200_000;

fn expecting(target: &str, length: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
}

#[test]
fn what_is_expected_is_known_or_refused() {
    Bench::start().judge(vec![
        case("an expectation nobody knows", "9110 10.1.1", post("expect: 200-ok\r\ncontent-length: 5\r\n", "hello"))
            .refused(&[417]),
        case("an expectation nobody knows, without a body", "9110 10.1.1", post("expect: x\r\n", "")).refused(&[417]),
        case("two expectations", "9110 10.1.1", post("expect: 100-continue, x\r\ncontent-length: 5\r\n", "hello"))
            .refused(&[417]),
        case("an empty expectation", "9110 10.1.1", post("expect:\r\n", "")).passes("POST /x HTTP/1.1").refused(&[400, 417]),
        case("100-continue, and the body at once", "9110 10.1.1", post("expect: 100-continue\r\ncontent-length: 5\r\n", "hello"))
            .passes("POST /x HTTP/1.1")
            .body("hello"),
        case("100-Continue", "9110 10.1.1", post("expect: 100-Continue\r\ncontent-length: 5\r\n", "hello"))
            .passes("POST /x HTTP/1.1")
            .body("hello"),
        case("100-continue without a body", "9110 10.1.1", post("expect: 100-continue\r\n", ""))
            .passes("POST /x HTTP/1.1")
            .body(""),
        case(
            "100-continue with chunks",
            "9110 10.1.1",
            post("expect: 100-continue\r\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        )
        .passes("POST /x HTTP/1.1")
        .body("hello"),
    ]);
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let bench = Bench::start();
    for length in [5, LONG] {
        let mut wire = bench.connect();
        wire.send(expecting("/x", length));
        assert_eq!(wire.head().unwrap().line, "HTTP/1.1 100 Continue", "{length}");
        wire.send(vec![b'x'; length]);
        let answer = wire.answer("POST").unwrap();
        assert_eq!((answer.status, answer.interim.as_slice()), (200, &[][..]), "told once");
        let arrived = bench.runner.take();
        assert_eq!((arrived.len(), arrived[0].body.len(), arrived[0].is_whole), (1, length, true));
    }
}

#[test]
fn a_client_of_1_0_is_not_told() {
    let bench = Bench::start();
    let mut wire = bench.connect();
    wire.send("POST /x HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello");
    let answer = wire.answer("POST").unwrap();
    assert_eq!((answer.status, answer.interim.as_slice()), (200, &[][..]));
}

/// The client's 100 costs it the body: nobody asks for the body of a call that no runner took.
#[test]
fn a_refusal_costs_no_byte_of_the_body() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[placement]\nplacer = \"naive\"\nplacer_timeout = \"200ms\"\n[front]\nmax_body = \"1MiB\"\n[pool]\nprotocol = \"plain\"\n\
         runners = [\"{address}\"]\n[[function]]\nname = \"web\"\n[[route]]\npath = \"/web\"\nfunction = \"web\"\n"
    );
    let lb = crate::support::roles::lb(directory.path(), &text);
    for (target, length, status) in [("/web", LONG, 503), ("/nowhere", LONG, 404), ("/nowhere", 5, 404), ("/web", 2 << 20, 413)] {
        let mut wire = crate::support::wire::Wire::connect(lb.front());
        wire.send(expecting(target, length));
        let answer = wire.answer("POST").unwrap();
        assert_eq!((answer.status, answer.interim.as_slice()), (status, &[][..]), "{target} {length}");
        // The body stays unsent: only if the connection closes can the client know that nothing waits for it.
        assert_eq!(wire.rest().0, b"", "{target} {length}");
    }
}

#[test]
fn an_answer_that_comes_before_the_body_reaches_the_client() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::Write("HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno".into()), Step::WaitForClose]);
    let mut wire = bench.connect();
    wire.send(expecting("/x", LONG));
    let answer = wire.answer("POST").unwrap();
    assert_eq!((answer.status, answer.text()), (413, "no".to_owned()));
}
