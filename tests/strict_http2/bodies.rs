//! Bodies and trailers of HTTP/2, and how they are framed in HTTP/1.1 (RFC 9113 section 8.1).

use crate::case::{Bench, Case, case, judge};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PADDED, RST_STREAM, block, frame, head, request};
use crate::support::recorder::Step;

const POST: &str = "POST /x HTTP/1.1";

/// A POST with these fields and these pieces of a body.
fn post(fields: &[(&str, &str)], pieces: &[&str]) -> Vec<u8> {
    let mut frames = head(1, 0, &block(&request("POST", fields)));
    for (number, piece) in pieces.iter().enumerate() {
        let flags = if number + 1 == pieces.len() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, 1, piece));
    }
    frames
}

/// A POST with a body and these trailers.
fn trailed(name: &'static str, trailers: &[(&str, &str)]) -> Case {
    let frames = [head(1, 0, &block(&request("POST", &[]))), frame(DATA, 0, 1, "hello"), head(1, END_STREAM, &block(trailers))];
    case(name, "9113 8.1", frames.concat())
}

/// RFC 9110 section 8.6: clients take the stream for broken, or the connection.
#[test]
fn an_answer_that_has_no_content_has_no_length() {
    let bench = Bench::start();
    let mut client = Frames::connect(bench.lb.front(), &[]);
    let mut has_length = |stream, answer: &str| {
        bench.runner.answer(answer);
        client.ask(stream, &request("GET", &[]));
        let answer = client.outcome(stream);
        assert_eq!((answer.is_whole, answer.reset), (true, None));
        // `content-length` from the static table, the value 4 in Huffman's code (RFC 7541 sections 6.2.1 and 6.2.2).
        [&[0x5c, 0x81, 0x6b][..], &[0x0f, 0x0d, 0x81, 0x6b]]
            .iter()
            .any(|field| answer.block.windows(field.len()).any(|window| window == *field))
    };
    assert!(has_length(1, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd"));
    assert!(!has_length(3, "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n"));
}

#[test]
fn a_body_is_as_long_as_its_frames_and_as_it_was_announced() {
    let length = |name, value| case(name, "9113 8.1.1", post(&[("content-length", value)], &["hello"]));
    judge(
        &Bench::start(),
        vec![
            case("no length", "9113 8.1", post(&[], &["hello"])).passes(POST).body("hello"),
            case("no length, in pieces", "9113 8.1", post(&[], &["he", "", "l", "lo", ""])).passes(POST).body("hello"),
            case("no body", "9113 8.1", post(&[], &[""])).passes(POST).body(""),
            length("the right length", "5")
                .passes(POST)
                .with(&["content-length: 5"])
                .without(&["transfer-encoding"])
                .body("hello"),
            length("a length that is too small", "3").malformed().cut(POST),
            length("a length of zero", "0").malformed().cut(POST),
            length("a length that is too large", "7").malformed().cut(POST),
            length("a length that is no number", "x").malformed(),
            length("a signed length", "+5").malformed(),
            length("a negative length", "-5").malformed(),
            length("an empty length", "").malformed(),
            length("a list of lengths", "5, 5").malformed(),
            length("a length beyond 64 bits", "18446744073709551621").malformed().refused(&[413]),
            case("two lengths", "9112 6.3", post(&[("content-length", "5"), ("content-length", "5")], &["hello"])).malformed(),
            case("two lengths that differ", "9112 6.3", post(&[("content-length", "5"), ("content-length", "0")], &["hello"]))
                .malformed(),
            case(
                "a smuggler's length",
                "9113 10.3",
                post(&[("content-length", "0")], &["GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"]),
            )
            .malformed()
            .cut(POST),
            case(
                "a smuggler's coding",
                "9113 8.2.2",
                post(&[("transfer-encoding", "chunked")], &["0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"]),
            )
            .malformed(),
            case("a body that looks like a request", "9113 10.3", post(&[], &["GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"]))
                .passes(POST)
                .body("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
            case("a length and no body", "9113 8.1.1", head(1, END_STREAM, &block(&request("POST", &[("content-length", "5")]))))
                .malformed(),
            case(
                "a length of zero and no body",
                "9113 8.1.1",
                head(1, END_STREAM, &block(&request("POST", &[("content-length", "0")]))),
            )
            .passes(POST)
            .body(""),
            case(
                "padding is not of the body",
                "9113 6.1",
                [head(1, 0, &block(&request("POST", &[]))), frame(DATA, END_STREAM | PADDED, 1, b"\x03hello\0\0\0")].concat(),
            )
            .passes(POST)
            .body("hello"),
            case(
                "a request that is taken back",
                "9113 8.1",
                [
                    head(1, 0, &block(&request("POST", &[]))),
                    frame(DATA, 0, 1, "hello"),
                    frame(RST_STREAM, 0, 1, 8_u32.to_be_bytes()),
                    head(3, END_STREAM, &block(&request("GET", &[("x-other", "1")]))),
                    // The judge waits for stream 1, which is over for this client: the end of the connection tells it.
                    frame(RST_STREAM, 0, 0, 8_u32.to_be_bytes()),
                ]
                .concat(),
            )
            .ends(),
        ],
    );
}

#[test]
fn trailers_are_apart_and_never_framing() {
    judge(
        &Bench::start(),
        vec![
            trailed("one", &[("x-t", "1")]).passes(POST).body("hello").without_head("x-t"),
            trailed("a pseudo-header", &[(":path", "/y")]).malformed().cut(POST),
            trailed("a method", &[(":method", "GET")]).malformed().cut(POST),
            trailed("a status", &[(":status", "200")]).malformed().cut(POST),
            trailed("capitals", &[("X-T", "1")]).malformed().cut(POST),
            trailed("a line end", &[("x-t", "1\r\nx-u: 2")]).malformed().cut(POST),
            trailed("a coding", &[("transfer-encoding", "chunked")]).malformed().cut(POST),
            trailed("connection", &[("connection", "close")]).malformed().cut(POST),
            trailed("a length", &[("content-length", "50")])
                .passes(POST)
                .body("hello")
                .without(&["content-length"])
                .malformed()
                .cut(POST),
            trailed("a host", &[("host", "stray")]).passes(POST).body("hello").never(&["stray"]).malformed().cut(POST),
            trailed("authorization", &[("authorization", "stray")])
                .passes(POST)
                .body("hello")
                .never(&["stray"])
                .malformed()
                .cut(POST),
            trailed("what only runpool says", &[("runpool-call", "stray")])
                .passes(POST)
                .body("hello")
                .never(&["stray"])
                .malformed()
                .cut(POST),
            case(
                "trailers that do not end",
                "9113 8.1",
                [
                    head(1, 0, &block(&request("POST", &[]))),
                    frame(DATA, 0, 1, "hello"),
                    frame(HEADERS, END_HEADERS, 1, block(&[("x-t", "1")])),
                ]
                .concat(),
            )
            .malformed()
            .cut(POST),
            case(
                "data after trailers",
                "9113 5.1",
                [
                    head(1, 0, &block(&request("POST", &[]))),
                    frame(DATA, 0, 1, "hello"),
                    head(1, END_STREAM, &block(&[("x-t", "1")])),
                    frame(DATA, END_STREAM, 1, "more"),
                ]
                .concat(),
            )
            .passes(POST)
            .body("hello")
            .malformed()
            .ends(),
        ],
    );
}

#[test]
fn a_body_that_breaks_off_does_not_pass_for_a_whole_one() {
    let bench = Bench::start();
    for length in [5, 200_000] {
        let mut client = Frames::connect(bench.lb.front(), &[]);
        client.send(head(1, 0, &block(&request("POST", &[]))));
        for _ in 0..length / 5_000 {
            client.send(frame(DATA, 0, 1, vec![b'x'; 1_000]));
        }
        client.send(frame(RST_STREAM, 0, 1, 8_u32.to_be_bytes()));
        client.round_trip();
        client.send(head(3, END_STREAM, &block(&request("GET", &[]))));
        assert_eq!(client.outcome(3).statuses, [200], "the connection goes on");
        let posts: Vec<_> = bench.runner.take().into_iter().filter(|arrived| arrived.head.line == POST).collect();
        assert!(posts.iter().all(|arrived| !arrived.is_whole && arrived.fault.is_none()), "{posts:?}");
    }
}

#[test]
fn answers_of_http_1_1_become_answers_of_http_2() {
    let bench = Bench::start();
    for (answer, statuses, body, is_whole) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", vec![200], "hello", true),
        ("HTTP/1.1 413 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", vec![413], "hello", true),
        (
            "HTTP/1.1 200 OK\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nupgrade: x\r\n\r\nhello",
            vec![200],
            "hello",
            true,
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhello", vec![200], "hello", true),
        ("HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", vec![200], "", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", vec![200], "hello", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", vec![200], "hello", false),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", vec![502], "", true),
        ("nonsense\r\n\r\n", vec![502], "", true),
    ] {
        let has_end = answer.contains("content-length") || answer.contains("chunked");
        let mut script = vec![Step::ReadBody, Step::Write(answer.into())];
        // One that closes after a whole answer makes a race of the next request, which may go out before the end is seen.
        if !(has_end && is_whole) {
            script.push(Step::Close);
        }
        bench.runner.script(script);
        let mut client = Frames::connect(bench.lb.front(), &[]);
        client.ask(1, &request("GET", &[]));
        let stream = client.outcome(1);
        let is_reset_before_its_head = !is_whole && stream.statuses.is_empty() && stream.reset.is_some();
        let is_as_wanted = (&stream.statuses, stream.is_whole) == (&statuses, is_whole);
        assert!(is_as_wanted || is_reset_before_its_head, "{answer:?}: {stream:?}");
        if statuses != [502] && !is_reset_before_its_head {
            assert_eq!(String::from_utf8_lossy(&stream.body), body, "{answer:?}");
        }
        client.ask(3, &request("GET", &[]));
        let next = client.outcome(3);
        assert!(next.statuses.len() == 1 || next.reset.is_some(), "the connection goes on after {answer:?}");
    }
    bench
        .runner
        .answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\ncontent-length: 9\r\n\r\n");
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.ask(1, &request("GET", &[("te", "trailers")]));
    let stream = client.outcome(1);
    assert_eq!((stream.statuses, stream.body, stream.is_whole, stream.blocks), (vec![200], b"hello".to_vec(), true, 2));
    bench.runner.answer("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n");
    client.ask(3, &request("HEAD", &[]));
    let stream = client.outcome(3);
    assert_eq!((stream.statuses, stream.body, stream.is_whole), (vec![200], Vec::new(), true), "an answer to HEAD");
}

#[test]
fn an_answer_that_comes_before_the_body_ends_reaches_the_client() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::Write("HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno".into()), Step::WaitForClose]);
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.send(head(1, 0, &block(&request("POST", &[("content-length", "1000000")]))));
    client.send(frame(DATA, 0, 1, vec![b'x'; 10_000]));
    let stream = client.outcome(1);
    assert_eq!((stream.statuses, stream.body), (vec![413], b"no".to_vec()));
}
