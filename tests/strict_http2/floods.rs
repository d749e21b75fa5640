//! Frames that cost their sender little: the server's memory stays bounded, the runner is spared, and others are served meanwhile
//! (RFC 9113 section 10.5).

use crate::case::Bench;
use crate::support::frames::{
    CONTINUATION, DATA, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, head, request,
    setting,
};
use crate::support::recorder::Step;

/// What a flood may make the balancer grow by. A debug build with its tables; far below what the floods are.
const MOST_GROWTH: usize = 48 << 20;

/// Runs a flood of one client, and asks for others meanwhile and afterwards.
fn flood(bench: &Bench, flood: impl FnOnce(&mut Frames) + Send) -> Frames {
    // What the first connections cost is not the flood's doing.
    for _ in 0..3 {
        bench.sentinel().unwrap();
    }
    let before = bench.lb.memory();
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.round_trip();
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut client));
        for _ in 0..20 {
            bench.sentinel().unwrap();
        }
    });
    bench.sentinel().unwrap();
    let grown = bench.lb.memory().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "grew by {grown} bytes");
    client
}

fn get(stream: u32) -> Vec<u8> {
    head(stream, END_STREAM, &block(&request("GET", &[])))
}

/// CVE-2023-44487.
#[test]
fn requests_that_are_reset_at_once_hardly_reach_the_runner() {
    let bench = Bench::start();
    let client = flood(&bench, |client| {
        for number in 0..10_000_u32 {
            let stream = number * 2 + 1;
            if !client.send([get(stream), frame(RST_STREAM, 0, stream, 8_u32.to_be_bytes())].concat()) {
                break;
            }
        }
        client.round_trip();
    });
    let reached = bench.runner.take().iter().filter(|arrived| arrived.target() == "/x").count();
    assert!(reached <= 1_000, "{reached} of 10,000 reached the runner; goaway {:?} ended {:?}", client.goaway, client.ended);
}

/// CVE-2025-8671: frames that make the server itself reset the stream.
#[test]
fn requests_that_the_server_is_made_to_reset_hardly_reach_the_runner() {
    let bench = Bench::start();
    let client = flood(&bench, |client| {
        for number in 0..10_000_u32 {
            let stream = number * 2 + 1;
            let open = head(stream, 0, &block(&request("POST", &[])));
            // A window opened by nothing is a stream error.
            if !client.send([open, frame(WINDOW_UPDATE, 0, stream, [0; 4])].concat()) {
                break;
            }
        }
        client.round_trip();
    });
    let reached = bench.runner.take().iter().filter(|arrived| arrived.target() == "/x").count();
    assert!(reached <= 1_000, "{reached} of 10,000 reached the runner; goaway {:?} ended {:?}", client.goaway, client.ended);
}

/// CVE-2024-27316.
#[test]
fn a_head_that_never_ends_is_given_up() {
    let bench = Bench::start();
    let client = flood(&bench, |client| {
        client.send(frame(HEADERS, END_STREAM, 1, block(&request("GET", &[]))));
        let more = block(&[("x-a", "b".repeat(16_000))]);
        for _ in 0..20_000 {
            if !client.send(frame(CONTINUATION, 0, 1, &more)) {
                break;
            }
        }
        client.round_trip();
    });
    assert!(
        client.ended.is_some() || client.goaway.is_some() || client.streams.get(&1).is_some_and(|stream| stream.reset.is_some())
    );
    assert!(bench.runner.take().iter().all(|arrived| arrived.target() != "/x"));
}

#[test]
fn a_head_of_empty_continuations_is_given_up() {
    let bench = Bench::start();
    let client = flood(&bench, |client| {
        client.send(frame(HEADERS, END_STREAM, 1, block(&request("GET", &[]))));
        let empty = frame(CONTINUATION, 0, 1, []).repeat(1_000);
        for _ in 0..1_000 {
            if !client.send(&empty) {
                break;
            }
        }
        client.round_trip();
    });
    assert!(client.ended.is_some() || client.goaway.is_some(), "a million empty frames were taken");
}

