//! The syntax of header fields, and how many of them and how long (RFC 9112 section 5, RFC 9110 section 5).

use crate::case::{Bench, SILENT, case, get};

/// A `GET /x` whose head has these bytes beyond ASCII in it.
fn raw(before: &str, bytes: &[u8], after: &str) -> Vec<u8> {
    [format!("GET /x HTTP/1.1\r\nhost: a\r\n{before}").as_bytes(), bytes, after.as_bytes(), b"\r\n\r\n"].concat()
}

#[test]
fn what_is_no_header_field_is_refused_and_its_connection_closed() {
    let refused = |name, source, lines: &str| case(name, source, get(lines)).refused(&[400]).closed();
    Bench::start().judge(vec![
        refused("a folded line", "9112 5.2", "x-a: b\r\n c\r\n"),
        refused("a line folded with a tab", "9112 5.2", "x-a: b\r\n\tc\r\n"),
        refused("a folded line that hides a field", "9112 5.2", "x-a: b\r\n content-length: 5\r\n"),
        refused("a folded line of nothing", "9112 5.2", "x-a: b\r\n \r\n"),
        case("a folded first line", "9112 2.2", "GET /x HTTP/1.1\r\n host: a\r\n\r\n").refused(&[400]).closed(),
        case("a folded line after the request line", "9112 2.2", "GET /x HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n")
            .refused(&[400])
            .closed(),
        refused("a space before the colon", "9112 5.1", "x-a : b\r\n"),
        refused("a tab before the colon", "9112 5.1", "x-a\t: b\r\n"),
        refused("a space within the name", "9110 5.1", "x a: b\r\n"),
        refused("no colon", "9112 5", "x-a\r\n"),
        refused("no name", "9110 5.1", ": b\r\n"),
        refused("a name of a space", "9110 5.1", " : b\r\n"),
        refused("brackets in the name", "9110 5.1", "x(a): b\r\n"),
        refused("an at sign in the name", "9110 5.1", "x@a: b\r\n"),
        refused("a slash in the name", "9110 5.1", "x/a: b\r\n"),
        refused("a quotation mark in the name", "9110 5.1", "\"x\": b\r\n"),
        refused("a letter beyond ASCII in the name", "9110 5.1", "xé: b\r\n"),
        refused("a control character in the name", "9110 5.1", "x\x01a: b\r\n"),
        refused("NUL in the name", "9110 5.1", "x\0a: b\r\n"),
        refused("NUL in the value", "9110 5.5", "x-a: b\0c\r\n"),
        refused("a bare CR in the value", "9110 5.5", "x-a: b\rc\r\n"),
        refused("a bare CR that would begin a field", "9112 2.2", "x-a: b\rx-b: c\r\n"),
        refused("a bare LF that would begin a field", "9112 2.2", "x-a: b\nx-b: c\r\n"),
        refused("CR CR LF", "9112 2.2", "x-a: b\r\r\n"),
        refused("a control character in the value", "9110 5.5", "x-a: b\x01c\r\n"),
        refused("an escape character in the value", "9110 5.5", "x-a: b\x1b[2Jc\r\n"),
        refused("DEL in the value", "9110 5.5", "x-a: b\x7fc\r\n"),
        refused("a vertical tab in the value", "9110 5.5", "x-a: b\x0bc\r\n"),
        case("bare LFs everywhere", "9112 2.2", "GET /x HTTP/1.1\nhost: a\n\n").then_ends().refused(&[400, SILENT]).closed(),
        case("a bare LF for the empty line", "9112 2.2", "GET /x HTTP/1.1\r\nhost: a\r\n\n")
            .then_ends()
            .refused(&[400, SILENT])
            .closed(),
        case(
            "a bare CR for the empty line",
            "9112 2.2",
            "GET /x HTTP/1.1\r\nhost: a\r\n\rGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .refused(&[400])
        .closed(),
    ]);
}

#[test]
fn header_fields_reach_the_runner_as_they_came() {
    Bench::start().judge(vec![
        case("no space after the colon", "9112 5.1", get("x-a:b\r\n")).passes("GET /x HTTP/1.1").with(&["x-a: b"]),
        case("spaces around the value", "9112 5.1", get("x-a: \t b c \t \r\n")).passes("GET /x HTTP/1.1").with(&["x-a: b c"]),
        case("an empty value", "9110 5.5", get("x-a:\r\n")).passes("GET /x HTTP/1.1").with(&["x-a: "]),
        case("a value of spaces", "9110 5.5", get("x-a:   \r\n")).passes("GET /x HTTP/1.1").with(&["x-a: "]),
        case("a tab within the value", "9110 5.5", get("x-a: b\tc\r\n")).passes("GET /x HTTP/1.1").with(&["x-a: b\tc"]),
        case("colons in the value", "9110 5.5", get("x-a: b: c:\r\n")).passes("GET /x HTTP/1.1").with(&["x-a: b: c:"]),
        case("a quoted string", "9110 5.6.4", get("x-a: \"b, \\\"c\"\r\n"))
            .passes("GET /x HTTP/1.1")
            .with(&["x-a: \"b, \\\"c\""]),
        case("every odd token character in the name", "9110 5.6.2", get("x!#$%&'*+-.^_`|~9: b\r\n"))
            .passes("GET /x HTTP/1.1")
            .with(&["x!#$%&'*+-.^_`|~9: b"]),
        case("an underscore in the name", "9110 5.1", get("x_a: b\r\n")).passes("GET /x HTTP/1.1").with(&["x_a: b"]),
        case("a name in capitals", "9110 5.1", get("X-A: B\r\n")).passes("GET /x HTTP/1.1").with(&["x-a: B"]),
        case("Latin-1 in the value", "9110 5.5", raw("x-a: ", b"\xe9t\xe9", ""))
            .passes("GET /x HTTP/1.1")
            .with(&["x-a: été"])
            .refused(&[400]),
        case("UTF-8 in the value", "9110 5.5", raw("x-a: ", "é".as_bytes(), ""))
            .passes("GET /x HTTP/1.1")
            .with(&["x-a: Ã©"])
            .refused(&[400]),
        case("a field three times", "9110 5.3", get("x-a: 1\r\nx-b: 2\r\nx-a: 3\r\nX-A: 4\r\n"))
            .passes("GET /x HTTP/1.1")
            .with(&["x-a: 1", "x-a: 3", "x-a: 4", "x-b: 2"]),
        case("cookies", "6265 4.2", get("cookie: a=b; c=d\r\n")).passes("GET /x HTTP/1.1").with(&["cookie: a=b; c=d"]),
        case("an encoded line end", "9110 5.5", get("x-a: b%0d%0ax-b: c\r\n"))
            .passes("GET /x HTTP/1.1")
            .with(&["x-a: b%0d%0ax-b: c"])
            .without(&["x-b"]),
    ]);
}

#[test]
fn heads_are_bounded_in_length_and_in_count() {
    let count = |fields: usize| get(&"x-a: b\r\n".repeat(fields));
    let long = |length: usize| get(&format!("x-a: {}\r\n", "b".repeat(length)));
    Bench::start().judge(vec![
        case("90 fields", "9110 5.4", count(90)).passes("GET /x HTTP/1.1"),
        case("101 fields", "6585 5", count(101)).refused(&[431]),
        case("10,000 fields", "6585 5", count(10_000)).refused(&[431, SILENT]).closed(),
        case("a field of 32,000 bytes", "9110 5.4", long(32_000)).passes("GET /x HTTP/1.1"),
        case("a field of 100,000 bytes", "6585 5", long(100_000)).refused(&[431]).closed(),
        case("a field of a megabyte", "6585 5", long(1 << 20)).refused(&[431, SILENT]).closed(),
        case("a name of 100,000 bytes", "6585 5", get(&format!("{}: b\r\n", "x".repeat(100_000)))).refused(&[431]).closed(),
        case("many fields that are long together", "6585 5", get(&format!("x-a: {}\r\n", "b".repeat(1_000)).repeat(90)))
            .refused(&[431])
            .closed(),
        case("a head byte by byte", "9112 2", long(2_000)).byte_by_byte().passes("GET /x HTTP/1.1"),
    ]);
}
