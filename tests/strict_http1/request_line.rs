//! The request line: methods, targets, versions, spaces (RFC 9112 section 3).

use crate::case::{Bench, SILENT, case, get};

#[test]
fn every_method_passes_and_what_is_no_token_is_refused() {
    let with = |method: &str| format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n");
    let long = "M".repeat(10_000);
    let long_line: &'static str = Box::leak(format!("{long} /x HTTP/1.1").into_boxed_str());
    Bench::start().judge(vec![
        case("GET", "9110 9.3.1", with("GET")).passes("GET /x HTTP/1.1").with(&["host: a"]).body(""),
        case("HEAD", "9110 9.3.2", with("HEAD")).passes("HEAD /x HTTP/1.1").either(),
        case("POST without a body", "9110 9.3.3", with("POST")).passes("POST /x HTTP/1.1").with(&["content-length: 0"]),
        case("PUT", "9110 9.3.4", with("PUT")).passes("PUT /x HTTP/1.1"),
        case("DELETE", "9110 9.3.5", with("DELETE")).passes("DELETE /x HTTP/1.1"),
        case("OPTIONS of a path", "9110 9.3.7", with("OPTIONS")).passes("OPTIONS /x HTTP/1.1"),
        case("PATCH", "5789 2", with("PATCH")).passes("PATCH /x HTTP/1.1"),
        case("a method nobody knows", "9110 9.1", with("PURGE")).passes("PURGE /x HTTP/1.1").refused(&[501]),
        case("methods are case-sensitive", "9110 9.1", with("get")).passes("get /x HTTP/1.1").refused(&[400, 501]),
        case("a method with every odd token character", "9110 5.6.2", with("A!#$%&'*+-.^_`|~9"))
            .passes("A!#$%&'*+-.^_`|~9 /x HTTP/1.1")
            .refused(&[400, 501]),
        case("a method that is no token", "9110 5.6.2", with("GE(T")).refused(&[400, 501]).closed(),
        case("a method with a colon", "9110 5.6.2", with("GET:")).refused(&[400, 501]).closed(),
        case("a method with a control character", "9110 5.6.2", with("GE\x01T")).refused(&[400, 501]).closed(),
        case("a method with NUL", "9110 5.6.2", with("G\0ET")).refused(&[400, 501]).closed(),
        case("a method with a letter beyond ASCII", "9110 5.6.2", with("GÉT")).refused(&[400, 501]).closed(),
        case("no method", "9112 3", with("")).refused(&[400, 501]).closed(),
        case("a method of 10,000 letters", "9112 3.1", with(&long)).refused(&[400, 414, 431, 501]).passes(long_line),
    ]);
}

#[test]
fn a_target_is_forwarded_byte_for_byte_or_refused() {
    let with = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    let long = |length: usize| format!("/{}", "x".repeat(length - 1));
    let line_of_4000: &'static str = Box::leak(format!("GET {} HTTP/1.1", long(4_000)).into_boxed_str());
    Bench::start().judge(vec![
        case("origin-form with a query", "9112 3.2.1", with("/x?a=b&c=d?e")).passes("GET /x?a=b&c=d?e HTTP/1.1"),
        case("an empty query", "9112 3.2.1", with("/x?")).passes("GET /x? HTTP/1.1"),
        case("dots are not resolved", "3986 5.2.4", with("/a/../b/./c")).passes("GET /a/../b/./c HTTP/1.1"),
        case("dots beyond the root", "3986 5.2.4", with("/../../x")).passes("GET /../../x HTTP/1.1").refused(&[400]),
        case("encoded dots", "3986 2.3", with("/%2e%2E/x")).passes("GET /%2e%2E/x HTTP/1.1"),
        case("an encoded slash", "3986 2.2", with("/a%2Fb")).passes("GET /a%2Fb HTTP/1.1"),
        case("two slashes", "9112 3.2.1", with("//x/y")).passes("GET //x/y HTTP/1.1"),
        case("two slashes that look like an authority", "9112 3.2.1", with("//b:80/y")).passes("GET //b:80/y HTTP/1.1"),
        case("a URI within a path", "9112 3.2.1", with("/http://b/")).passes("GET /http://b/ HTTP/1.1"),
        case("encoded line ends", "9110 5.5", with("/x%0d%0ay:1")).passes("GET /x%0d%0ay:1 HTTP/1.1").refused(&[400]),
        case("an encoded NUL", "3986 2.1", with("/x%00")).passes("GET /x%00 HTTP/1.1").refused(&[400]),
        case("a percent sign alone", "3986 2.1", with("/x%")).passes("GET /x% HTTP/1.1").refused(&[400]),
        case("what is no percent encoding", "3986 2.1", with("/x%zz")).passes("GET /x%zz HTTP/1.1").refused(&[400]),
        case("sub-delimiters", "3986 3.3", with("/a;b=c,d!$&'()*+@:~")).passes("GET /a;b=c,d!$&'()*+@:~ HTTP/1.1"),
        case("characters that browsers send", "3986 3.3", with("/a|b{c}")).passes("GET /a|b{c} HTTP/1.1").refused(&[400]),
        case("a quotation mark", "3986 3.3", with("/a\"b")).passes("GET /a\"b HTTP/1.1").refused(&[400]),
        case("angle brackets", "3986 3.3", with("/a<b>")).refused(&[400]).passes("GET /a<b> HTTP/1.1"),
        case("a backslash", "3986 3.3", with("/a\\b")).refused(&[400]).passes("GET /a\\b HTTP/1.1"),
        case("a fragment", "9112 3.2.1", with("/x#f")).refused(&[400]),
        case("a fragment after a query", "9112 3.2.1", with("/x?a#f")).refused(&[400]),
        case("a space", "9112 3.2", with("/a b")).refused(&[400]).closed(),
        case("a tab", "9112 3.2", with("/a\tb")).refused(&[400]).closed(),
        case("a control character", "9112 3.2", with("/a\x01b")).refused(&[400]).closed(),
        case("DEL", "9112 3.2", with("/a\x7fb")).refused(&[400]).closed(),
        case("NUL", "9112 3.2", with("/a\0b")).refused(&[400]).closed(),
        case("a bare CR", "9112 2.2", with("/a\rb")).refused(&[400]).closed(),
        case("a letter beyond ASCII", "3986 2", with("/é")).refused(&[400]),
        case("no target", "9112 3", "GET HTTP/1.1\r\nhost: a\r\n\r\n").refused(&[400]).closed(),
        case("an empty target", "9112 3", with("")).refused(&[400]).closed(),
        case("a path without its slash", "9112 3.2.1", with("x/y")).refused(&[400]),
        case("a query alone", "9112 3.2.1", with("?x")).refused(&[400]),
        case("4,000 bytes", "9110 4.1", with(&long(4_000))).passes(line_of_4000),
        case("70,000 bytes", "9110 15.5.15", with(&long(70_000))).refused(&[414]),
        case("a megabyte", "9110 15.5.15", with(&long(1 << 20))).refused(&[414, SILENT]).closed(),
    ]);
}

