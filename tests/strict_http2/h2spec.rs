//! What h2spec asks of a server, section by section (RFC 9113 and RFC 7541): which frames end a stream, which end the connection, and with
//! which code. A closed connection passes for a code, as it does there.

use crate::case::Bench;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, head, request, setting,
};
use crate::support::recorder::Step;
use crate::support::wire::Ended;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const PRIORITY_FLAG: u8 = 0x20;

/// What has to come of the frames.
enum Want {
    /// The connection ends with one of these codes.
    Connection(&'static [u32]),
    /// Stream 1 ends with one of these codes, or the connection does.
    Stream(&'static [u32]),
    /// Stream 1 is answered 200.
    Answered,
    /// The connection lives: a ping is answered.
    Lives,
}

use Want::{Answered, Connection, Lives, Stream};

struct Row(&'static str, &'static str, Vec<u8>, Want);

fn get(stream: u32) -> Vec<u8> {
    head(stream, END_STREAM, &block(&request("GET", &[])))
}

fn open(stream: u32) -> Vec<u8> {
    head(stream, 0, &block(&request("POST", &[])))
}

/// `HEADERS` of a whole request in one frame with these flags more, and these bytes before and after the block.
fn headers(flags: u8, before: &[u8], after: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM | flags, 1, [before, &block(&request("GET", &[])), after].concat())
}

#[track_caller]
fn judge(bench: &Bench, rows: Vec<Row>) {
    let count = rows.len();
    let failures: Vec<String> = rows.into_iter().filter_map(|row| failure(bench, row)).collect();
    assert!(failures.is_empty(), "{} of {count} cases failed:\n\n{}\n", failures.len(), failures.join("\n"));
}

fn failure(bench: &Bench, Row(name, section, frames, want): Row) -> Option<String> {
    println!("{name} ({section})");
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.round_trip();
    client.send(frames);
    match want {
        Answered => client.read_until(|client| client.goaway.is_some() || client.streams.get(&1).is_some_and(|one| one.is_whole)),
        Lives => client.round_trip(),
        // A GOAWAY with another code is followed by the end of the connection, which is waited for.
        Connection(codes) => client.read_until(|client| client.goaway.is_some_and(|code| codes.contains(&code))),
        Stream(codes) => client.read_until(|client| {
            let reset = client.streams.get(&1).and_then(|one| one.reset);
            [client.goaway, reset].into_iter().flatten().any(|code| codes.contains(&code))
        }),
    }
    let stream = client.streams.get(&1).cloned().unwrap_or_default();
    let is_closed = client.ended.is_some_and(|ended| ended != Ended::Silent);
    let is_wanted = match want {
        Answered => stream.statuses == [200] && stream.is_whole,
        Lives => client.goaway.is_none() && client.pings_answered == 2,
        Connection(codes) => is_closed || client.goaway.is_some_and(|code| codes.contains(&code)),
        Stream(codes) => is_closed || [client.goaway, stream.reset].into_iter().flatten().any(|code| codes.contains(&code)),
    };
    let got = format!("{:?} reset {:?} goaway {:?} ended {:?}", stream.statuses, stream.reset, client.goaway, client.ended);
    let sentinel = bench.sentinel();
    (!is_wanted || sentinel.is_err()).then(|| format!("{name} ({section}): {got} {sentinel:?}"))
}

#[test]
fn frames_and_their_sizes() {
    let large = "x".repeat(20_000);
    judge(
        &Bench::start(),
        vec![
            Row("a frame nobody knows", "4.1", frame(0x16, 0, 0, [0; 8]), Lives),
            Row("a flag nobody knows", "4.1", frame(PING, 0x16, 0, b"12345678"), Lives),
            Row("the reserved bit", "4.1", frame(PING, 0, 0x8000_0000, b"12345678"), Lives),
            Row("DATA of 2^14 bytes", "4.2", [open(1), frame(DATA, END_STREAM, 1, vec![b'x'; 16_384])].concat(), Answered),
            Row(
                "DATA beyond that",
                "4.2",
                [open(1), frame(DATA, END_STREAM, 1, vec![b'x'; 16_385])].concat(),
                Stream(&[FRAME_SIZE_ERROR]),
            ),
            Row(
                "HEADERS beyond that",
                "4.2",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, block(&request("GET", &[("x-a", &large)]))),
                Connection(&[FRAME_SIZE_ERROR]),
            ),
            Row(
                "a block that cannot be read",
                "4.3",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, b"@"),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row(
                "PRIORITY within a block",
                "4.3",
                [frame(HEADERS, END_STREAM, 1, block(&request("GET", &[]))), frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])].concat(),
                Connection(&[PROTOCOL_ERROR]),
            ),
            Row(
                "HEADERS of another stream within a block",
                "4.3",
                [frame(HEADERS, END_STREAM, 1, block(&request("GET", &[]))), get(3)].concat(),
                Connection(&[PROTOCOL_ERROR]),
            ),
            Row("PRIORITY of six bytes", "6.3", frame(PRIORITY, 0, 1, [0; 6]), Stream(&[FRAME_SIZE_ERROR])),
            Row("PRIORITY of four bytes", "6.3", frame(PRIORITY, 0, 1, [0; 4]), Stream(&[FRAME_SIZE_ERROR])),
            Row("PING of six bytes", "6.7", frame(PING, 0, 0, [0; 6]), Connection(&[FRAME_SIZE_ERROR])),
        ],
    );
}

