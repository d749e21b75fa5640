//! Frames that break the rules of HTTP/2 itself: a stream error or a connection error, and never a request (RFC 9113 sections 4 to 6).

use crate::case::{Bench, Case, case, judge};
use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, head, request, setting,
};
use crate::support::wire::{Ended, Wire};

const GET: &str = "GET /x HTTP/1.1";

fn get(stream: u32) -> Vec<u8> {
    head(stream, END_STREAM, &block(&request("GET", &[])))
}

/// The frames, and a request after them that must not be answered.
fn ends(name: &'static str, source: &'static str, frames: Vec<u8>) -> Case {
    case(name, source, frames).ends()
}

#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let bench = Bench::start();
    for (what, bytes) in [
        ("another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        ("half of it and the end", b"PRI * HTTP/2.0\r\n".to_vec()),
        ("a ping before settings", [PREFACE, &frame(PING, 0, 0, b"12345678")].concat()),
    ] {
        let mut wire = Wire::connect(bench.lb.front());
        wire.send(bytes);
        wire.half_close();
        let (_, ended) = wire.rest();
        assert_ne!(ended, Ended::Silent, "{what}");
        assert!(bench.runner.take().is_empty(), "{what}");
        bench.sentinel().unwrap();
        bench.runner.take();
    }
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.round_trip();
    assert!(client.settings.get(&3).is_some_and(|streams| *streams <= 1_000), "streams are bounded: {:?}", client.settings);
    assert!(client.settings.get(&6).is_some_and(|size| *size <= 1 << 20), "heads are bounded: {:?}", client.settings);
}

#[test]
fn frames_that_cannot_be_end_the_connection() {
    let open = || head(1, 0, &block(&request("POST", &[])));
    let huge = frame(DATA, 0, 1, vec![0; 20_000]);
    judge(
        &Bench::start(),
        vec![
            ends("a frame that is too long", "9113 4.2", [open(), huge].concat()),
            ends("DATA of no stream", "9113 6.1", frame(DATA, 0, 0, "x")),
            ends("HEADERS of no stream", "9113 6.2", frame(HEADERS, END_HEADERS, 0, block(&request("GET", &[])))),
            ends("DATA of a stream that was not opened", "9113 5.1", frame(DATA, END_STREAM, 1, "x")),
            ends("RST_STREAM of a stream that was not opened", "9113 6.4", frame(RST_STREAM, 0, 1, [0; 4])),
            ends("WINDOW_UPDATE of a stream that was not opened", "9113 5.1", frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])),
            ends("a stream with an even number", "9113 5.1.1", get(2)),
            ends("a stream with a smaller number", "9113 5.1.1", [get(5), get(3)].concat()),
            ends("HEADERS on a closed stream", "9113 5.1", [get(1), frame(RST_STREAM, 0, 1, [0; 4]), get(1)].concat())
                .passes(GET),
            ends("padding longer than the frame", "9113 6.1", [open(), frame(DATA, PADDED, 1, b"\x09x")].concat()),
            ends("padding of HEADERS longer than the frame", "9113 6.2", frame(HEADERS, END_HEADERS | PADDED, 1, b"\xffx")),
            ends("RST_STREAM of three bytes", "9113 6.4", [open(), frame(RST_STREAM, 0, 1, [0; 3])].concat()),
            ends("SETTINGS of a stream", "9113 6.5", frame(SETTINGS, 0, 1, [])),
            ends("SETTINGS of five bytes", "9113 6.5", frame(SETTINGS, 0, 0, [0; 5])),
            ends("an acknowledgement with settings", "9113 6.5", frame(SETTINGS, ACK, 0, setting(3, 1))),
            ends("a push setting that is neither", "9113 6.5.2", frame(SETTINGS, 0, 0, setting(2, 2))),
            ends("a window that is too large", "9113 6.5.2", frame(SETTINGS, 0, 0, setting(4, 0x8000_0000))),
            ends("a frame size that is too small", "9113 6.5.2", frame(SETTINGS, 0, 0, setting(5, 100))),
            ends("a frame size that is too large", "9113 6.5.2", frame(SETTINGS, 0, 0, setting(5, 0x0100_0000))),
            ends("PUSH_PROMISE of a client", "9113 8.4", [open(), frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])].concat()),
            ends("PING of a stream", "9113 6.7", frame(PING, 0, 1, b"12345678")),
            ends("PING of seven bytes", "9113 6.7", frame(PING, 0, 0, b"1234567")),
            ends("GOAWAY of a stream", "9113 6.8", frame(GOAWAY, 0, 1, [0; 8])),
            ends("WINDOW_UPDATE of three bytes", "9113 6.9", frame(WINDOW_UPDATE, 0, 0, [0; 3])),
            ends("a window opened by nothing", "9113 6.9", frame(WINDOW_UPDATE, 0, 0, [0; 4])),
            ends("a window opened too far", "9113 6.9.1", frame(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff])),
            ends("PRIORITY of no stream", "9113 6.3", frame(PRIORITY, 0, 0, [0; 5])),
        ],
    );
}