#[test]
fn a_target_in_another_form_is_made_an_origin_form_or_refused() {
    let with = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    Bench::start().judge(vec![
        case("absolute-form", "9112 3.2.2", with("http://a/x?y")).passes("GET /x?y HTTP/1.1").with(&["host: a"]),
        case("absolute-form without a path", "9112 3.2.2", with("http://a")).passes("GET / HTTP/1.1").with(&["host: a"]),
        case("absolute-form with a query alone", "9112 3.2.2", with("http://a?y")).passes("GET /?y HTTP/1.1").refused(&[400]),
        case("a scheme in capitals", "3986 3.1", with("HTTP://a/x")).passes("GET /x HTTP/1.1").with(&["host: a"]).refused(&[400]),
        case("absolute-form for another port", "9112 3.2.2", with("http://a:81/x"))
            .passes("GET /x HTTP/1.1")
            .with(&["host: a:81"]),
        case("absolute-form for an IPv6 address", "9112 3.2.2", with("http://[::1]:81/x"))
            .passes("GET /x HTTP/1.1")
            .with(&["host: [::1]:81"]),
        case("absolute-form of another scheme", "9112 3.2.2", with("ftp://a/x")).refused(&[400, 421]),
        case("absolute-form of https on a clear connection", "9110 7.4", with("https://a/x"))
            .refused(&[400, 421])
            .passes("GET /x HTTP/1.1")
            .with(&["host: a"]),
        case("absolute-form with user information", "9110 4.2.4", with("http://me:secret@a/x")).refused(&[400]),
        case("absolute-form without a host", "9110 4.2.1", with("http:///x")).refused(&[400]),
        case("absolute-form with a port alone", "9110 4.2.1", with("http://:80/x")).refused(&[400]),
        case("absolute-form with no port that is a number", "3986 3.2.3", with("http://a:b/x")).refused(&[400]),
        case("absolute-form with a fragment", "9110 7.1", with("http://a/x#f")).refused(&[400]),
        case("one slash too few", "9112 3.2.2", with("http:/a/x")).refused(&[400]),
        case("authority-form with GET", "9112 3.2.3", with("a:80")).refused(&[400]),
        case("a bare host", "9112 3.2.3", with("a")).refused(&[400]),
        case("asterisk-form with GET", "9112 3.2.4", with("*")).refused(&[400]),
        case("asterisk-form with POST", "9112 3.2.4", "POST * HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").refused(&[400]),
        case("an asterisk with more", "9112 3.2.4", with("*x")).refused(&[400]),
        case("an asterisk that is a path", "9112 3.2.1", with("/*")).passes("GET /* HTTP/1.1"),
    ]);
}