#[test]
fn states_of_streams() {
    let trailers = || frame(HEADERS, END_HEADERS | END_STREAM, 1, block(&[("x-t", "1")]));
    judge(
        &Bench::start(),
        vec![
            Row("idle: DATA", "5.1", frame(DATA, END_STREAM, 1, "x"), Connection(&[PROTOCOL_ERROR, STREAM_CLOSED])),
            Row("idle: RST_STREAM", "5.1", frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), Connection(&[PROTOCOL_ERROR])),
            Row("idle: WINDOW_UPDATE", "5.1", frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 100]), Connection(&[PROTOCOL_ERROR])),
            Row("idle: CONTINUATION", "5.1", frame(CONTINUATION, END_HEADERS, 1, "x"), Connection(&[PROTOCOL_ERROR])),
            Row("half closed: DATA", "5.1", [get(1), frame(DATA, END_STREAM, 1, "x")].concat(), Stream(&[STREAM_CLOSED])),
            Row("half closed: HEADERS", "5.1", [get(1), get(1)].concat(), Stream(&[STREAM_CLOSED])),
            Row(
                "half closed: CONTINUATION",
                "5.1",
                [get(1), frame(CONTINUATION, END_HEADERS, 1, "x")].concat(),
                Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
            ),
            Row(
                "closed by RST_STREAM: DATA",
                "5.1",
                [open(1), frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), frame(DATA, END_STREAM, 1, "x")].concat(),
                Stream(&[STREAM_CLOSED]),
            ),
            Row(
                "closed by RST_STREAM: HEADERS",
                "5.1",
                [open(1), frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), trailers()].concat(),
                Stream(&[STREAM_CLOSED]),
            ),
            Row(
                "closed by RST_STREAM: CONTINUATION",
                "5.1",
                [open(1), frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), frame(CONTINUATION, END_HEADERS, 1, "x")].concat(),
                Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
            ),
            Row("an even stream", "5.1.1", get(2), Connection(&[PROTOCOL_ERROR])),
            Row("a smaller stream", "5.1.1", [get(5), get(3)].concat(), Connection(&[PROTOCOL_ERROR])),
            Row(
                "HEADERS that depend on themselves",
                "5.3.1",
                headers(PRIORITY_FLAG, &[0, 0, 0, 1, 255], &[]),
                Stream(&[PROTOCOL_ERROR]),
            ),
            Row("PRIORITY that depends on itself", "5.3.1", frame(PRIORITY, 0, 1, [0, 0, 0, 1, 255]), Stream(&[PROTOCOL_ERROR])),
            Row(
                "a second HEADERS without an end",
                "8.1",
                [open(1), frame(HEADERS, END_HEADERS, 1, block(&[("x-t", "1")]))].concat(),
                Stream(&[PROTOCOL_ERROR]),
            ),
            Row(
                "an unknown frame within a block",
                "5.5",
                [frame(HEADERS, END_STREAM, 1, block(&request("GET", &[]))), frame(0x16, 0, 1, [0; 8])].concat(),
                Connection(&[PROTOCOL_ERROR]),
            ),
        ],
    );
}

