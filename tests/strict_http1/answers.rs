//! What runners answer: passed on in good form, cut where it was cut, or told as a 502 (RFC 9112 sections 6 and 8, RFC 9110 section 15).

use crate::case::{Bench, get};
use crate::support::recorder::{SENTINEL, Step};
use crate::support::wire::{Answer, Ended, Fault, Framing};

/// What the client may get.
enum Gets {
    /// This status and this body, whole.
    Whole(u16, &'static str),
    /// The beginning of this body, and no end.
    Cut(&'static str),
    /// An answer of ours with this status.
    Ours(u16),
}

use Gets::{Cut, Ours, Whole};

struct Row {
    name: &'static str,
    source: &'static str,
    bytes: Vec<u8>,
    gets: Vec<Gets>,
}

fn row(name: &'static str, source: &'static str, bytes: impl Into<Vec<u8>>, gets: Vec<Gets>) -> Row {
    Row { name, source, bytes: bytes.into(), gets }
}

impl Row {
    /// Whether its end may be seen without the end of its connection.
    fn may_be_whole(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        let has_end = text.contains("content-length") || text.contains("chunked");
        has_end && self.gets.iter().any(|gets| matches!(gets, Whole(..)))
    }
}

impl Gets {
    fn is(&self, answer: &Answer) -> bool {
        let is_ours = answer.head.fields.has("runpool-outcome");
        match self {
            Whole(status, body) => answer.status == *status && answer.is_whole && answer.text() == *body && !is_ours,
            Cut(body) => !answer.is_whole && body.starts_with(&answer.text()) && !is_ours,
            Ours(status) => answer.status == *status && answer.is_whole && is_ours,
        }
    }
}

/// Plays every row. Another client is served afterwards.
fn judge(bench: &Bench, rows: Vec<Row>) {
    let count = rows.len();
    let mut failures = Vec::new();
    for row in rows {
        println!("{} ({})", row.name, row.source);
        let mut script = vec![Step::ReadBody, Step::Write(row.bytes.clone())];
        // One that closes after a whole answer makes a race of the next request, which may go out before the end is seen.
        if !row.may_be_whole() {
            script.push(Step::Close);
        }
        bench.runner.script(script);
        let mut wire = bench.connect();
        wire.send(get(""));
        let answer = wire.answer("GET");
        let is_wanted = answer.as_ref().is_ok_and(|answer| row.gets.iter().any(|gets| gets.is(answer)));
        let mut next = bench.connect();
        next.send(format!("GET {SENTINEL} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let next = next.answer("GET").map(|answer| (answer.status, answer.text()));
        let tried = bench.runner.take().iter().filter(|arrived| arrived.target() == "/x").count();
        if !is_wanted || next != Ok((200, "ok".to_owned())) || tried != 1 {
            let Row { name, source, bytes, .. } = row;
            let sent = bytes[..bytes.len().min(200)].escape_ascii();
            let got = match answer {
                Ok(answer) => {
                    format!("{} whole {} {:?} {:?}", answer.head.line, answer.is_whole, answer.text(), answer.head.fields.0)
                }
                Err(fault) => format!("{fault:?}"),
            };
            let got: String = got.chars().take(600).collect();
            failures.push(format!(
                "{name} ({source})\n  answered {sent}\n  the client got {got}\n  tried {tried} times; next {next:?}"
            ));
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

#[test]
fn framed_answers_pass_and_the_version_is_always_ours() {
    judge(
        &Bench::start(),
        vec![
            row("a length", "9112 6.2", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", vec![Whole(200, "hello")]),
            row(
                "chunks",
                "9112 7.1",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                vec![Whole(200, "hello")],
            ),
            row(
                "chunks with extensions",
                "9112 7.1.1",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n",
                vec![Whole(200, "hello"), Cut("")],
            ),
            row("until the end", "9112 6.3", "HTTP/1.1 200 OK\r\n\r\nhello", vec![Whole(200, "hello")]),
            row("an empty body", "9112 6.3", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", vec![Whole(200, "")]),
            row("HTTP/1.0", "9112 2.3", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", vec![Whole(200, "hello")]),
            row("HTTP/1.0 until the end", "9112 2.3", "HTTP/1.0 200 OK\r\n\r\nhello", vec![Whole(200, "hello")]),
            row("no reason", "9112 4", "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", vec![Whole(200, "hello")]),
            row(
                "no reason and no space",
                "9112 4",
                "HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
                vec![Whole(200, "hello"), Ours(502)],
            ),
            row(
                "a status nobody knows",
                "9110 15",
                "HTTP/1.1 299 Odd\r\ncontent-length: 5\r\n\r\nhello",
                vec![Whole(299, "hello")],
            ),
            row(
                "a status beyond 599",
                "9110 15",
                "HTTP/1.1 799 Odd\r\ncontent-length: 5\r\n\r\nhello",
                vec![Whole(799, "hello"), Ours(502)],
            ),
            row(
                "a redirect",
                "9110 15.4",
                "HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n",
                vec![Whole(302, "")],
            ),
            row("a failure", "9110 15.6", "HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nhello", vec![Whole(500, "hello")]),
            row(
                "100 fields",
                "9110 5.4",
                format!("HTTP/1.1 200 OK\r\n{}content-length: 5\r\n\r\nhello", "x-a: b\r\n".repeat(90)),
                vec![Whole(200, "hello")],
            ),
            row(
                "trailers",
                "9110 6.5",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
                vec![Whole(200, "hello")],
            ),
        ],
    );
}

#[test]
fn interim_answers_are_not_passed_on() {
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(10_000);
    let bench = Bench::start();
    judge(
        &bench,
        vec![
            row("100", "9110 15.2.1", format!("HTTP/1.1 100 Continue\r\n\r\n{fine}"), vec![Whole(200, "hello")]),
            row("102", "9110 15.2", format!("HTTP/1.1 102 Processing\r\n\r\n{fine}"), vec![Whole(200, "hello")]),
            row(
                "103 with fields",
                "8297 2",
                format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{fine}"),
                vec![Whole(200, "hello")],
            ),
            row(
                "several",
                "9110 15.2",
                format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n{fine}"),
                vec![Whole(200, "hello")],
            ),
            row("10,000", "9110 15.2", format!("{many}{fine}"), vec![Whole(200, "hello"), Ours(502)]),
            row("only one, and the end", "9110 15.2", "HTTP/1.1 100 Continue\r\n\r\n", vec![Ours(502)]),
            row(
                "101 that nobody asked for",
                "9110 15.2.2",
                format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{fine}"),
                vec![Ours(502)],
            ),
            row("101 without a protocol", "9110 15.2.2", "HTTP/1.1 101 Switching Protocols\r\n\r\n", vec![Ours(502)]),
        ],
    );
    // Nor is one told before the answer.
    bench.runner.answer(format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{fine}"));
    let mut wire = bench.connect();
    wire.send(get(""));
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.interim.as_slice(), answer.field("link").as_str()), (&[][..], ""));
}

#[test]
fn an_answer_whose_end_cannot_be_known_is_none() {
    let with = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}");
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let none = |name, lines: &str| row(name, "9112 6.3", with(lines, chunks), vec![Ours(502)]);
    judge(
        &Bench::start(),
        vec![
            row(
                "a length and chunks",
                "9112 6.3",
                with("content-length: 3\r\ntransfer-encoding: chunked\r\n", chunks),
                vec![Ours(502), Whole(200, "hello")],
            ),
            row(
                "chunks and a length",
                "9112 6.3",
                with("transfer-encoding: chunked\r\ncontent-length: 3\r\n", chunks),
                vec![Ours(502), Whole(200, "hello")],
            ),
            none("two lengths that differ", "content-length: 3\r\ncontent-length: 5\r\n"),
            none("a list of lengths that differ", "content-length: 3, 5\r\n"),
            row(
                "two lengths that are the same",
                "9112 6.3",
                with("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
                vec![Ours(502), Whole(200, "hello")],
            ),
            row(
                "a list of one length",
                "9112 6.3",
                with("content-length: 5, 5\r\n", "hello"),
                vec![Ours(502), Whole(200, "hello")],
            ),
            none("a length that is no number", "content-length: x\r\n"),
            none("a signed length", "content-length: +5\r\n"),
            none("a negative length", "content-length: -5\r\n"),
            none("an empty length", "content-length:\r\n"),
            none("a length of more than 64 bits", "content-length: 18446744073709551621\r\n"),
            none("a coding nobody knows", "transfer-encoding: xchunked\r\n"),
            none("chunked twice", "transfer-encoding: chunked, chunked\r\n"),
            none("chunked in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
            none("gzip before", "transfer-encoding: gzip, chunked\r\n"),
            none("gzip alone", "transfer-encoding: gzip\r\n"),
            none("gzip after", "transfer-encoding: chunked, gzip\r\n"),
            row(
                "chunks in HTTP/1.0",
                "9112 6.1",
                format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"),
                vec![Ours(502), Whole(200, "hello")],
            ),
        ],
    );
}

#[test]
fn a_malformed_answer_is_told_as_a_bad_gateway() {
    let with = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}content-length: 5\r\n\r\nhello");
    let bad = |name, bytes: &str| row(name, "9112 4", bytes, vec![Ours(502)]);
    let odd = |name, source, lines: &str| row(name, source, with(lines), vec![Ours(502)]);
    judge(
        &Bench::start(),
        vec![
            bad("nothing", ""),
            bad("nonsense", "how do you do\r\n\r\n"),
            bad("half a head", "HTTP/1.1 200 OK\r\nx-half"),
            bad("half a status line", "HTTP/1.1 20"),
            bad("HTTP/2.0", "HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
            bad("another protocol", "ICY 200 OK\r\n\r\n"),
            bad("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 5\r\n\r\nhello"),
            bad("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 5\r\n\r\nhello"),
            bad("a status that is no number", "HTTP/1.1 2x0 OK\r\ncontent-length: 5\r\n\r\nhello"),
            bad("a negative status", "HTTP/1.1 -20 OK\r\ncontent-length: 5\r\n\r\nhello"),
            bad("a status below 100", "HTTP/1.1 099 OK\r\ncontent-length: 5\r\n\r\nhello"),
            row(
                "a reason with a control character",
                "9112 4",
                "HTTP/1.1 200 O\x01K\r\ncontent-length: 5\r\n\r\nhello",
                vec![Ours(502), Whole(200, "hello")],
            ),
            bad("NUL in the reason", "HTTP/1.1 200 O\0K\r\ncontent-length: 5\r\n\r\nhello"),
            bad("a bare CR in the reason", "HTTP/1.1 200 O\rK\r\ncontent-length: 5\r\n\r\nhello"),
            odd("a space before the colon", "9112 5.1", "x-a : b\r\n"),
            odd("no colon", "9112 5", "x-a\r\n"),
            odd("no name", "9110 5.1", ": b\r\n"),
            odd("a name that is no token", "9110 5.1", "x(a: b\r\n"),
            odd("NUL in a value", "9110 5.5", "x-a: b\0c\r\n"),
            odd("a bare CR in a value", "9110 5.5", "x-a: b\rset-cookie: c\r\n"),
            odd("a control character in a value", "9110 5.5", "x-a: b\x01\r\n"),
            // A proxy may also put a space for the fold.
            row("a folded line", "9112 5.2", with("x-a: b\r\n c\r\n"), vec![Ours(502), Whole(200, "hello")]),
            row("bare LFs", "9112 2.2", "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", vec![Ours(502), Whole(200, "hello")]),
            row("a head of a megabyte", "9110 5.4", with(&format!("x-a: {}\r\n", "b".repeat(1 << 20))), vec![Ours(502)]),
            row("10,000 fields", "9110 5.4", with(&"x-a: b\r\n".repeat(10_000)), vec![Ours(502)]),
        ],
    );
}

#[test]
fn a_cut_answer_reaches_the_client_cut() {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let cut = |name, bytes: String| row(name, "9112 8", bytes, vec![Cut("hello"), Ours(502)]);
    judge(
        &Bench::start(),
        vec![
            cut("less than the length", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".into()),
            cut("nothing of the length", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".into()),
            cut("no last chunk", chunked("5\r\nhello\r\n")),
            cut("half a chunk", chunked("9\r\nhello")),
            cut("half a size", chunked("5\r\nhello\r\n1")),
            cut("no empty line at the end", chunked("5\r\nhello\r\n0\r\n")),
            cut("half a trailer", chunked("5\r\nhello\r\n0\r\nx-t: ")),
            cut("a size that is no number", chunked("5\r\nhello\r\nx\r\n\r\n")),
            cut("a signed size", chunked("5\r\nhello\r\n-1\r\nx\r\n0\r\n\r\n")),
            cut("a size of more than 64 bits", chunked("5\r\nhello\r\n10000000000000001\r\nx\r\n0\r\n\r\n")),
            cut("a chunk that does not end", chunked("5\r\nhelloXX0\r\n\r\n")),
            cut("a bare LF after the size", chunked("5\nhello\r\n0\r\n\r\n")),
            cut("a bare LF after the data", chunked("5\r\nhello\n0\r\n\r\n")),
            cut("a malformed trailer", chunked("5\r\nhello\r\n0\r\nx t: 1\r\n\r\n")),
            cut("an extension with a bare LF", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n")),
        ],
    );
}

#[test]
fn what_a_runner_sends_beyond_its_answer_is_nobodys_answer() {
    let forged = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let bench = Bench::start();
    for (method, bytes, status, body) in [
        ("GET", format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{forged}"), 200, "ok"),
        ("GET", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{forged}"), 200, "ok"),
        ("HEAD", format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{forged}"), 200, ""),
        ("HEAD", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{forged}", forged.len()), 200, ""),
        ("GET", format!("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok{forged}"), 204, ""),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nok{forged}"), 304, ""),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\n\r\n{forged}"), 304, ""),
        ("GET", format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{forged}"), 200, ""),
    ] {
        for _ in 0..5 {
            bench.runner.script(vec![Step::ReadBody, Step::Write(bytes.clone().into_bytes())]);
            let mut wire = bench.connect();
            wire.send(format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n"));
            let answer = wire.answer(method).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (status, body), "{method} {bytes:?}");
            for _ in 0..3 {
                wire.send("GET /again HTTP/1.1\r\nhost: a\r\n\r\n");
                let next = wire.answer("GET").unwrap();
                assert_eq!((next.status, next.text().as_str()), (200, "ok"), "after {method} {bytes:?}");
            }
        }
    }
}

#[test]
fn a_length_that_is_only_told_is_a_length_too() {
    let bench = Bench::start();
    for lines in [
        "content-length: x",
        "content-length: +5",
        "content-length: 5, 6",
        "content-length: 5\r\ncontent-length: 6",
        "content-length:",
    ] {
        for (method, status) in [("HEAD", "200 OK"), ("GET", "304 Not Modified")] {
            bench.runner.script(vec![
                Step::ReadBody,
                Step::Write(format!("HTTP/1.1 {status}\r\n{lines}\r\n\r\n").into()),
                Step::Close,
            ]);
            let mut wire = bench.connect();
            wire.send(format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n"));
            // A malformed one is a fault of the answer in the eyes of this reader.
            let answer = wire.answer(method).unwrap_or_else(|fault| panic!("{method} {lines:?}: {fault:?}"));
            let is_dropped = !answer.head.fields.has("content-length");
            assert!(answer.status == 502 || is_dropped, "{method} {lines:?}: {answer:?}");
        }
    }
}

#[test]
fn an_answer_without_an_end_of_its_own_gets_one() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::ReadBody, Step::Write("HTTP/1.1 200 OK\r\n\r\nhello".into()), Step::Close]);
    let mut wire = bench.connect();
    wire.send(get(""));
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "hello"));
    // A client of 1.0 knows no chunks: the end of its connection is the end.
    let mut wire = bench.connect();
    wire.send("GET /x HTTP/1.0\r\nhost: a\r\n\r\n");
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "hello"));
    bench.runner.answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n");
    let mut wire = bench.connect();
    wire.send("GET /x HTTP/1.0\r\nhost: a\r\n\r\n");
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "hello"));
}

#[test]
fn a_cut_answer_to_a_client_of_1_0_is_a_reset() {
    let bench = Bench::start();
    bench.runner.script(vec![
        Step::ReadBody,
        Step::Write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".into()),
        Step::Close,
    ]);
    let mut wire = bench.connect();
    wire.send("GET /x HTTP/1.0\r\nhost: a\r\n\r\n");
    // Its end has no other sign than that of the connection.
    assert_eq!(wire.rest().1, Ended::Reset);
}

#[test]
fn trailers_of_an_answer_never_become_its_headers() {
    let bench = Bench::start();
    let lines = "x-t: 1\r\nset-cookie: stray\r\ncontent-length: 50\r\nrunpool-outcome: stray\r\ntransfer-encoding: gzip\r\n";
    bench
        .runner
        .answer(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n5\r\nhello\r\n0\r\n{lines}\r\n"));
    let mut wire = bench.connect();
    wire.send(get("te: trailers\r\n"));
    match wire.answer("GET") {
        Ok(answer) => {
            assert_eq!((answer.is_whole, answer.text().as_str()), (true, "hello"));
            for name in ["x-t", "set-cookie", "content-length", "runpool-outcome"] {
                assert!(!answer.head.fields.has(name), "{name}: {answer:?}");
            }
            for name in ["content-length", "transfer-encoding", "runpool-outcome"] {
                assert!(!answer.trailers.has(name), "{name}: {answer:?}");
            }
        }
        Err(Fault::Cut(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}