#[test]
fn versions_but_1_0_and_1_1_are_refused() {
    let with = |version: &str| format!("GET /x {version}\r\nhost: a\r\n\r\n");
    Bench::start().judge(vec![
        case("HTTP/1.1", "9112 2.3", with("HTTP/1.1")).passes("GET /x HTTP/1.1"),
        case("HTTP/1.0 goes on as 1.1", "9112 2.3", with("HTTP/1.0")).passes("GET /x HTTP/1.1").closed(),
        case("a later minor version", "9110 2.5", with("HTTP/1.2")).refused(&[400, 505]).passes("GET /x HTTP/1.1").either(),
        case("HTTP/2.0", "9112 2.3", with("HTTP/2.0")).refused(&[400, 505]).closed(),
        case("HTTP/3.0", "9112 2.3", with("HTTP/3.0")).refused(&[400, 505]).closed(),
        case("HTTP/0.9", "9112 2.3", with("HTTP/0.9")).refused(&[400, 505]).closed(),
        case("HTTP/0.9 as it was spoken", "1945 4.1", "GET /x\r\n").then_ends().refused(&[400, 505, SILENT]).closed(),
        case("lower case", "9112 2.3", with("http/1.1")).refused(&[400, 505]).closed(),
        case("two digits", "9112 2.3", with("HTTP/1.10")).refused(&[400, 505]).closed(),
        case("two digits before", "9112 2.3", with("HTTP/01.1")).refused(&[400, 505]).closed(),
        case("no minor version", "9112 2.3", with("HTTP/1")).refused(&[400, 505]).closed(),
        case("a point and nothing", "9112 2.3", with("HTTP/1.")).refused(&[400, 505]).closed(),
        case("a comma", "9112 2.3", with("HTTP/1,1")).refused(&[400, 505]).closed(),
        case("another name", "9112 2.3", with("HTTPS/1.1")).refused(&[400, 505]).closed(),
        case("a space within", "9112 2.3", with("HTTP /1.1")).refused(&[400, 505]).closed(),
        case("NUL after it", "9112 2.3", with("HTTP/1.1\0")).refused(&[400, 505]).closed(),
        case("more words", "9112 3", with("HTTP/1.1 HTTP/1.1")).refused(&[400, 505]).closed(),
    ]);
}

#[test]
fn a_request_line_is_three_words_with_one_space_between() {
    Bench::start().judge(vec![
        case("two spaces", "9112 3", "GET  /x HTTP/1.1\r\nhost: a\r\n\r\n").refused(&[400]).closed(),
        case("two spaces before the version", "9112 3", "GET /x  HTTP/1.1\r\nhost: a\r\n\r\n").refused(&[400]).closed(),
        case("a tab", "9112 3", "GET\t/x HTTP/1.1\r\nhost: a\r\n\r\n").refused(&[400, 501]).closed(),
        case("a space before", "9112 3", " GET /x HTTP/1.1\r\nhost: a\r\n\r\n").refused(&[400, 501]).closed(),
        case("a space after", "9112 3", "GET /x HTTP/1.1 \r\nhost: a\r\n\r\n").refused(&[400, 505]).closed(),
        case("a form feed", "9112 3", "GET\x0c/x HTTP/1.1\r\nhost: a\r\n\r\n").refused(&[400, 501]).closed(),
        case("a bare LF at its end", "9112 2.2", "GET /x HTTP/1.1\nhost: a\r\n\r\n").refused(&[400]).closed(),
        case("a bare CR at its end", "9112 2.2", "GET /x HTTP/1.1\rhost: a\r\n\r\n").refused(&[400, 505]).closed(),
        case("CR CR LF at its end", "9112 2.2", "GET /x HTTP/1.1\r\r\nhost: a\r\n\r\n").refused(&[400, 505]).closed(),
        case("an empty line before", "9112 2.2", format!("\r\n{}", get(""))).passes("GET /x HTTP/1.1").refused(&[400]),
        case("a bare LF before", "9112 2.2", format!("\n{}", get(""))).refused(&[400]).passes("GET /x HTTP/1.1"),
        case("10,000 empty lines before", "9112 2.2", format!("{}{}", "\r\n".repeat(10_000), get("")))
            .refused(&[400, 431, SILENT])
            .passes("GET /x HTTP/1.1"),
        case("byte by byte", "9112 2", get("x-a: b\r\n")).byte_by_byte().passes("GET /x HTTP/1.1").with(&["x-a: b"]),
        case("the preface of HTTP/2 and then something else", "9113 3.4", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
            .refused(&[400, 405, 501, 505, SILENT])
            .closed(),
        case("TLS", "9112 2.2", &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"[..]).refused(&[400, 501, SILENT]).closed(),
        case("nonsense", "9112 2.2", "hello\r\n\r\n").refused(&[400, 501, SILENT]).closed(),
        case("half a request line", "9112 2.2", "GET /x HT").then_ends().refused(&[400, SILENT]).closed(),
        case("half a head", "9112 8", "GET /x HTTP/1.1\r\nhost: a\r\n").then_ends().refused(&[400, SILENT]).closed(),
        case("nothing", "9112 9", "").then_ends().refused(&[SILENT]).closed(),
    ]);
}
