//! What belongs to one connection stays there, in both directions (RFC 9110 section 7.6.1).

use crate::case::{Bench, case, get, post};
use crate::support::wire::Answer;

const LINE: &str = "GET /x HTTP/1.1";

#[test]
fn what_belongs_to_the_clients_connection_does_not_reach_the_runner() {
    let gone = |name, lines: &str, absent: &[&'static str]| {
        case(name, "9110 7.6.1", get(lines)).passes(LINE).with(&["x-kept: 1"]).without(absent)
    };
    Bench::start().judge(vec![
        gone("keep-alive", "connection: keep-alive\r\nx-kept: 1\r\n", &["connection"]),
        gone("a listed field", "connection: x-hop\r\nx-hop: 1\r\nx-kept: 1\r\n", &["x-hop"]),
        gone("a field listed after it came", "x-hop: 1\r\nx-kept: 1\r\nconnection: x-hop\r\n", &["x-hop"]),
        gone("a field listed that came twice", "x-hop: 1\r\nx-hop: 2\r\nx-kept: 1\r\nconnection: x-hop\r\n", &["x-hop"]),
        gone("two listed fields", "connection: x-hop, x-hip\r\nx-hop: 1\r\nx-hip: 1\r\nx-kept: 1\r\n", &["x-hop", "x-hip"]),
        gone("two lists", "connection: x-hop\r\nconnection: x-hip\r\nx-hop: 1\r\nx-hip: 1\r\nx-kept: 1\r\n", &["x-hop", "x-hip"]),
        gone("a list in capitals", "connection: X-Hop\r\nx-hop: 1\r\nx-kept: 1\r\n", &["x-hop"]),
        gone(
            "a list with spaces and empty places",
            "connection: , \t x-hop ,,x-hip,\r\nx-hop: 1\r\nx-hip: 1\r\nx-kept: 1\r\n",
            &["x-hop", "x-hip"],
        ),
        gone("a list with nonsense in it", "connection: a b, (, x-hop\r\nx-hop: 1\r\nx-kept: 1\r\n", &["x-hop"]).refused(&[400]),
        gone("Keep-Alive", "keep-alive: timeout=5\r\nx-kept: 1\r\n", &["keep-alive"]),
        gone("Proxy-Connection", "proxy-connection: keep-alive\r\nx-kept: 1\r\n", &["proxy-connection"]),
        gone("Proxy-Authorization", "proxy-authorization: Basic x\r\nx-kept: 1\r\n", &["proxy-authorization"]),
        gone("Proxy-Authenticate", "proxy-authenticate: Basic\r\nx-kept: 1\r\n", &["proxy-authenticate"]),
        gone("Trailer", "trailer: x-t\r\nx-kept: 1\r\n", &["trailer"]),
        gone("Upgrade", "connection: upgrade\r\nupgrade: foo/1\r\nx-kept: 1\r\n", &["upgrade"]),
        gone("Upgrade that is not listed", "upgrade: foo/1\r\nx-kept: 1\r\n", &["upgrade"]),
        gone(
            "h2c",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nx-kept: 1\r\n",
            &["upgrade", "http2-settings"],
        ),
        gone(
            "h2c that is not listed",
            "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nx-kept: 1\r\n",
            &["upgrade", "http2-settings"],
        ),
        gone(
            "websocket, where the route does not allow it",
            "connection: upgrade\r\nupgrade: websocket\r\nx-kept: 1\r\n",
            &["upgrade"],
        ),
        gone("TE of a coding", "te: gzip\r\nx-kept: 1\r\n", &["te"]),
        gone(
            "what only runpool says",
            "runpool-call: x\r\nrunpool-attempt: 9\r\nretry-after-ms: 1\r\nx-kept: 1\r\n",
            &["runpool-call", "runpool-attempt", "retry-after-ms"],
        ),
        case("TE: trailers", "9110 10.1.4", get("te: trailers\r\nx-kept: 1\r\n")).passes(LINE).with(&["x-kept: 1"]),
        case("TE of a coding and trailers", "9110 10.1.4", get("te: trailers, gzip;q=0.5\r\nx-kept: 1\r\n"))
            .passes(LINE)
            .never(&["gzip"]),
        case("close", "9112 9.6", get("connection: close\r\n")).passes(LINE).without(&["connection"]).closed(),
        case("Close, in a list", "9112 9.6", get("connection: x-hop, Close\r\nx-hop: 1\r\n"))
            .passes(LINE)
            .without(&["x-hop"])
            .closed(),
    ]);
}