/// One field in the table, which every further byte names again.
#[test]
fn a_head_that_is_small_packed_and_large_unpacked_is_refused() {
    let bench = Bench::start();
    let client = flood(&bench, |client| {
        for number in 0..50_u32 {
            let mut packed = block(&request("GET", &[]));
            packed.push(0x40);
            packed.extend(&block(&[("x-a", "b".repeat(3_900))])[1..]);
            // The newest entry of the table: index 62.
            packed.extend(vec![0xbe; 12_000]);
            if !client.send(head(number * 2 + 1, END_STREAM, &packed)) {
                break;
            }
        }
        client.round_trip();
    });
    let answers: Vec<_> = client.streams.values().flat_map(|stream| stream.statuses.clone()).collect();
    assert!(answers.iter().all(|status| *status == 431), "{answers:?}");
    assert!(bench.runner.take().iter().all(|arrived| arrived.target() != "/x"));
}

/// RUSTSEC-2026-0258.
#[test]
fn empty_frames_of_data_are_bounded() {
    let bench = Bench::start();
    let client = flood(&bench, |client| {
        client.send(head(1, 0, &block(&request("POST", &[]))));
        let empty = frame(DATA, 0, 1, []).repeat(1_000);
        for _ in 0..1_000 {
            if !client.send(&empty) {
                break;
            }
        }
        client.round_trip();
    });
    assert!(client.ended.is_some() || client.goaway.is_some() || client.pings_answered >= 2);
}

#[test]
fn settings_and_pings_without_end_cost_no_memory() {
    let bench = Bench::start();
    for many in [frame(SETTINGS, 0, 0, setting(4, 65_535)).repeat(1_000), frame(PING, 0, 0, b"12345678").repeat(1_000)] {
        flood(&bench, |client| {
            // The answers are not read: they may not pile up.
            client.wire.stream().set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
            for _ in 0..300 {
                if !client.send(&many) {
                    break;
                }
            }
        });
    }
}

#[test]
fn windows_that_stay_closed_hold_little_of_large_answers() {
    let bench = Bench::start();
    let length = 8 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    answer.extend(vec![b'x'; length]);
    bench.runner.answer(answer);
    let client = flood(&bench, |client| {
        client.opens_windows = false;
        client.send(frame(SETTINGS, 0, 0, setting(4, 0)));
        for number in 0..100_u32 {
            client.send(get(number * 2 + 1));
        }
        client.read_until(|frames| frames.streams.values().filter(|stream| !stream.statuses.is_empty()).count() == 100);
    });
    assert!(client.streams.values().all(|stream| stream.body.is_empty() && !stream.is_whole));
    // Windows that open by one byte are served by one byte.
    let mut client = client;
    client.send(frame(WINDOW_UPDATE, 0, 1, 1_u32.to_be_bytes()));
    client.read_until(|frames| frames.streams[&1].body.len() == 1);
}

#[test]
fn a_client_that_uploads_to_a_runner_that_does_not_read_is_held_back() {
    let bench = Bench::start();
    bench.runner.script(vec![Step::Hold]);
    let client = flood(&bench, |client| {
        client.send(head(1, 0, &block(&request("POST", &[]))));
        // More than the window allows is a connection error: what is sent is the window, and then nothing comes.
        for _ in 0..4 {
            client.send(frame(DATA, 0, 1, vec![b'x'; 16_000]));
        }
        client.round_trip();
    });
    assert_eq!((client.ended, client.goaway), (None, None));
    bench.runner.go_on();
}

#[test]
fn half_a_head_holds_no_place_for_ever() {
    let bench = Bench::with("limits.header_timeout = \"300ms\"", "");
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.round_trip();
    client.send(frame(HEADERS, 0, 1, block(&request("GET", &[]))));
    // The rest never comes: the server ends the connection.
    client.read_until(|frames| frames.goaway.is_some());
    assert!(client.ended != Some(crate::support::wire::Ended::Silent), "the connection was held for ever");
}
