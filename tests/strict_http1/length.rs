//! How long a body is: one length, or one coding `chunked`, and never both (RFC 9112 section 6).

use crate::case::{Bench, SILENT, case, post};

const LINE: &str = "POST /x HTTP/1.1";

/// What a length that is misread would let through.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_content_length_is_digits_once() {
    let with = |value: &str| post(&format!("content-length:{value}\r\n"), "hello");
    let refused = |name, value: &str| case(name, "9112 6.3", with(value)).refused(&[400]).closed();
    let zeros = format!(" {}5", "0".repeat(100));
    Bench::start().judge(vec![
        case("five", "9112 6.2", with(" 5"))
            .passes(LINE)
            .with(&["content-length: 5"])
            .without(&["transfer-encoding"])
            .body("hello"),
        case("no space before", "9112 6.2", with("5")).passes(LINE).body("hello"),
        case("spaces around", "9112 6.2", with(" \t5\t ")).passes(LINE).body("hello"),
        case("leading zeros", "9110 8.6", with(" 005"))
            .passes(LINE)
            .with(&["content-length: 5"])
            .body("hello")
            .refused(&[400])
            .closed(),
        case("a hundred leading zeros", "9110 8.6", with(&zeros)).passes(LINE).body("hello").refused(&[400]).closed(),
        case("zero", "9112 6.2", post("content-length: 0\r\n", "")).passes(LINE).with(&["content-length: 0"]).body(""),
        case("of a GET", "9110 9.3.1", "GET /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
            .passes("GET /x HTTP/1.1")
            .body("hello"),
        case("of a DELETE", "9110 9.3.5", "DELETE /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
            .passes("DELETE /x HTTP/1.1")
            .body("hello"),
        case("of a body in pieces", "9112 6.2", with(" 5")).byte_by_byte().passes(LINE).body("hello"),
        refused("none at all", ""),
        refused("plus", " +5"),
        refused("minus", " -5"),
        refused("minus zero", " -0"),
        refused("hexadecimal", " 0x5"),
        refused("two numbers", " 5 5"),
        refused("letters after", " 5a"),
        refused("a fraction", " 5.0"),
        refused("an exponent", " 5e0"),
        refused("an underscore", " 0_5"),
        refused("in quotes", " \"5\""),
        refused("a list of two that differ", " 5, 6"),
        refused("a list that ends with nothing", " 5,"),
        refused("a list that begins with nothing", " ,5"),
        refused("a semicolon", " 5;"),
        refused("more than 64 bits", " 18446744073709551621"),
        refused("more than 64 bits that wrap to five", " 36893488147419103237"),
        refused("digits of another script", " ٥"),
        refused("NUL after it", " 5\0"),
        refused("a bare CR before it", " \r5"),
        case("a list of the same twice", "9112 6.3", with(" 5, 5"))
            .refused(&[400])
            .closed()
            .passes(LINE)
            .with(&["content-length: 5"])
            .body("hello"),
        case("two lines of the same", "9112 6.3", post("content-length: 5\r\ncontent-length: 5\r\n", "hello"))
            .refused(&[400])
            .closed()
            .passes(LINE)
            .with(&["content-length: 5"])
            .body("hello"),
        case("two lines that differ", "9112 6.3", post("content-length: 5\r\ncontent-length: 6\r\n", "hello"))
            .refused(&[400])
            .closed(),
        case("two lines that differ, the other way", "9112 6.3", post("content-length: 6\r\ncontent-length: 5\r\n", "hello"))
            .refused(&[400])
            .closed(),
        case("a space before the colon", "9112 5.1", post("content-length : 5\r\n", "hello")).refused(&[400]).closed(),
        case("folded", "9112 5.2", post("content-length:\r\n 5\r\n", "hello")).refused(&[400]).closed(),
        case("2^63", "9112 6.3", with(" 9223372036854775808")).refused(&[400, 413]).closed(),
        case("more than is allowed", "9110 15.5.14", with(" 99999999999")).refused(&[413]).closed(),
    ]);
}

#[test]
fn a_body_ends_where_its_length_says() {
    Bench::start().judge(vec![
        case(
            "a request after the body is another one",
            "9112 9.3",
            post("content-length: 5\r\n", "hello GET /smuggled HTTP/1.1\r\n\r\n"),
        )
        .passes(LINE)
        .body("hello")
        .refuses_the_rest(),
        case("a body that looks like a request", "9112 6", post(&format!("content-length: {}\r\n", SMUGGLED.len()), SMUGGLED))
            .passes(LINE)
            .body(SMUGGLED),
        case("a body that is cut", "9112 8", post("content-length: 50\r\n", "hello"))
            .then_ends()
            .refused(&[400, SILENT])
            .closed(),
        case("a long body that is cut", "9112 8", post("content-length: 200000\r\n", &"x".repeat(150_000)))
            .then_ends()
            .passes(LINE)
            .cut()
            .answered(&[400, 499, SILENT])
            .closed()
            .refused(&[400, SILENT])
            .closed(),
        case("a long body", "9112 6.2", post("content-length: 300000\r\n", &"x".repeat(300_000)))
            .passes(LINE)
            .body("x".repeat(300_000)),
        case("no length is no body", "9112 6.3", "POST /x HTTP/1.1\r\nhost: a\r\n\r\n").passes(LINE).body(""),
    ]);
}

#[test]
fn a_transfer_coding_is_chunked_once_and_stands_alone() {
    const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
    let with = |lines: &str| post(lines, BODY);
    let refused = |name, source, lines: &str| case(name, source, with(lines)).refused(&[400, 501]).closed();
    Bench::start().judge(vec![
        case("chunked", "9112 7.1", with("transfer-encoding: chunked\r\n")).passes(LINE).body("hello"),
        case("in capitals", "9112 7", with("Transfer-Encoding: Chunked\r\n")).passes(LINE).body("hello"),
        refused("with a length", "9112 6.1", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        refused("with a length before it", "9112 6.1", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        refused("with a length of zero", "9112 6.1", "content-length: 0\r\ntransfer-encoding: chunked\r\n"),
        refused("with a length that is right", "9112 6.1", "content-length: 15\r\ntransfer-encoding: chunked\r\n"),
        refused("chunked twice", "9112 6.1", "transfer-encoding: chunked, chunked\r\n"),
        refused("chunked in two lines", "9112 6.1", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        refused("gzip before", "9112 7.2", "transfer-encoding: gzip, chunked\r\n"),
        refused("gzip before, in two lines", "9112 7.2", "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
        refused("gzip after", "9112 6.3", "transfer-encoding: chunked, gzip\r\n"),
        refused("identity after, in two lines", "9112 6.3", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
        refused("gzip alone", "9112 6.3", "transfer-encoding: gzip\r\n"),
        refused("identity", "9112 7", "transfer-encoding: identity\r\n"),
        refused("identity with a length", "9112 6.1", "transfer-encoding: identity\r\ncontent-length: 5\r\n"),
        refused("a coding nobody knows", "9112 6.1", "transfer-encoding: xchunked\r\n"),
        refused("nothing", "9112 6.1", "transfer-encoding:\r\n"),
        refused("nothing, with a length", "9112 6.1", "transfer-encoding:\r\ncontent-length: 5\r\n"),
        refused("a comma before", "9112 6.1", "transfer-encoding: , chunked\r\n"),
        refused("a comma after", "9112 6.1", "transfer-encoding: chunked,\r\n"),
        refused("a parameter", "9112 7", "transfer-encoding: chunked;q=1\r\n"),
        refused("in quotes", "9112 7", "transfer-encoding: \"chunked\"\r\n"),
        refused("a vertical tab before", "9112 6.1", "transfer-encoding: \x0bchunked\r\n"),
        refused("a tab and words", "9112 6.1", "transfer-encoding: chunked\tx\r\n"),
        refused("NUL after", "9110 5.5", "transfer-encoding: chunked\0\r\n"),
        refused("folded", "9112 5.2", "transfer-encoding:\r\n chunked\r\n"),
        refused("a space before the colon", "9112 5.1", "transfer-encoding : chunked\r\n"),
        refused("a bare CR in the name", "9110 5.1", "transfer\r-encoding: chunked\r\n"),
        refused("a letter that folds to k", "9112 7", "transfer-encoding: chun\u{212a}ed\r\n"),
        case("in HTTP/1.0", "9112 6.1", format!("POST /x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{BODY}"))
            .refused(&[400, 501])
            .closed(),
        case("an underscore is another name", "9110 5.1", post("transfer_encoding: chunked\r\ncontent-length: 15\r\n", BODY))
            .passes(LINE)
            .with(&["content-length: 15"])
            .without(&["transfer-encoding"])
            .body(BODY)
            .refused(&[400]),
        case("listed in Connection", "9110 7.6.1", with("connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n"))
            .passes(LINE)
            .body("hello")
            .refused(&[400]),
        case("of a GET", "9112 6.1", format!("GET /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{BODY}"))
            .passes("GET /x HTTP/1.1")
            .body("hello"),
        case("of a HEAD", "9112 6.1", format!("HEAD /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{BODY}"))
            .passes("HEAD /x HTTP/1.1")
            .either()
            .body("hello")
            .refused(&[400]),
        case(
            "a smuggler's length",
            "9112 11.2",
            post("content-length: 6\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
        )
        .refused(&[400])
        .closed(),
        case(
            "a smuggler's coding",
            "9112 11.2",
            post("content-length: 4\r\ntransfer-encoding: xchunked\r\n", &format!("5c\r\n{SMUGGLED}")),
        )
        .refused(&[400, 501])
        .closed(),
    ]);
}

#[test]
fn bodies_longer_than_allowed_are_refused_by_their_length_and_as_they_come() {
    let chunks = |count: usize| format!("{}0\r\n\r\n", format!("400\r\n{}\r\n", "x".repeat(1_024)).repeat(count));
    let bench = Bench::with("max_body = \"100KiB\"\nheld_body = \"4KiB\"", "");
    bench.judge(vec![
        case("as long as allowed", "9110 15.5.14", post("content-length: 102400\r\n", &"x".repeat(102_400))).passes(LINE),
        case("one byte longer", "9110 15.5.14", post("content-length: 102401\r\n", &"x".repeat(102_401))).refused(&[413]),
        case("far longer, and none of it sent", "9110 15.5.14", post("content-length: 999999999\r\n", ""))
            .refused(&[413])
            .closed(),
        case("in chunks, as long as allowed", "9110 15.5.14", post("transfer-encoding: chunked\r\n", &chunks(100))).passes(LINE),
        case("in chunks, longer", "9110 15.5.14", post("transfer-encoding: chunked\r\n", &chunks(200)))
            .passes(LINE)
            .cut()
            .answered(&[413])
            .either()
            .refused(&[413]),
    ]);
}