/// The same where the stream is over on both sides.
#[test]
fn streams_that_were_answered() {
    let bench = Bench::start();
    for (what, frames, codes) in [
        ("DATA", frame(DATA, END_STREAM, 1, "x"), [STREAM_CLOSED].as_slice()),
        ("HEADERS", get(1), &[STREAM_CLOSED, PROTOCOL_ERROR]),
        ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, "x"), &[STREAM_CLOSED, PROTOCOL_ERROR]),
    ] {
        let mut client = Frames::connect(bench.lb.front(), &[]);
        client.send(get(1));
        assert_eq!(client.outcome(1).statuses, [200]);
        client.send(frames);
        let is_told =
            |client: &Frames| [client.goaway, client.streams[&1].reset].into_iter().flatten().any(|code| codes.contains(&code));
        client.read_until(is_told);
        let is_closed = client.ended.is_some_and(|ended| ended != Ended::Silent);
        assert!(is_closed || is_told(&client), "{what}: {:?} {:?} {:?}", client.goaway, client.streams[&1].reset, client.ended);
    }
}

#[test]
fn padding_priority_and_compression() {
    judge(
        &Bench::start(),
        vec![
            Row("HEADERS with padding", "6.2", headers(PADDED, &[3], &[0; 3]), Answered),
            Row("HEADERS with a priority", "6.2", headers(PRIORITY_FLAG, &[0, 0, 0, 0, 255], &[]), Answered),
            Row("HEADERS with both", "6.2", headers(PADDED | PRIORITY_FLAG, &[3, 0, 0, 0, 0, 255], &[0; 3]), Answered),
            Row("HEADERS with too much padding", "6.2", headers(PADDED, &[255], &[]), Connection(&[PROTOCOL_ERROR])),
            Row("DATA with padding", "6.1", [open(1), frame(DATA, END_STREAM | PADDED, 1, b"\x02hello\0\0")].concat(), Answered),
            Row(
                "DATA with too much padding",
                "6.1",
                [open(1), frame(DATA, END_STREAM | PADDED, 1, b"\x06hello")].concat(),
                Connection(&[PROTOCOL_ERROR]),
            ),
            Row("an index beyond the tables", "hpack 2.3.3", headers(0, &[], &[0xc6]), Connection(&[COMPRESSION_ERROR])),
            Row(
                "a name's index beyond the tables",
                "hpack 2.3.3",
                headers(0, &[], &[0x7f, 0x80, 0x01, 1, b'a']),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row(
                "a change of the table's size at the end",
                "hpack 4.2",
                headers(0, &[], &[0x20]),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row(
                "Huffman padding of more than seven bits",
                "hpack 5.2",
                headers(0, &[], &[0, 0x83, 0x94, 0xe7, 0x82, 0x85, 0x86, 0xa0, 0xe4, 0x1d, 0xff]),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row(
                "Huffman padding of zeros",
                "hpack 5.2",
                headers(0, &[], b"\0\x84\x7f\x00\x85\xf2\xb2\x4a\x87\xff\xff\xff\xfd\x25\x42\x7f\x00"),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row(
                "Huffman coding with the end of text",
                "hpack 5.2",
                headers(0, &[], b"\0\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xff\xfd\x25\x42\x7f"),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row("index zero", "hpack 6.1", headers(0, &[], &[0x80]), Connection(&[COMPRESSION_ERROR])),
            Row(
                "a table beyond what was agreed",
                "hpack 6.3",
                headers(0, &[0x3f, 0xe2, 0x1f], &[]),
                Connection(&[COMPRESSION_ERROR]),
            ),
            Row("a table of no size", "hpack 6.3", headers(0, &[0x20], &[]), Answered),
            Row("a table that grows again", "hpack 4.2", headers(0, &[0x20, 0x3f, 0xe1, 0x1f], &[]), Answered),
        ],
    );
}

#[test]
fn settings_and_windows() {
    let update = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, by.to_be_bytes());
    judge(
        &Bench::start(),
        vec![
            Row("a setting nobody knows", "6.5.2", frame(SETTINGS, 0, 0, setting(0xff, 1)), Lives),
            Row("a push setting of 2", "6.5.2", frame(SETTINGS, 0, 0, setting(2, 2)), Connection(&[PROTOCOL_ERROR])),
            Row(
                "a window beyond 2^31 - 1",
                "6.5.2",
                frame(SETTINGS, 0, 0, setting(4, 0x8000_0000)),
                Connection(&[FLOW_CONTROL_ERROR]),
            ),
            Row("frames below 2^14", "6.5.2", frame(SETTINGS, 0, 0, setting(5, 16_383)), Connection(&[PROTOCOL_ERROR])),
            Row("frames beyond 2^24 - 1", "6.5.2", frame(SETTINGS, 0, 0, setting(5, 16_777_216)), Connection(&[PROTOCOL_ERROR])),
            Row("settings of a stream", "6.5", frame(SETTINGS, 0, 1, setting(3, 100)), Connection(&[PROTOCOL_ERROR])),
            Row("settings of three bytes", "6.5", frame(SETTINGS, 0, 0, [0; 3]), Connection(&[FRAME_SIZE_ERROR])),
            Row("acknowledged settings with a payload", "6.5", frame(SETTINGS, 1, 0, [0]), Connection(&[FRAME_SIZE_ERROR])),
            Row("a window opened by nothing", "6.9", update(0, 0), Connection(&[PROTOCOL_ERROR])),
            Row("a stream's window opened by nothing", "6.9", [open(1), update(1, 0)].concat(), Stream(&[PROTOCOL_ERROR])),
            Row(
                "a window opened beyond 2^31 - 1",
                "6.9.1",
                [update(0, 0x7fff_ffff), update(0, 0x7fff_ffff)].concat(),
                Connection(&[FLOW_CONTROL_ERROR]),
            ),
            Row(
                "a stream's window opened beyond 2^31 - 1",
                "6.9.1",
                [open(1), update(1, 0x7fff_ffff), update(1, 0x7fff_ffff)].concat(),
                Stream(&[FLOW_CONTROL_ERROR]),
            ),
            Row("a GOAWAY with a code nobody knows", "7", frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0xff]), Connection(&[0])),
            Row(
                "a RST_STREAM with a code nobody knows",
                "7",
                [open(1), frame(RST_STREAM, 0, 1, [0, 0, 0, 0xff])].concat(),
                Lives,
            ),
            Row("RST_STREAM of no stream", "6.4", frame(RST_STREAM, 0, 0, [0, 0, 0, 8]), Connection(&[PROTOCOL_ERROR])),
            Row(
                "RST_STREAM of three bytes",
                "6.4",
                [open(1), frame(RST_STREAM, 0, 1, [0; 3])].concat(),
                Connection(&[FRAME_SIZE_ERROR]),
            ),
            Row("GOAWAY of a stream", "6.8", frame(GOAWAY, 0, 1, [0; 8]), Connection(&[PROTOCOL_ERROR])),
        ],
    );
}

#[test]
fn windows_are_kept_to_the_byte() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::ReadBody, Step::Write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789".into())]);
    let body = |client: &Frames| client.streams.get(&1).map_or(0, |stream| stream.body.len());
    // The last of two values counts.
    let mut client = Frames::connect(bench.lb.front(), &[setting(4, 100), setting(4, 1)].concat());
    client.opens_windows = false;
    client.send(get(1));
    client.read_until(|client| body(client) == 1);
    client.round_trip();
    assert_eq!(body(&client), 1);
    // A window that becomes negative, and then less so, gives nothing.
    client.send(frame(SETTINGS, 0, 0, setting(4, 0)));
    client.send(frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]));
    client.round_trip();
    client.round_trip();
    assert_eq!(body(&client), 1, "the window is where it was");
    client.send(frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 2]));
    client.read_until(|client| body(client) == 3);
    client.send(frame(SETTINGS, 0, 0, setting(4, 100)));
    client.read_until(|client| client.streams[&1].is_whole);
    assert_eq!(body(&client), 9);
}
