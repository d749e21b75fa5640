//! The balancer over plain HTTP servers: what reaches them, what reaches the client, and what streams.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use support::http::{
    Body, Version, call, channel, collect, content_length, dead_address, full, get, metric, plain, scripted, within,
};
use support::roles::{lb, lb_with, pool};
use support::{Running, eventually};

/// The file that README shows, over these servers.
fn example(runners: &[SocketAddr]) -> String {
    let text = include_str!("../examples/plain.toml");
    let runners: Vec<String> = runners.iter().map(|runner| format!("\"{runner}\"")).collect();
    let ours = text.replace("\"127.0.0.1:9001\", \"127.0.0.1:9002\"", &runners.join(", "));
    assert_ne!(ours, text);
    ours
}

fn balancer(directory: &tempfile::TempDir, runners: &[SocketAddr]) -> Running {
    lb_with(directory.path(), &example(runners), &["--workers", "1"])
}

/// Answers with what was asked for: the request line and the headers, sorted, a line each.
async fn show(request: Request<Incoming>) -> Response<Body> {
    let mut lines: Vec<String> =
        request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.insert(0, format!("{} {}", request.method(), request.uri()));
    Response::new(full(lines.join("\n")))
}

/// Answers with the request's body as it comes.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    Response::new(request.into_body().map_err(std::io::Error::other).boxed_unsync())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_example_forwards_every_path_unchanged_over_both_versions_of_http_on_one_port() {
    let directory = tempfile::tempdir().unwrap();
    let runners = [plain(show).await, plain(show).await];
    let lb = balancer(&directory, &runners);
    for version in [Version::Http1, Version::Http2] {
        for target in ["/", "/a%20b/..//c;d?x=%2F&y=a?b", "/invoke/nobody/x?q", "/call/web", "/readyz", "/%ff", "/metrics"] {
            let answer = call(lb.front(), target).method(Method::GET).over(version).send().await.ok();
            assert_eq!(answer.text().lines().next(), Some(format!("GET {target}").as_str()), "{version:?}");
            assert_eq!(answer.header("fn-call-id").len(), 26);
            assert_eq!(answer.header("x-request-id"), answer.header("fn-call-id"));
        }
    }
    for runner in runners {
        let committed = metric(lb.admin(), "lb_runner_attempts_total", &[&runner.to_string(), "outcome=\"committed\""]).await;
        assert!(committed > 0.0, "{runner} was never used");
    }
}

/// The kernel counts who has a descriptor as soon as a process has two threads, for each system call on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_worker_is_the_only_thread_once_those_that_helped_it_have_gone() {
    let directory = tempfile::tempdir().unwrap();
    let lb = balancer(&directory, &[plain(show).await]);
    call(lb.front(), "/").method(Method::GET).send().await.ok();
    assert_eq!(metric(lb.admin(), "lb_calls_total", &["function=\"web\""]).await, 1.0);
    eventually("one thread", async || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", lb.pid())).unwrap().count();
        (threads == 1).then_some(())
    })
    .await;
    call(lb.front(), "/").method(Method::GET).send().await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_pass_both_ways_but_for_those_of_the_connection_and_of_runpool() {
    let directory = tempfile::tempdir().unwrap();
    let runner = plain(async |request: Request<Incoming>| {
        let mut answer = show(request).await;
        *answer.status_mut() = StatusCode::IM_A_TEAPOT;
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "x"),
            ("runpool-outcome", "forged"),
            ("x-many", "1"),
            ("x-many", "2"),
        ] {
            answer.headers_mut().append(name, value.parse().unwrap());
        }
        answer
    })
    .await;
    let lb = balancer(&directory, &[runner]);
    let answer = call(lb.front(), "/x")
        .header("host", "shop.example")
        .header("connection", "keep-alive, x-mine")
        .header("x-mine", 1)
        .header("keep-alive", "timeout=5")
        .header("te", "gzip")
        .header("proxy-authorization", "secret")
        .header("runpool-call", "forged")
        .header("authorization", "Bearer token")
        .header("x-many", 1)
        .header("x-many", 2)
        .header("x-request-id", "abc-1")
        .body("four")
        .send()
        .await;
    assert_eq!((answer.status, answer.header("x-request-id")), (StatusCode::IM_A_TEAPOT, "abc-1"));
    let many: Vec<_> = answer.headers.get_all("x-many").iter().collect();
    assert_eq!(many, ["1", "2"]);
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade", "runpool-outcome"] {
        assert_eq!(answer.headers.get(name), None, "{name}");
    }
    let lines: Vec<&str> = answer.text().lines().filter(|line| !line.starts_with("traceparent: ")).collect();
    assert_eq!(
        lines,
        [
            "POST /x",
            "authorization: Bearer token",
            "content-length: 4",
            "host: shop.example",
            "via: 1.1 runpool",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: http",
            "x-many: 1",
            "x-many: 2",
            "x-request-id: abc-1"
        ]
    );
}

