//! Upgrades: only where a route allows the protocol, and a tunnel only after a 101 for what was asked (RFC 9110 section 7.8).

use crate::case::{Bench, get};
use crate::support::recorder::Step;
use crate::support::wire::Wire;

const ASKS: &str =
    "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
const SWITCHES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n";

fn bench() -> Bench {
    Bench::with("", "upgrade = [\"websocket\"]")
}

fn ask(bench: &Bench, lines: &str) -> Wire {
    let mut wire = bench.connect();
    wire.send(get(lines));
    wire
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_one_side_ends() {
    let bench = bench();
    bench.runner.script(vec![Step::Write(SWITCHES.into()), Step::Echo]);
    let mut wire = ask(&bench, ASKS);
    let answer = wire.answer("GET").unwrap();
    assert_eq!(
        (answer.status, answer.field("upgrade").to_lowercase(), answer.field("connection").to_lowercase()),
        (101, "websocket".to_owned(), "upgrade".to_owned())
    );
    assert_eq!(answer.field("sec-websocket-accept"), "x");
    let arrived = bench.runner.arrived();
    assert_eq!((arrived.len(), arrived[0].field("upgrade").to_lowercase()), (1, "websocket".to_owned()));
    assert_eq!(arrived[0].field("connection").to_lowercase(), "upgrade");
    assert_eq!(arrived[0].field("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
    for length in [1, 5, 70_000, 1_000_000] {
        let sent: Vec<u8> = (0..length).map(|number: u32| number.to_le_bytes()[0]).collect();
        std::thread::scope(|scope| {
            let mut stream = wire.stream().try_clone().unwrap();
            let sent = &sent;
            scope.spawn(move || std::io::Write::write_all(&mut stream, sent).unwrap());
            assert!(wire.take(sent.len()).unwrap() == *sent, "{length} bytes come back as they went");
        });
    }
    // No bytes of HTTP are looked for any more.
    wire.send("GET /smuggled HTTP/1.1\r\n\r\n");
    assert_eq!(wire.until(b"\r\n\r\n").unwrap(), b"GET /smuggled HTTP/1.1\r\n\r\n");
    wire.half_close();
    assert_eq!(wire.rest().0, b"", "the runner's end reaches the client");
    bench.runner.wait_for_ends(1);
    assert_eq!(bench.runner.take().len(), 1);
}

#[test]
fn bytes_that_come_with_the_request_or_with_the_101_are_not_lost() {
    let bench = bench();
    bench.runner.script(vec![Step::Write(format!("{SWITCHES}first").into_bytes()), Step::Echo]);
    let mut wire = bench.connect();
    wire.send(format!("{}second", get(ASKS)));
    assert_eq!(wire.answer("GET").unwrap().status, 101);
    assert_eq!(wire.take(11).unwrap(), b"firstsecond");
    bench.runner.script(vec![Step::Write(SWITCHES.into()), Step::Close]);
    let mut wire = ask(&bench, ASKS);
    assert_eq!(wire.answer("GET").unwrap().status, 101);
    assert_eq!(wire.rest().0, b"", "a runner that closes ends the tunnel");
}

#[test]
fn a_runner_that_does_not_switch_answers_as_ever() {
    let bench = bench();
    bench.runner.answer("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno");
    let mut wire = ask(&bench, ASKS);
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    wire.send("GET /again HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.answer("GET").unwrap().status, 200);
}

#[test]
fn a_runner_that_switches_to_something_else_is_a_bad_gateway() {
    let bench = bench();
    for (lines, answer) in [
        (ASKS, SWITCHES.replace("websocket", "chat")),
        (ASKS, "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned()),
        (ASKS, SWITCHES.replace("upgrade: websocket", "upgrade: websocket, chat")),
        ("", SWITCHES.to_owned()),
        ("connection: upgrade\r\nupgrade: chat\r\n", SWITCHES.replace("websocket", "chat")),
        ("upgrade: websocket\r\n", SWITCHES.to_owned()),
    ] {
        bench.runner.script(vec![Step::Write(answer.clone().into_bytes()), Step::Echo]);
        let mut wire = ask(&bench, lines);
        let got = wire.answer("GET").unwrap();
        assert_eq!((got.status, got.field("runpool-outcome").is_empty()), (502, false), "{lines:?} {answer:?}");
    }
}

#[test]
fn only_what_the_route_allows_reaches_the_runner() {
    let bench = bench();
    for lines in [
        "connection: upgrade\r\nupgrade: chat\r\n",
        "connection: upgrade\r\nupgrade: h2c\r\n",
        "upgrade: websocket\r\n",
        "connection: x\r\nupgrade: websocket\r\n",
    ] {
        let mut wire = ask(&bench, lines);
        assert_eq!(wire.answer("GET").unwrap().status, 200, "{lines:?}");
        let arrived = bench.runner.take();
        assert!(!arrived[0].head.fields.has("upgrade"), "{lines:?}: {arrived:?}");
    }
    // HTTP/1.0 has no upgrades (RFC 9110 section 7.8).
    let mut wire = bench.connect();
    wire.send(format!("GET /x HTTP/1.0\r\nhost: a\r\n{ASKS}\r\n"));
    assert_eq!(wire.answer("GET").unwrap().status, 200);
    assert!(!bench.runner.take()[0].head.fields.has("upgrade"));
    for lines in ["Connection: Upgrade\r\nUpgrade: WebSocket\r\n", "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n"] {
        let mut wire = ask(&bench, lines);
        assert_eq!(wire.answer("GET").unwrap().status, 200, "{lines:?}");
        assert_eq!(bench.runner.take()[0].field("upgrade").to_lowercase(), "websocket", "{lines:?}");
    }
}
