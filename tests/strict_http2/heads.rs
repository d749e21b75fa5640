//! Heads of HTTP/2, and what becomes of them in HTTP/1.1 (RFC 9113 section 8).

use crate::case::{Bench, asks, judge};
use crate::support::frames::request;

const GET: &str = "GET /x HTTP/1.1";

/// `GET /x` of `a`, and this field after it.
fn field(name: &'static str, source: &'static str, field: (&str, &str)) -> crate::case::Case {
    asks(name, source, &request("GET", &[field]))
}

/// The usual request with one pseudo-header changed.
fn pseudo(name: &'static str, source: &'static str, changed: &str, value: &str) -> crate::case::Case {
    let fields: Vec<(&str, &str)> =
        request("GET", &[]).into_iter().map(|(known, usual)| (known, if known == changed { value } else { usual })).collect();
    asks(name, source, &fields)
}

/// The usual request without one pseudo-header.
fn without(name: &'static str, absent: &str) -> crate::case::Case {
    let fields: Vec<(&str, &str)> = request("GET", &[]).into_iter().filter(|(known, _)| *known != absent).collect();
    asks(name, "9113 8.3.1", &fields)
}

#[test]
fn a_head_becomes_one_of_http_1_1() {
    judge(
        &Bench::start(),
        vec![
            asks("a request", "9113 8.3.1", &request("GET", &[])).passes(GET).with(&["host: a"]).body(""),
            field("a header", "9113 8.2", ("x-a", "b c")).passes(GET).with(&["x-a: b c"]),
            asks("a header twice", "9110 5.3", &request("GET", &[("x-a", "b"), ("x-a", "c")]))
                .passes(GET)
                .with(&["x-a: b", "x-a: c"]),
            field("an empty header", "9110 5.5", ("x-a", "")).passes(GET).with(&["x-a: "]),
            asks(
                "crumbs of a cookie",
                "9113 8.2.3",
                &request("GET", &[("cookie", "a=b"), ("x-a", "c"), ("cookie", "d=e"), ("cookie", "f=g")]),
            )
            .passes(GET)
            .with(&["cookie: a=b; d=e; f=g"]),
            field("one cookie", "9113 8.2.3", ("cookie", "a=b; c=d")).passes(GET).with(&["cookie: a=b; c=d"]),
            asks("the same host beside the authority", "9113 8.3.1", &request("GET", &[("host", "a")]))
                .passes(GET)
                .with(&["host: a"]),
            asks(
                "a host and no authority",
                "9113 8.3.1",
                &[(":method", "GET"), (":scheme", "http"), (":path", "/x"), ("host", "b:80")],
            )
            .passes(GET)
            .with(&["host: b:80"]),
            pseudo("an authority with a port", "9113 8.3.1", ":authority", "b:8080").passes(GET).with(&["host: b:8080"]),
            pseudo("a query", "9113 8.3.1", ":path", "/x?a=b&c").passes("GET /x?a=b&c HTTP/1.1"),
            pseudo("dots and encodings in a path", "3986 6", ":path", "/a/../%2e%2E//b%2F")
                .passes("GET /a/../%2e%2E//b%2F HTTP/1.1"),
            pseudo("another method", "9110 9.1", ":method", "PURGE").passes("PURGE /x HTTP/1.1").refused(&[501]),
            field("TE: trailers", "9113 8.2.2", ("te", "trailers")).passes(GET),
            field("what only runpool says", "9110 7.6.1", ("runpool-call", "forged"))
                .passes(GET)
                .without(&["runpool-call"])
                .never(&["forged"]),
            field("who it was forwarded for", "7239 8.1", ("x-forwarded-for", "9.9.9.9"))
                .passes(GET)
                .with(&["x-forwarded-for: 127.0.0.1"])
                .never(&["9.9.9.9"]),
            asks("Via", "9110 7.6.3", &request("GET", &[]))
                .passes(GET)
                .with(&["via: 2.0 runpool"])
                .passes(GET)
                .with(&["via: 2 runpool"]),
            field("a loop", "9110 7.6.3", ("via", "1.1 runpool")).refused(&[400, 508]),
            field("Expect without a body", "9110 10.1.1", ("expect", "100-continue")).passes(GET),
            field("an expectation nobody knows", "9110 10.1.1", ("expect", "x")).refused(&[417]),
        ],
    );
}