#[test]
fn header_blocks_come_whole_and_can_be_read() {
    let whole = block(&request("GET", &[]));
    let (first, rest) = whole.split_at(10);
    let begins = || frame(HEADERS, END_STREAM, 1, first);
    judge(
        &Bench::start(),
        vec![
            case(
                "a block in three frames",
                "9113 4.3",
                [begins(), frame(CONTINUATION, 0, 1, []), frame(CONTINUATION, END_HEADERS, 1, rest)].concat(),
            )
            .passes(GET),
            ends("CONTINUATION of nothing", "9113 6.10", frame(CONTINUATION, END_HEADERS, 1, &whole)),
            ends("CONTINUATION after the end", "9113 6.10", [get(1), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()),
            ends("CONTINUATION of another stream", "9113 6.10", [begins(), frame(CONTINUATION, END_HEADERS, 3, rest)].concat()),
            ends(
                "another frame between",
                "9113 4.3",
                [begins(), frame(PING, 0, 0, b"12345678"), frame(CONTINUATION, END_HEADERS, 1, rest)].concat(),
            ),
            ends("an index beyond the table", "7541 2.3.3", frame(HEADERS, END_HEADERS | END_STREAM, 1, [0xff, 0xff, 0x7f])),
            ends("index zero", "7541 6.1", frame(HEADERS, END_HEADERS | END_STREAM, 1, [0x80])),
            ends("an integer without an end", "7541 5.1", frame(HEADERS, END_HEADERS | END_STREAM, 1, [0xff; 20])),
            ends("a string longer than the block", "7541 5.2", frame(HEADERS, END_HEADERS | END_STREAM, 1, [0, 0x7e, b'a'])),
            ends(
                "a table larger than was agreed",
                "7541 6.3",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, [0x3f, 0xff, 0xff, 0x7f, 0x82]),
            ),
            ends(
                "a change of the table's size after a field",
                "7541 4.2",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, [0x82, 0x20, 0x86]),
            ),
            ends(
                "Huffman coding with an end of text in it",
                "7541 5.2",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, [0, 0x84, 0xff, 0xff, 0xff, 0xff, 0]),
            ),
        ],
    );
}

#[test]
fn what_is_unknown_or_allowed_is_passed_over() {
    let around = |frames: Vec<u8>| [frames, get(1)].concat();
    judge(
        &Bench::start(),
        vec![
            case("a frame nobody knows", "9113 5.5", around(frame(0xbe, 0xff, 0, "hello"))).passes(GET),
            case("a frame nobody knows, of a stream", "9113 5.5", around(frame(0xbe, 0, 1, "hello"))).passes(GET),
            case("a setting nobody knows", "9113 6.5.2", around(frame(SETTINGS, 0, 0, setting(0xbeef, 7)))).passes(GET),
            case("flags nobody knows", "9113 4.1", around(frame(PING, 0xfe, 0, b"12345678"))).passes(GET),
            case("PRIORITY of a stream to come", "9113 6.3", around(frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1]))).passes(GET),
            case("an empty SETTINGS", "9113 6.5", around(frame(SETTINGS, 0, 0, []))).passes(GET),
            case("a window opened", "9113 6.9", around(frame(WINDOW_UPDATE, 0, 0, [0, 0, 1, 0]))).passes(GET),
            case("a GOAWAY of the client", "9113 6.8", around(frame(GOAWAY, 0, 0, [0; 8]))).passes(GET).ends(),
        ],
    );
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_others_go_on() {
    let bench = Bench::with("limits.max_streams = 8", "");
    bench.runner.script(vec![
        crate::support::recorder::Step::Hold,
        crate::support::recorder::Step::Write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()),
    ]);
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.round_trip();
    for stream in 0..20 {
        client.send(get(stream * 2 + 1));
    }
    client.read_until(|frames| frames.streams.values().filter(|stream| stream.reset == Some(7)).count() >= 12);
    bench.runner.wait_until("eight calls", |arrived| arrived.len() == 8);
    for _ in 0..8 {
        bench.runner.go_on();
    }
    client.read_until(|frames| frames.streams.values().filter(|stream| stream.is_whole).count() == 8);
    assert_eq!(bench.runner.take().len(), 8);
}