/// A plain server has no workers that could be warm: as long as a slot is free, the default placer waits for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_slot_of_plain_servers_is_used_before_a_call_waits() {
    let directory = tempfile::tempdir().unwrap();
    let all_in = Arc::new(tokio::sync::Barrier::new(8));
    let meet = move |request: Request<Incoming>| {
        let all_in = Arc::clone(&all_in);
        async move {
            if request.uri() == "/meet" {
                all_in.wait().await;
            }
            Response::new(full("here"))
        }
    };
    let (one, two) = (plain(meet.clone()).await, plain(meet).await);
    let runners = format!("{{ address = \"{one}\", slots = 4 }}, {{ address = \"{two}\", slots = 4 }}");
    let text = example(&[one]).replace("placer = \"naive\"", "").replace(&format!("\"{one}\""), &runners);
    let lb = lb(directory.path(), &text);
    // What calls take is known from here on.
    for _ in 0..4 {
        call(lb.front(), "/").send().await.ok();
    }
    let calls: Vec<_> = (0..8).map(|_| call(lb.front(), "/meet").start()).collect();
    for call in calls {
        call.await.unwrap().ok();
    }
    assert_eq!(metric(lb.admin(), "lb_placer_wait_seconds_count", &[]).await, 0.0, "calls that waited beside free slots");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_beside_a_live_one_loses_no_call() {
    for placer in ["naive", "ch"] {
        let directory = tempfile::tempdir().unwrap();
        let (_held, dead) = dead_address();
        let live = plain(echo).await;
        let text = example(&[dead, live]).replace("placer = \"naive\"", &format!("placer = \"{placer}\""));
        let lb = lb(directory.path(), &text);
        let calls: Vec<_> = (0..50).map(|number| call(lb.front(), "/x").body(number.to_string()).start()).collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().ok().text(), number.to_string());
        }
        // A body that is too long to be held is not lost either: of an attempt without a connection nothing was sent.
        let long = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            assert!(call(lb.front(), "/x").body(long.clone()).send().await.ok().body == long);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_sends_reaches_the_server_before_its_end_and_so_does_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let lb = balancer(&directory, &[plain(echo).await]);
    for version in [Version::Http1, Version::Http2] {
        let (sender, body) = channel();
        // More than the balancer holds before it has decided where the call goes.
        let first = Bytes::from(vec![b'1'; 65 * 1024]);
        sender.send(first.clone()).await.unwrap();
        let mut answer = call(lb.front(), "/").over(version).streaming(body).head().await.into_body();
        let mut back = 0;
        while back < first.len() {
            back += within("an echo", answer.frame()).await.unwrap().unwrap().into_data().unwrap().len();
        }
        for number in 0..20_u8 {
            let piece = Bytes::from(vec![number; 100]);
            sender.send(piece.clone()).await.unwrap();
            let mut echoed = Vec::new();
            while echoed.len() < piece.len() {
                echoed.extend(within("an echo", answer.frame()).await.unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(echoed, piece, "{version:?}");
        }
        drop(sender);
        let rest = within("the end", answer.collect()).await.unwrap().to_bytes();
        assert_eq!(rest, "", "{version:?}");
    }
}

/// Nobody's memory fills when the other side does not read: beyond this, somebody buffers without a bound. The kernel's own buffers
/// for both connections are in it.
const MOST_ON_THE_WAY: usize = 48 << 20;
const PIECE: usize = 1 << 20;
const PIECES: usize = 128;

/// Waits until a count has begun and stands still.
async fn standing(count: &AtomicUsize) -> usize {
    let mut looks = Vec::new();
    eventually("a standstill", || {
        looks.push(count.load(Ordering::Relaxed));
        let last = looks.last().copied();
        let is_standing = looks.len() > 20 && last > Some(0) && looks.iter().rev().take(20).all(|look| Some(*look) == last);
        async move { is_standing.then_some(()) }
    })
    .await;
    count.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_the_server_back_and_so_does_a_server_that_does_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let (written, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let download = scripted({
        let written = Arc::clone(&written);
        move |mut connection| {
            let written = Arc::clone(&written);
            async move {
                connection.head().await;
                connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECE * PIECES)).await;
                for _ in 0..PIECES {
                    connection.write(vec![b'x'; PIECE]).await;
                    written.fetch_add(PIECE, Ordering::Relaxed);
                }
            }
        }
    })
    .await;
    let upload = scripted({
        let go_on = Arc::clone(&go_on);
        move |mut connection| {
            let go_on = Arc::clone(&go_on);
            async move {
                let Some(head) = connection.head().await else { return };
                go_on.notified().await;
                let body = connection.body(content_length(&head)).await;
                connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", body.len() >> 20)).await;
            }
        }
    })
    .await;

    let lb = balancer(&directory, &[download]);
    let answer = call(lb.front(), "/").method(Method::GET).head().await;
    assert!(standing(&written).await <= MOST_ON_THE_WAY, "{} bytes are on their way to nobody", written.load(Ordering::Relaxed));
    let answer = within("the rest of the answer", collect(answer)).await.unwrap();
    assert_eq!(answer.body.len(), PIECE * PIECES);

    let lb = balancer(&directory, &[upload]);
    let sent = Arc::new(AtomicUsize::new(0));
    let (sender, body) = channel();
    let length = PIECE * PIECES;
    let call = tokio::spawn(call(lb.front(), "/").header("content-length", length).streaming(body).send());
    let sending = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            for _ in 0..PIECES {
                sender.send(Bytes::from(vec![b'x'; PIECE])).await.unwrap();
                sent.fetch_add(PIECE, Ordering::Relaxed);
            }
        }
    });
    assert!(standing(&sent).await <= MOST_ON_THE_WAY, "{} bytes are on their way to nobody", sent.load(Ordering::Relaxed));
    go_on.notify_one();
    assert_eq!(call.await.unwrap().ok().text(), "128");
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_turns_calls_away_is_passed_over_and_its_answer_stays_with_the_balancer() {
    let directory = tempfile::tempdir().unwrap();
    let turns_away = plain(async |_| {
        let mut answer = Response::new(full("bytes of a refusal"));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert("retry-after", "1".parse().unwrap());
        answer.headers_mut().insert("x-refusal", "1".parse().unwrap());
        answer
    })
    .await;
    // A bare 503 is an answer: functions use it for failures of their own.
    let fails = plain(async |_| {
        let mut answer = Response::new(full("my own failure"));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    })
    .await;
    let lb = balancer(&directory, &[turns_away, fails]);
    for _ in 0..20 {
        let answer = call(lb.front(), "/").body("x").send().await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("x-refusal")), (503, "my own failure", ""));
    }
    let refused = metric(lb.admin(), "lb_placer_retry_busy_total", &[]).await;
    assert!(refused > 0.0, "the runner that turns away was never asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_answers_are_told_as_such_and_their_connections_are_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let runner = scripted({
        let connections = Arc::clone(&connections);
        move |mut connection| {
            connections.fetch_add(1, Ordering::Relaxed);
            async move {
                let Some(head) = connection.head().await else { return };
                let answer = match head.split_whitespace().nth(1) {
                    Some("/half-head") => "HTTP/1.1 200 OK\r\nx-half",
                    Some("/nothing") => "",
                    Some("/garbage") => "how do you do\r\n\r\n",
                    Some("/half-body") => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
                    Some("/half-chunks") => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
                    // More than was announced: it must not become the answer of the next call.
                    Some("/too-much") => {
                        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
                    }
                    _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine",
                };
                connection.write(answer).await;
                // Whoever would use the connection again gets the end of the next answer instead.
                if head.contains("/too-much") && connection.head().await.is_some() {
                    connection.write("HTTP/1.1 500 Used Again\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        }
    })
    .await;
    let lb = lb(directory.path(), &example(&[runner]));
    let mut expected = 0;
    for (target, status, outcome) in
        [("/half-head", 502, "runner_reset"), ("/nothing", 502, "runner_reset"), ("/garbage", 502, "bad_answer")]
    {
        get(lb.front(), target).await.problem(status, outcome);
        expected += 1;
        assert_eq!(connections.load(Ordering::Relaxed), expected, "{target} was tried once");
        assert_eq!(get(lb.front(), "/fine").await.ok().text(), "fine");
        expected += 1;
    }
    for target in ["/half-body", "/half-chunks"] {
        let cut = call(lb.front(), target).method(Method::GET).try_send().await;
        assert!(cut.is_err(), "half an answer passed for a whole one: {cut:?}");
        assert_eq!(get(lb.front(), "/fine").await.ok().text(), "fine");
    }
    for _ in 0..5 {
        assert_eq!(get(lb.front(), "/too-much").await.ok().text(), "ok");
        assert_eq!(get(lb.front(), "/fine").await.ok().text(), "fine");
    }
}

/// Short, and longer than the pauses in which a connection looks at its clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_has_no_longer_than_the_client_gives() {
    let directory = tempfile::tempdir().unwrap();
    let lb = balancer(&directory, &[plain(async |_| std::future::pending().await).await]);
    for (version, millis) in [(Version::Http1, "100"), (Version::Http1, "2500"), (Version::Http2, "100")] {
        let asked = call(lb.front(), "/never").method(Method::GET).over(version).header("x-timeout-ms", millis);
        asked.send().await.problem(504, "deadline_exceeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_used_by_the_very_next_call() {
    let directory = tempfile::tempdir().unwrap();
    let (held, address) = dead_address();
    let text = format!(
        "{}protocol = \"plain\"\n[placement]\nplacer_timeout = \"50ms\"\n[[function]]\nname = \"web\"\n[[route]]\npath = \"/\"\nfunction = \"web\"\n",
        pool(&[address])
    );
    let lb = lb(directory.path(), &text);
    for _ in 0..5 {
        let refused = get(lb.front(), "/").await;
        refused.problem(503, "placer_timeout");
        assert_eq!(refused.header("retry-after"), "1");
    }
    // W7: no connection has a back-off that would keep a recovered runner unused.
    let listener = held.listen(8).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(async |request| Ok::<_, std::convert::Infallible>(echo(request).await));
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
    });
    assert_eq!(call(lb.front(), "/").body("back").send().await.ok().text(), "back");
}

/// P1: a request whose connection is lost without an answer may have had its effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_lost_goes_to_another_server_only_if_it_was_declared_to_be_idempotent() {
    let taken = Arc::new(AtomicUsize::new(0));
    let losing = scripted({
        let taken = Arc::clone(&taken);
        move |mut connection| {
            let taken = Arc::clone(&taken);
            async move {
                connection.head().await;
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let answering = plain(|_| async { Response::new(full("here")) }).await;
    for (declared, method, is_lost) in [
        ("never", Method::GET, true),
        ("by-method", Method::POST, true),
        ("by-method", Method::GET, false),
        ("always", Method::POST, false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = format!("{}\nidempotent = \"{declared}\"\n", example(&[losing, answering]));
        let lb = lb_with(directory.path(), &file, &["--workers", "1"]);
        let before = taken.load(Ordering::Relaxed);
        let mut lost = 0;
        // The strategy begins with either server; one call in two meets the one that loses it, in the long run.
        while taken.load(Ordering::Relaxed) == before {
            let answer = call(lb.front(), "/").method(method.clone()).send().await;
            if answer.status == StatusCode::OK {
                assert_eq!(answer.text(), "here");
            } else {
                answer.problem(502, "runner_reset");
                lost += 1;
            }
        }
        let met = taken.load(Ordering::Relaxed) - before;
        assert_eq!(lost, if is_lost { met } else { 0 }, "{declared} {method}");
    }
}