#[test]
fn methods_that_are_not_passed_on() {
    let options = |path| [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    judge(
        &Bench::start(),
        vec![
            asks("CONNECT", "9113 8.5", &[(":method", "CONNECT"), (":authority", "a:80")]).refused(&[400, 405, 501]).broken(),
            asks("CONNECT with a path", "9113 8.5", &request("CONNECT", &[])).refused(&[400, 405, 501]).broken(),
            asks("extended CONNECT", "8441 4", &request("CONNECT", &[(":protocol", "websocket")]))
                .refused(&[400, 405, 501])
                .broken(),
            asks("a protocol without CONNECT", "8441 4", &request("GET", &[(":protocol", "websocket")])).malformed(),
            asks("TRACE", "9110 9.3.8", &request("TRACE", &[])).refused(&[405, 501]),
            asks("OPTIONS *", "9113 8.3.1", &options("*")).refused(&[200, 204]),
            asks("OPTIONS with Max-Forwards: 0", "9110 7.6.2", &request("OPTIONS", &[("max-forwards", "0")]))
                .refused(&[200, 204]),
            asks("OPTIONS with Max-Forwards: 3", "9110 7.6.2", &request("OPTIONS", &[("max-forwards", "3")]))
                .passes("OPTIONS /x HTTP/1.1")
                .with(&["max-forwards: 2"]),
        ],
    );
}

#[test]
fn who_a_request_is_for_is_said_once_and_well() {
    let authority = |name, value| pseudo(name, "9113 8.3.1", ":authority", value).malformed();
    judge(
        &Bench::start(),
        vec![
            asks("another host beside the authority", "9113 8.3.1", &request("GET", &[("host", "b")])).malformed(),
            asks("another port beside the authority", "9113 8.3.1", &request("GET", &[("host", "a:81")])).malformed(),
            asks("two hosts", "9112 3.2", &request("GET", &[("host", "a"), ("host", "a")])).malformed(),
            asks("two hosts that differ", "9112 3.2", &request("GET", &[("host", "a"), ("host", "b")])).malformed(),
            asks(
                "no authority and two hosts",
                "9112 3.2",
                &[(":method", "GET"), (":scheme", "http"), (":path", "/x"), ("host", "a"), ("host", "b")],
            )
            .malformed(),
            without("neither authority nor host", ":authority").malformed(),
            authority("an empty authority", ""),
            authority("user information", "me@a"),
            authority("user information with a password", "me:secret@a"),
            authority("a path in the authority", "a/b"),
            authority("a query in the authority", "a?b"),
            authority("a space in the authority", "a b"),
            authority("two hosts in the authority", "a,b"),
            authority("a port that is no number", "a:b"),
            authority("a port that is too large", "a:65536"),
            authority("a line end in the authority", "a\r\nx-b: c"),
            asks("an empty host", "9110 7.2", &request("GET", &[("host", "")])).malformed(),
            asks("user information in the host", "9110 4.2.4", &request("GET", &[("host", "me@a")])).malformed(),
        ],
    );
}

#[test]
fn pseudo_headers_are_there_once_and_first() {
    judge(
        &Bench::start(),
        vec![
            without("no method", ":method").malformed(),
            without("no scheme", ":scheme").malformed(),
            without("no path", ":path").malformed(),
            asks("two methods", "9113 8.3", &request("GET", &[(":method", "POST")])).malformed(),
            asks(
                "two paths",
                "9113 8.3",
                &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x"), (":path", "/y")],
            )
            .malformed(),
            asks(
                "two authorities",
                "9113 8.3",
                &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":authority", "b"), (":path", "/x")],
            )
            .malformed(),
            asks(
                "two schemes",
                "9113 8.3",
                &[(":method", "GET"), (":scheme", "http"), (":scheme", "https"), (":authority", "a"), (":path", "/x")],
            )
            .malformed(),
            asks(
                "one after a header",
                "9113 8.3",
                &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), ("x-a", "b"), (":path", "/x")],
            )
            .malformed(),
            asks("one of an answer", "9113 8.3", &request("GET", &[(":status", "200")])).malformed(),
            asks("one nobody knows", "9113 8.3", &request("GET", &[(":foo", "bar")])).malformed(),
            asks("a colon and nothing", "9113 8.3", &request("GET", &[(":", "bar")])).malformed(),
            pseudo("an empty method", "9113 8.3.1", ":method", "").malformed(),
            pseudo("a method with a space", "9113 8.2.1", ":method", "GET /y").malformed(),
            pseudo("a method that is a request line", "9113 8.2.1", ":method", "GET /y HTTP/1.1\r\nhost: b\r\n\r\nGET")
                .malformed(),
            pseudo("an empty path", "9113 8.3.1", ":path", "").malformed(),
            pseudo("a path without its slash", "9113 8.3.1", ":path", "x").malformed(),
            pseudo("a path that is a URI", "9113 8.3.1", ":path", "http://b/x").malformed(),
            pseudo("a path that is an asterisk", "9113 8.3.1", ":path", "*").malformed(),
            pseudo("a path with a space", "9113 8.3.1", ":path", "/x HTTP/1.1").malformed(),
            pseudo("a path with a line end", "9113 8.2.1", ":path", "/x HTTP/1.1\r\nx-b: c").malformed(),
            pseudo("a path with a tab", "9113 8.3.1", ":path", "/x\ty").malformed(),
            pseudo("a path with NUL", "9113 8.2.1", ":path", "/x\0").malformed(),
            pseudo("a path with a fragment", "9113 8.3.1", ":path", "/x#y").malformed().passes(GET),
            pseudo("a path beyond ASCII", "3986 2", ":path", "/é").malformed(),
            pseudo("a scheme nobody knows", "9113 8.3.1", ":scheme", "ftp").malformed(),
            pseudo("a scheme with more in it", "9113 8.3.1", ":scheme", "http://b/").malformed(),
            pseudo("a scheme with a line end", "9113 8.2.1", ":scheme", "http\r\nx-b: c").malformed(),
            pseudo("an empty scheme", "9113 8.3.1", ":scheme", "").malformed(),
        ],
    );
}

