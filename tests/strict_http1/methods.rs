//! Methods that a proxy must not simply pass on: TRACE, CONNECT, OPTIONS, and Max-Forwards (RFC 9110 sections 7.6.2 and 9.3).

use crate::case::{Bench, case};

#[test]
fn tunnels_and_traces_are_refused() {
    let with = |method: &str, target: &str, lines: &str| format!("{method} {target} HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
    Bench::start().judge(vec![
        case("TRACE", "9110 9.3.8", with("TRACE", "/x", "")).refused(&[405, 501]),
        case("TRACE with Max-Forwards: 0", "9110 9.3.8", with("TRACE", "/x", "max-forwards: 0\r\n")).refused(&[405, 501]),
        case("TRACE with Max-Forwards: 5", "9110 9.3.8", with("TRACE", "/x", "max-forwards: 5\r\n")).refused(&[405, 501]),
        case("TRACE with a body", "9110 9.3.8", format!("{}hello", with("TRACE", "/x", "content-length: 5\r\n")))
            .refused(&[400, 405, 501]),
        case("TRACE *", "9112 3.2.4", with("TRACE", "*", "")).refused(&[400, 405, 501]),
        case("CONNECT", "9110 9.3.6", with("CONNECT", "a:80", "")).refused(&[405, 501]),
        case("CONNECT and then bytes", "9110 9.3.6", format!("{}\x16\x03\x01", with("CONNECT", "a:443", "")))
            .refused(&[405, 501])
            .refuses_the_rest()
            .refused(&[405, 501])
            .closed(),
        case("CONNECT of a path", "9112 3.2.3", with("CONNECT", "/x", "")).refused(&[400, 405, 501]),
        case("CONNECT of a URI", "9112 3.2.3", with("CONNECT", "http://a/", "")).refused(&[400, 405, 501]),
        case("CONNECT without a port", "9112 3.2.3", with("CONNECT", "a", "")).refused(&[400, 405, 501]),
    ]);
}

#[test]
fn options_of_everything_are_our_own() {
    let with = |target: &str, lines: &str| format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
    Bench::start().judge(vec![
        case("OPTIONS *", "9112 3.2.4", with("*", "")).refused(&[200, 204]).open(),
        case("OPTIONS * with Max-Forwards", "9110 9.3.7", with("*", "max-forwards: 5\r\n")).refused(&[200, 204]).open(),
        case("OPTIONS * with a body", "9110 9.3.7", format!("{}hello", with("*", "content-length: 5\r\n")))
            .refused(&[200, 204, 400]),
        case("OPTIONS of an absolute URI without a path", "9112 3.2.4", with("http://a", ""))
            .refused(&[200, 204])
            .passes("OPTIONS * HTTP/1.1")
            .passes("OPTIONS / HTTP/1.1"),
        case("OPTIONS of a path", "9110 9.3.7", with("/x", "")).passes("OPTIONS /x HTTP/1.1").without(&["max-forwards"]),
    ]);
}

#[test]
fn max_forwards_is_counted_down_and_ends_here_at_zero() {
    let with = |value: &str| format!("OPTIONS /x HTTP/1.1\r\nhost: a\r\nmax-forwards:{value}\r\n\r\n");
    const LINE: &str = "OPTIONS /x HTTP/1.1";
    Bench::start().judge(vec![
        case("0", "9110 7.6.2", with(" 0")).refused(&[200, 204]).open(),
        case("00", "9110 7.6.2", with(" 00")).refused(&[200, 204]).open().refused(&[400]),
        case("1", "9110 7.6.2", with(" 1")).passes(LINE).with(&["max-forwards: 0"]),
        case("10", "9110 7.6.2", with(" 10")).passes(LINE).with(&["max-forwards: 9"]),
        case("far more than there are proxies", "9110 7.6.2", with(" 99999999999999999999"))
            .passes(LINE)
            .never(&["99999999999999999999"])
            .refused(&[400]),
        case("a word", "9110 7.6.2", with(" x")).passes(LINE).refused(&[400]),
        case("a negative number", "9110 7.6.2", with(" -1")).passes(LINE).refused(&[400]),
        case("nothing", "9110 7.6.2", with("")).passes(LINE).refused(&[400]),
        case("twice", "9110 7.6.2", "OPTIONS /x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nmax-forwards: 5\r\n\r\n")
            .refused(&[200, 204, 400]),
        case("of a GET", "9110 7.6.2", "GET /x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n").passes("GET /x HTTP/1.1"),
    ]);
}