#[test]
fn what_a_message_needs_cannot_be_listed_away() {
    let kept = |name, lines: &str, line: &'static str| {
        case(name, "9110 7.6.1", get(lines)).passes(LINE).with(Vec::leak(vec![line])).refused(&[400])
    };
    Bench::start().judge(vec![
        kept("Host", "connection: host\r\n", "host: a"),
        kept("Authorization", "connection: authorization\r\nauthorization: Bearer x\r\n", "authorization: Bearer x"),
        kept("Content-Type", "connection: content-type\r\ncontent-type: text/plain\r\n", "content-type: text/plain"),
        kept("the client's address that we tell", "connection: x-forwarded-for\r\n", "x-forwarded-for: 127.0.0.1"),
        kept("Via that we tell", "connection: via\r\n", "via: 1.1 runpool"),
        case("Content-Length", "9110 7.6.1", post("connection: content-length\r\ncontent-length: 5\r\n", "hello"))
            .passes("POST /x HTTP/1.1")
            .with(&["content-length: 5"])
            .body("hello")
            .refused(&[400]),
        case(
            "Transfer-Encoding",
            "9110 7.6.1",
            post("connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        )
        .passes("POST /x HTTP/1.1")
        .body("hello")
        .refused(&[400]),
        kept("a cookie", "connection: cookie\r\ncookie: a=b\r\n", "host: a"),
    ]);
}

/// What the client gets of an answer with these lines.
fn answered(bench: &Bench, lines: &str) -> Answer {
    bench.runner.answer(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{lines}\r\nok"));
    let mut wire = bench.connect();
    wire.send(get(""));
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "{lines:?}");
    answer
}

#[test]
fn what_belongs_to_the_runners_connection_does_not_reach_the_client() {
    let bench = Bench::start();
    for (lines, absent) in [
        ("connection: x-hop\r\nx-hop: 1\r\n", "x-hop"),
        ("connection: close\r\nconnection: x-hop\r\nx-hop: 1\r\n", "x-hop"),
        ("keep-alive: timeout=5\r\n", "keep-alive"),
        ("proxy-connection: close\r\n", "proxy-connection"),
        ("proxy-authenticate: Basic\r\n", "proxy-authenticate"),
        ("upgrade: h2c\r\n", "upgrade"),
        ("te: gzip\r\n", "te"),
        ("runpool-outcome: forged\r\n", "runpool-outcome"),
        ("runpool-load: inflight=1, slots=2, warm=0\r\n", "runpool-load"),
    ] {
        let answer = answered(&bench, lines);
        assert!(!answer.head.fields.has(absent), "{lines:?}: {:?}", answer.head);
        assert_eq!(answer.field("content-length"), "2", "{lines:?}");
    }
    for line in ["connection: content-length\r\n", "connection: content-type, date\r\n"] {
        let answer = answered(&bench, &format!("{line}content-type: text/plain\r\n"));
        assert_eq!((answer.field("content-length").as_str(), answer.field("content-type").as_str()), ("2", "text/plain"));
    }
}

#[test]
fn everything_else_of_an_answer_reaches_the_client() {
    let bench = Bench::start();
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let answer = answered(
        &bench,
        &format!(
            "date: {date}\r\nserver: mine/1\r\nset-cookie: a=b; path=/\r\nset-cookie: c=d\r\nx-a: 1\r\nX-A: 2\r\netag: \"x\"\r\n\
             www-authenticate: Basic realm=\"x\"\r\ncontent-encoding: gzip\r\nvary: *\r\nwarning: 199 - x\r\nx-empty:\r\n"
        ),
    );
    let fields = &answer.head.fields;
    assert_eq!((fields.values("date"), fields.values("server")), (vec![date], vec!["mine/1"]));
    assert_eq!(fields.values("set-cookie"), ["a=b; path=/", "c=d"]);
    assert_eq!((fields.values("x-a"), fields.values("x-empty")), (vec!["1", "2"], vec![""]));
    for line in ["etag: \"x\"", "www-authenticate: Basic realm=\"x\"", "content-encoding: gzip", "vary: *", "warning: 199 - x"] {
        assert!(fields.has_line(line), "{line}: {fields:?}");
    }
    // A runner without a clock: we have one (RFC 9110 section 6.6.1).
    let answer = answered(&bench, "");
    assert!(answer.head.fields.values("date").len() <= 1, "{answer:?}");
    assert_eq!(answer.field("server"), "", "we do not speak for the runner");
}