#[test]
fn what_would_be_something_else_in_http_1_1_is_malformed() {
    let bytes = |name, source, field: (&[u8], &[u8])| {
        let usual = request("GET", &[]);
        let fields: Vec<(&[u8], &[u8])> =
            usual.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).chain([field]).collect();
        asks(name, source, &fields).malformed()
    };
    judge(
        &Bench::start(),
        vec![
            field("a name in capitals", "9113 8.2.1", ("X-A", "b")).malformed(),
            field("a name with one capital", "9113 8.2.1", ("x-A", "b")).malformed(),
            field("a name with a space", "9113 8.2.1", ("x a", "b")).malformed(),
            field("a name with a colon", "9113 8.2.1", ("x:a", "b")).malformed(),
            field("a name with a line end", "9113 8.2.1", ("x-a: b\r\nx-b", "c")).malformed(),
            field("a name with NUL", "9113 8.2.1", ("x\0", "c")).malformed(),
            field("an empty name", "9113 8.2.1", ("", "b")).malformed(),
            bytes("a name beyond ASCII", "9113 8.2.1", (b"x-\xe9", b"b")),
            field("a value with CR LF", "9113 8.2.1", ("x-a", "b\r\nx-b: c")).malformed(),
            field("a value with a head's end", "9113 8.2.1", ("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"))
                .malformed(),
            field("a value with LF", "9113 8.2.1", ("x-a", "b\nx-b: c")).malformed(),
            field("a value with CR", "9113 8.2.1", ("x-a", "b\rc")).malformed(),
            field("a value with NUL", "9113 8.2.1", ("x-a", "b\0c")).malformed(),
            field("a value with a control character", "9110 5.5", ("x-a", "b\x01c")).malformed(),
            field("a value with a space before it", "9113 8.2.1", ("x-a", " b")).malformed().passes(GET).with(&["x-a: b"]),
            field("a value with a tab after it", "9113 8.2.1", ("x-a", "b\t")).malformed().passes(GET).with(&["x-a: b"]),
            field("Transfer-Encoding", "9113 8.2.2", ("transfer-encoding", "chunked")).malformed(),
            field("Transfer-Encoding that is nonsense", "9113 8.2.2", ("transfer-encoding", "x")).malformed(),
            field("Connection", "9113 8.2.2", ("connection", "close")).malformed(),
            field("Connection that lists a header", "9113 8.2.2", ("connection", "x-a")).malformed(),
            field("Keep-Alive", "9113 8.2.2", ("keep-alive", "timeout=5")).malformed(),
            field("Proxy-Connection", "9113 8.2.2", ("proxy-connection", "keep-alive")).malformed(),
            field("Upgrade", "9113 8.2.2", ("upgrade", "websocket")).malformed(),
            field("TE of a coding", "9113 8.2.2", ("te", "gzip")).malformed(),
            field("TE of a coding and trailers", "9113 8.2.2", ("te", "trailers, gzip")).malformed(),
        ],
    );
}

#[test]
fn heads_are_bounded() {
    let long = "b".repeat(100_000);
    let many: Vec<(&str, &str)> = request("GET", &[]).into_iter().chain(std::iter::repeat_n(("x-a", "b"), 2_000)).collect();
    let path = format!("/{}", "x".repeat(70_000));
    let usual = "b".repeat(10_000);
    judge(
        &Bench::start(),
        vec![
            field("a header of 10,000 bytes", "9110 5.4", ("x-a", &usual)).passes(GET),
            field("a header of 100,000 bytes", "9113 10.5.1", ("x-a", &long)).refused(&[431]).broken(),
            asks("2,000 headers", "9113 10.5.1", &many).refused(&[431]).broken(),
            pseudo("a path of 70,000 bytes", "9110 15.5.15", ":path", &path).refused(&[414, 431]).broken(),
        ],
    );
}
