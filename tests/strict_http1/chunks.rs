//! Chunks: their sizes, extensions, ends and trailers (RFC 9112 section 7.1).

use crate::case::{Bench, Case, SILENT, case, post};

const LINE: &str = "POST /x HTTP/1.1";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

fn chunked(name: &'static str, source: &'static str, body: impl AsRef<str>) -> Case {
    case(name, source, post("transfer-encoding: chunked\r\n", body.as_ref()))
}

fn passes(name: &'static str, body: impl AsRef<str>) -> Case {
    chunked(name, "9112 7.1", body).passes(LINE).body("hello")
}

fn refused(name: &'static str, source: &'static str, body: impl AsRef<str>) -> Case {
    chunked(name, source, body).refused(&[400]).closed()
}

#[test]
fn chunks_are_read_by_the_letter() {
    let small: String = "hello".repeat(200).chars().map(|c| format!("1\r\n{c}\r\n")).collect::<String>() + "0\r\n\r\n";
    let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(5_000));
    Bench::start().judge(vec![
        passes("one chunk", "5\r\nhello\r\n0\r\n\r\n"),
        passes("two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        passes("leading zeros", "0005\r\nhello\r\n0\r\n\r\n"),
        passes("a last chunk of zeros", "5\r\nhello\r\n000\r\n\r\n"),
        chunked("no chunk", "9112 7.1", "0\r\n\r\n").passes(LINE).body(""),
        chunked("a size in small letters", "9112 7.1", format!("1f\r\n{}\r\n0\r\n\r\n", "x".repeat(31)))
            .passes(LINE)
            .body("x".repeat(31)),
        chunked("a size in capitals", "9112 7.1", format!("1F\r\n{}\r\n0\r\n\r\n", "x".repeat(31)))
            .passes(LINE)
            .body("x".repeat(31)),
        chunked("a thousand chunks of one byte", "9112 7.1", small).passes(LINE).body("hello".repeat(200)),
        chunked("a chunk longer than what is held", "9112 7.1", format!("30d40\r\n{}\r\n0\r\n\r\n", "x".repeat(200_000)))
            .passes(LINE)
            .body("x".repeat(200_000)),
        passes("byte by byte", "2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nx-t: 1\r\n\r\n").byte_by_byte(),
        passes("a chunk with the bytes of an end", "5\r\nhello\r\n0\r\n\r\n"),
        chunked("line ends within a chunk", "9112 7.1", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n").passes(LINE).body("\r\n0\r\n\r\n"),
        refused("no size", "9112 7.1", "\r\nhello\r\n0\r\n\r\n"),
        refused("plus", "9112 7.1", "+5\r\nhello\r\n0\r\n\r\n"),
        refused("minus", "9112 7.1", "-5\r\nhello\r\n0\r\n\r\n"),
        refused("minus zero for the end", "9112 7.1", "5\r\nhello\r\n-0\r\n\r\n"),
        refused("hexadecimal in C", "9112 7.1", "0x5\r\nhello\r\n0\r\n\r\n"),
        refused("an underscore", "9112 7.1", "0_5\r\nhello\r\n0\r\n\r\n"),
        refused("a letter that is no digit", "9112 7.1", "5g\r\nhello\r\n0\r\n\r\n"),
        refused("a space before", "9112 7.1", " 5\r\nhello\r\n0\r\n\r\n"),
        refused("a comma", "9112 7.1", "5,5\r\nhello\r\n0\r\n\r\n"),
        refused("NUL in the size", "9112 7.1", "5\0\r\nhello\r\n0\r\n\r\n"),
        passes("a space after the size", "5 \r\nhello\r\n0\r\n\r\n").refused(&[400]).closed(),
        refused("2^64", "9112 7.1", "10000000000000000\r\nhello\r\n0\r\n\r\n"),
        refused("2^64 + 5", "9112 7.1", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunked("2^64 - 1", "9112 7.1", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n")
            .then_ends()
            .refused(&[400, 413, SILENT])
            .closed()
            .passes(LINE)
            .cut()
            .answered(&[400, 413, 499, SILENT])
            .closed(),
        chunked("2^63", "9112 7.1", "8000000000000000\r\nhello\r\n0\r\n\r\n")
            .then_ends()
            .refused(&[400, 413, SILENT])
            .closed()
            .passes(LINE)
            .cut()
            .answered(&[400, 413, 499, SILENT])
            .closed(),
        chunked("5,000 zeros", "9112 7.1", zeros).refused(&[400]).closed().passes(LINE).body("hello"),
    ]);
}

#[test]
fn a_chunk_ends_with_cr_lf_and_nothing_else() {
    Bench::start().judge(vec![
        refused("a bare LF after the size", "9112 7.1", "5\nhello\r\n0\r\n\r\n"),
        refused("a bare CR after the size", "9112 7.1", "5\rhello\r\n0\r\n\r\n"),
        refused("CR CR LF after the size", "9112 7.1", "5\r\r\nhello\r\n0\r\n\r\n"),
        refused("nothing after the data", "9112 7.1", "5\r\nhello0\r\n\r\n"),
        refused("a bare LF after the data", "9112 7.1", "5\r\nhello\n0\r\n\r\n"),
        refused("a bare CR after the data", "9112 7.1", "5\r\nhello\r0\r\n\r\n"),
        refused("two bytes that are no line end", "9112 7.1", "5\r\nhelloXX0\r\n\r\n"),
        refused("more data than the size", "9112 7.1", "4\r\nhello\r\n0\r\n\r\n"),
        refused("a bare LF after the last size", "9112 7.1", "5\r\nhello\r\n0\n\r\n"),
        refused("a bare LF for the last line", "9112 7.1", "5\r\nhello\r\n0\r\n\n"),
        // A reader may wait for the line to end before it judges it.
        chunked("a bare CR for the last line", "9112 7.1", "5\r\nhello\r\n0\r\n\rX").then_ends().refused(&[400, SILENT]).closed(),
        chunked("an end that does not come", "9112 8", "5\r\nhello\r\n0\r\n").then_ends().refused(&[400, SILENT]).closed(),
        chunked("a chunk that does not come whole", "9112 8", "5\r\nhel").then_ends().refused(&[400, SILENT]).closed(),
        chunked("no last chunk", "9112 8", "5\r\nhello\r\n").then_ends().refused(&[400, SILENT]).closed(),
        chunked("a request after the end is another one", "9112 9.3", "5\r\nhello\r\n0\r\n\r\nnonsense\r\n\r\n")
            .passes(LINE)
            .body("hello")
            .refuses_the_rest(),
        chunked("a request within a chunk", "9112 7.1", format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()))
            .passes(LINE)
            .body(SMUGGLED),
        chunked("an error after more than is held", "9112 7.1", format!("30d40\r\n{}\r\nX\r\n\r\n", "x".repeat(200_000)))
            .passes(LINE)
            .cut()
            .answered(&[400, 502, SILENT])
            .closed()
            .refused(&[400])
            .closed(),
    ]);
}

#[test]
fn chunk_extensions_are_dropped_and_bounded() {
    let flood: String = "1;a=b\r\nx\r\n".repeat(20_000) + "0\r\n\r\n";
    Bench::start().judge(vec![
        passes("one", "5;a=b\r\nhello\r\n0\r\n\r\n"),
        passes("a name alone", "5;a\r\nhello\r\n0\r\n\r\n"),
        passes("two", "5;a=b;c=d\r\nhello\r\n0\r\n\r\n"),
        passes("a quoted one", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"),
        passes("on the last chunk", "5\r\nhello\r\n0;a=b\r\n\r\n"),
        passes("spaces around", "5 ; a = b\r\nhello\r\n0\r\n\r\n").refused(&[400]).closed(),
        passes("a semicolon alone", "5;\r\nhello\r\n0\r\n\r\n").refused(&[400]).closed(),
        refused("a bare LF within", "9112 7.1.1", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        refused("a bare LF within quotes", "9112 7.1.1", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
        refused("a bare CR within", "9112 7.1.1", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        refused("NUL within", "9112 7.1.1", "5;a=\0\r\nhello\r\n0\r\n\r\n"),
        refused("a control character within", "9112 7.1.1", "5;a=\x01\r\nhello\r\n0\r\n\r\n"),
        refused("one of 20,000 bytes", "9112 7.1.1", format!("5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(20_000))),
        chunked("20,000 of them", "9112 7.1.1", flood)
            .refused(&[400, 413])
            .closed()
            .passes(LINE)
            .cut()
            .answered(&[400, 413])
            .closed()
            .passes(LINE),
    ]);
}

#[test]
fn trailers_never_become_headers() {
    let with = |lines: &str| format!("5\r\nhello\r\n0\r\n{lines}\r\n");
    let dropped = |name, line: &str, absent: &'static str| {
        chunked(name, "9110 6.5.1", with(&format!("{line}\r\n")))
            .passes(LINE)
            .body("hello")
            .without_trailers(Vec::leak(vec![absent]))
            .never(&["stray"])
            .refused(&[400])
    };
    let trailers = |count: usize| with(&"x-t: 1\r\n".repeat(count));
    let host = "host: b\r\n";
    Bench::start().judge(vec![
        passes("one", with("x-t: 1\r\n")),
        passes("two", with("x-t: 1\r\nx-u: 2\r\n")),
        dropped("a length", "content-length: 50", "content-length"),
        dropped("a coding", "transfer-encoding: gzip", "transfer-encoding"),
        dropped("authorization", "authorization: Bearer stray", "authorization"),
        dropped("a cookie", "cookie: a=stray", "cookie"),
        dropped("an expectation", "expect: 100-continue", "expect"),
        dropped("what only runpool says", "runpool-call: stray", "runpool-call"),
        dropped("who it was forwarded for", "x-forwarded-for: stray", "x-forwarded-for"),
        dropped("a connection option", "connection: close", "connection"),
        chunked("a host", "9110 6.5.1", with(host)).passes(LINE).with(&["host: a"]).body("hello").refused(&[400]),
        chunked("more of a header that was sent", "9110 6.5.1", with("x-a: 2\r\n")).passes(LINE).body("hello"),
        refused("a line without a colon", "9112 7.1.2", with("x-t\r\n")),
        refused("a space before the colon", "9112 5.1", with("x-t : 1\r\n")),
        refused("no name", "9110 5.1", with(": 1\r\n")),
        refused("a folded line", "9112 5.2", with("x-t: 1\r\n 2\r\n")),
        refused("a bare LF", "9112 2.2", with("x-t: 1\nx-u: 2\r\n")),
        refused("a bare CR", "9112 2.2", with("x-t: 1\rx-u: 2\r\n")),
        refused("NUL", "9110 5.5", with("x-t: \0\r\n")),
        chunked("a thousand", "6585 5", trailers(1_000)).refused(&[400, 431]).closed(),
        chunked("100,000 bytes", "6585 5", with(&format!("x-t: {}\r\n", "1".repeat(100_000)))).refused(&[400, 431]).closed(),
    ]);
}
