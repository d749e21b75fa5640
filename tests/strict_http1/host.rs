//! Which host a request is for: exactly one, well formed, and the target's if that has one (RFC 9112 section 3.2).

use crate::case::{Bench, case};

#[test]
fn a_request_names_one_well_formed_host() {
    let with = |lines: &str| format!("GET /x HTTP/1.1\r\n{lines}\r\n");
    let refused = |name, source, value: &str| case(name, source, with(&format!("host: {value}\r\n"))).refused(&[400]);
    let passes = |name, source, value: &str, line: &'static str| {
        case(name, source, with(&format!("host: {value}\r\n"))).passes("GET /x HTTP/1.1").with(Vec::leak(vec![line]))
    };
    let long: &'static str = Box::leak(format!("host: {}", "a".repeat(300)).into_boxed_str());
    Bench::start().judge(vec![
        case("none", "9112 3.2", with("")).refused(&[400]),
        case("two that are the same", "9112 3.2", with("host: a\r\nhost: a\r\n")).refused(&[400]),
        case("two that differ", "9112 3.2", with("host: a\r\nhost: b\r\n")).refused(&[400]),
        case("two, one of them empty", "9112 3.2", with("host: a\r\nhost:\r\n")).refused(&[400]),
        case("two in different cases", "9112 3.2", with("Host: a\r\nhOST: b\r\n")).refused(&[400]),
        refused("an empty one", "9110 4.2.1", ""),
        refused("a list", "9112 3.2", "a, b"),
        refused("two words", "9112 3.2", "a b"),
        refused("a tab within", "9112 3.2", "a\tb"),
        refused("user information", "9110 4.2.4", "me@a"),
        refused("user information with a password", "9110 4.2.4", "me:secret@a"),
        refused("a port that is no number", "9110 7.2", "a:x"),
        refused("a port that is too large", "9110 7.2", "a:65536"),
        refused("a port that is far too large", "9110 7.2", "a:99999999999999999999"),
        refused("a signed port", "9110 7.2", "a:+80"),
        refused("a negative port", "9110 7.2", "a:-80"),
        refused("two ports", "9110 7.2", "a:80:80"),
        refused("a port alone", "9110 4.2.1", ":80"),
        refused("an IPv6 address without brackets", "3986 3.2.2", "::1"),
        refused("a bracket that stays open", "3986 3.2.2", "[::1"),
        refused("a bracket that was not opened", "3986 3.2.2", "::1]"),
        refused("something after the bracket", "3986 3.2.2", "[::1]a"),
        refused("brackets around a name", "3986 3.2.2", "[a]"),
        refused("empty brackets", "3986 3.2.2", "[]"),
        refused("a path", "9110 7.2", "a/b"),
        refused("a query", "9110 7.2", "a?b"),
        refused("a fragment", "9110 7.2", "a#b"),
        refused("a backslash", "9110 7.2", "a\\b"),
        refused("a URI", "9110 7.2", "http://a"),
        refused("angle brackets", "9110 7.2", "<a>"),
        refused("a quotation mark", "9110 7.2", "\"a\""),
        refused("a letter beyond ASCII", "9110 7.2", "é"),
        refused("a broken percent encoding", "3986 3.2.2", "a%zz"),
        passes("a name", "9110 7.2", "shop.example", "host: shop.example"),
        passes("spaces around it", "9112 5.1", "  a \t", "host: a"),
        passes("a port", "9110 7.2", "a:8080", "host: a:8080"),
        passes("an IPv4 address", "9110 7.2", "127.0.0.1:80", "host: 127.0.0.1:80"),
        passes("an IPv6 address", "9110 7.2", "[::1]", "host: [::1]"),
        passes("an IPv6 address and a port", "9110 7.2", "[fe80::1]:80", "host: [fe80::1]:80"),
        passes("a dot at the end", "3986 3.2.2", "a.example.", "host: a.example."),
        passes("an underscore", "3986 3.2.2", "my_shop", "host: my_shop"),
        passes("an empty port", "3986 3.2.3", "a:", "host: a:").refused(&[400]),
        passes("a percent encoding", "3986 3.2.2", "%61", "host: %61").refused(&[400]),
        passes("sub-delimiters", "3986 3.2.2", "a!b", "host: a!b").refused(&[400]),
        case("300 letters", "9110 7.2", with(&format!("{long}\r\n")))
            .passes("GET /x HTTP/1.1")
            .with(Vec::leak(vec![long]))
            .refused(&[400]),
    ]);
}

#[test]
fn the_host_of_a_target_wins_and_hosts_of_1_0_may_be_missing() {
    Bench::start().judge(vec![
        case("a target with another host", "9112 3.2.2", "GET http://b/x HTTP/1.1\r\nhost: a\r\n\r\n")
            .passes("GET /x HTTP/1.1")
            .with(&["host: b"]),
        case("a target with the same host and a port", "9112 3.2.2", "GET http://a:8080/x HTTP/1.1\r\nhost: a\r\n\r\n")
            .passes("GET /x HTTP/1.1")
            .with(&["host: a:8080"]),
        case("a target with a host, and no Host", "9112 3.2", "GET http://b/x HTTP/1.1\r\n\r\n").refused(&[400]),
        case("a target with a host, and two Hosts", "9112 3.2", "GET http://b/x HTTP/1.1\r\nhost: b\r\nhost: b\r\n\r\n")
            .refused(&[400]),
        case("a target with a host, and a malformed Host", "9112 3.2", "GET http://b/x HTTP/1.1\r\nhost: a b\r\n\r\n")
            .refused(&[400]),
        case("HTTP/1.0 without", "9112 3.2", "GET /x HTTP/1.0\r\n\r\n").passes("GET /x HTTP/1.1").closed(),
        case("HTTP/1.0 with", "9112 3.2", "GET /x HTTP/1.0\r\nhost: a\r\n\r\n")
            .passes("GET /x HTTP/1.1")
            .with(&["host: a"])
            .closed(),
        case("HTTP/1.0 with two", "9112 3.2", "GET /x HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n").refused(&[400]),
        case("HTTP/1.0 with a malformed one", "9112 3.2", "GET /x HTTP/1.0\r\nhost: a b\r\n\r\n").refused(&[400]),
        case("HTTP/1.0 with an absolute target", "9112 3.2.2", "GET http://b/x HTTP/1.0\r\n\r\n")
            .passes("GET /x HTTP/1.1")
            .with(&["host: b"])
            .closed(),
    ]);
}
