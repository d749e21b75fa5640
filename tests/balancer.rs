//! The balancer over agents: what functions and clients see of each other, what each failure is called, and that every call that can be
//! run is run.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use support::http::{Answer, Call, Version, call, channel, get, metric, scripted, within};
use support::meeting::Meeting;
use support::roles::{job, lb, pool, runner, runner_with, worker};
use support::{Running, eventually};

/// One agent behind a balancer.
struct Pair {
    directory: tempfile::TempDir,
    runner: Running,
    lb: Running,
}

/// The agent has room for what a test calls at once.
fn pair(configuration: &str) -> Pair {
    pair_with(runner(4), configuration)
}

fn pair_with(runner: Running, configuration: &str) -> Pair {
    let directory = tempfile::tempdir().unwrap();
    // Tables of the pool come before those of functions.
    let lb = lb(directory.path(), &format!("{}{configuration}", pool(&[runner.runner()])));
    Pair { directory, runner, lb }
}

impl Pair {
    fn call(&self, target: &str) -> Call {
        call(self.lb.front(), target)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_its_status_and_word_and_an_id_and_does_not_stick() {
    let functions = [
        &worker("f"),
        &format!("{}timeout = \"300ms\"\n", worker("short")),
        &format!("{}[function.config]\nINIT_EXIT = \"3\"\n", worker("broken")),
        &format!("{}[function.config]\nINIT_MEET = \"1\"\n", worker("lost")),
        &worker("vast").replace("64MiB", "1TiB"),
        &job("job", "cat; exit $FN_HEADER_X_EXIT"),
    ]
    .map(String::as_str)
    .concat();
    let pair = pair_with(
        runner_with(4, &["--set", "runner.max_answer_body=1MiB", "--set", "runner.max_answer_head=16KiB"]),
        &format!("[front]\nmax_body = \"1MiB\"\n{functions}"),
    );
    let invoke = |function: &str| pair.call(&format!("/invoke/{function}"));
    let meeting = Meeting::new().await;
    let long = || Bytes::from(vec![b'x'; (1 << 20) + 1]);
    let chunked = || {
        let (sender, body) = channel();
        tokio::spawn(async move { while sender.send(Bytes::from(vec![b'x'; 1 << 16])).await.is_ok() {} });
        body
    };
    for (name, call, status, outcome, text) in [
        ("unknown function", invoke("nobody"), 404, "not_found", "there is no function `nobody`"),
        ("no route", pair.call("/t/app/route"), 404, "not_found", "no route matches /t/app/route"),
        (
            "a long body, announced",
            invoke("f").body(long()),
            413,
            "body_too_large",
            "the body is longer than the 1048576 bytes allowed",
        ),
        (
            "a long body in chunks",
            invoke("f").streaming(chunked()),
            413,
            "body_too_large",
            "the body is longer than the 1048576 bytes allowed",
        ),
        ("a bad deadline", invoke("f").header("x-timeout-ms", "soon"), 400, "bad_request", "header x-timeout-ms is"),
        ("failed by its own account", invoke("f").header("x-status", 502), 502, "function_failed", "function failed"),
        (
            "a job that failed",
            invoke("job").header("x-exit", 3),
            502,
            "function_failed",
            "function failed: its process ended with status 3",
        ),
        ("exit", invoke("f").header("x-exit", 0), 502, "function_crashed", "error receiving function response"),
        ("crash", invoke("f").header("x-signal", 11), 502, "function_crashed", "error receiving function response"),
        ("garbage", invoke("f").header("x-garbage", 1), 502, "bad_answer", "invalid function response"),
        ("a strange status", invoke("f").header("x-status", 500), 502, "bad_answer", "invalid function response"),
        (
            "hung",
            invoke("short").header("x-meet", meeting.port),
            504,
            "function_timeout",
            "function timed out: it ran longer than 300ms",
        ),
        ("timed out by its own account", invoke("f").header("x-status", 504), 504, "function_timeout", "function timed out"),
        ("fails at its start", invoke("broken"), 502, "init_failed", "function failed to initialize"),
        ("more memory than there is", invoke("vast"), 400, "impossible", "function `vast` wants 1TiB of memory"),
        (
            "a long answer",
            invoke("f").header("x-bytes", (1 << 20) + 1),
            502,
            "answer_too_large",
            "function response body too large",
        ),
        ("a long head", invoke("f").header("x-head", 20_000), 502, "answer_too_large", "function response header too large"),
    ] {
        let answer = call.header("x-request-id", "mine").send().await;
        let message = answer.problem(status, outcome);
        assert!(message.starts_with(text), "{name}: {message}");
        assert_eq!((answer.header("x-request-id"), answer.header("fn-call-id").len()), ("mine", 26), "{name}");
        let next = invoke("f").body("next").send().await.ok();
        assert_eq!((next.text(), next.header("fn-call-id").len()), ("next", 26), "after {name}");
    }
    // Only POST is Fn's invoke; anything else is an HTTP request to the function.
    assert_eq!(invoke("f").method(Method::PUT).body("put").send().await.ok().text(), "put");
}

// Case 42.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_does_not_listen_in_time_is_an_init_timeout() {
    let meeting = Meeting::new().await;
    let slow = worker("slow").replace("init_timeout = \"60s\"", "init_timeout = \"200ms\"");
    let pair = pair(&format!("{slow}[function.config]\nINIT_MEET = \"{}\"\n", meeting.port));
    let answer = pair.call("/invoke/slow").send().await;
    assert!(answer.problem(504, "init_timeout").starts_with("function initialization timed out"));
}

// Cases 37, 43, 45.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_arrive_whole_whatever_their_length() {
    let pair = pair_with(
        runner_with(4, &["--set", "runner.max_answer_body=6MiB"]),
        &[worker("f"), job("job", "head -c $FN_HEADER_X_BYTES /dev/zero")].concat(),
    );
    for version in [Version::Http1, Version::Http2] {
        let invoke = |function: &str| pair.call(&format!("/invoke/{function}")).over(version);
        assert_eq!(invoke("f").body("echo").send().await.ok().text(), "echo");
        for _ in 0..2 {
            let empty = invoke("f").send().await.ok();
            assert_eq!((empty.body.len(), empty.header("fn-call-id").len()), (0, 26));
        }
        let lying = invoke("f").header("x-set", "content-type=image/png").body("no picture").send().await.ok();
        assert_eq!((lying.header("content-type"), lying.text()), ("image/png", "no picture"));
        for form in ["x-announced", "x-chunked"] {
            let big = invoke("f").header("x-bytes", 5_300_000).header(form, 1).send().await.ok();
            assert_eq!(big.body.len(), 5_300_000, "{version:?} {form}");
            assert!(big.body.iter().all(|byte| *byte == b'x'));
        }
        assert_eq!(invoke("job").header("x-bytes", 5_300_000).send().await.ok().body.len(), 5_300_000);
        let too_big = invoke("f").header("x-bytes", 6_300_000).send().await;
        assert_eq!(too_big.problem(502, "answer_too_large"), "function response body too large");
        // Too long and not announced: the client has its beginning already, and must not take it for whole.
        assert!(invoke("f").header("x-bytes", 6_300_000).header("x-chunked", 1).try_send().await.is_err());
    }
}

// Case 40, and 47 as far as there are triggers: a route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_an_http_request_to_the_function_framed_both_ways() {
    let pair = pair(&format!("{}[[route]]\npath = \"/shop\"\nfunction = \"f\"\n", worker("f")));
    let answer = pair
        .call("/shop/a%20b?q=1")
        .method(Method::PUT)
        .header("host", "shop.example")
        .header("x-show", 1)
        .header("x-many", 1)
        .header("x-many", 2)
        .header("content-type", "text/x")
        .header("keep-alive", "timeout=5")
        .header("x-set", "Fn-Http-Status=202")
        .header("x-set", "Fn-Http-H-X-Colour=red")
        .header("x-set", "Fn-Http-H-X-Colour=blue")
        .header("x-set", "Fn-Http-H-Keep-Alive=timeout=5")
        .header("x-set", "Fn-Http-H-Fn-Call-Id=forged")
        .header("x-set", "X-Not-Framed=1")
        .header("x-set", "Content-Type=text/y")
        .body("body")
        .send()
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (202, "text/y"));
    let colours: Vec<_> = answer.headers.get_all("x-colour").iter().collect();
    assert_eq!(colours, ["red", "blue"]);
    assert!(!answer.headers.contains_key("x-not-framed") && !answer.headers.contains_key("keep-alive"));
    let ids: Vec<_> = answer.headers.get_all("fn-call-id").iter().collect();
    assert!(ids.len() == 1 && ids[0] != "forged", "{ids:?}");
    let shown = answer.text();
    assert!(shown.starts_with("POST /call HTTP/1.1\n"), "{shown}");
    for line in [
        "fn-intent: httprequest",
        "fn-http-method: PUT",
        "fn-http-request-url: http://shop.example/shop/a%20b?q=1",
        "content-type: text/x",
        "fn-http-h-x-many: 1",
        "fn-http-h-x-many: 2",
        &format!("fn-call-id: {}", answer.header("fn-call-id")),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line} in {shown}");
    }
    assert!(!shown.contains("keep-alive") && !shown.contains("\nx-many"), "{shown}");
    for (row, status, outcome) in [
        (("x-exit", 1), 502, "function_crashed"),
        (("x-status", 502), 502, "function_failed"),
        (("x-head", 70_000), 502, "answer_too_large"),
    ] {
        pair.call("/shop").header(row.0, row.1).send().await.problem(status, outcome);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_trace_reaches_the_function_with_its_id_and_its_sampled_flag() {
    let pair = pair(&[worker("f"), job("job", "echo $TRACEPARENT")].concat());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for flags in ["00", "01"] {
        let parent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
        let invoke =
            |function: &str| pair.call(&format!("/invoke/{function}")).header("traceparent", &parent).header("tracestate", "v=1");
        let shown = invoke("f").header("x-show", 1).send().await.ok();
        let line = shown.text().lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap().to_owned();
        let of_job = invoke("job").send().await.ok().text().trim().to_owned();
        for seen in [line, of_job] {
            let parts: Vec<&str> = seen.split('-').collect();
            assert_eq!((parts[1], parts[3]), (trace, flags), "{seen}");
        }
        assert!(shown.text().lines().any(|line| line == "tracestate: v=1"));
    }
    let without = pair.call("/invoke/f").header("x-show", 1).send().await.ok();
    assert!(without.text().contains("\ntraceparent: 00-"), "{}", without.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_nobody_takes_in_time_is_503_with_a_time_to_come_back() {
    let meeting = Meeting::new().await;
    let placement = "[placement]\nplacer_timeout = \"200ms\"\ndetached_placer_timeout = \"100ms\"\n";
    let pair = pair_with(runner(1), &format!("{placement}{}", worker("f")));
    let running = pair.call("/invoke/f").header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    for kind in ["sync", "detached"] {
        let answer = pair.call("/invoke/f").header("fn-invoke-type", kind).send().await;
        assert_eq!(answer.problem(503, "placer_timeout"), "no runner took the call until the time to place it was up", "{kind}");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=3_600).contains(&seconds));
    }
    // The client's own deadline is shorter than that of the placer.
    let late = pair.call("/invoke/f").header("x-timeout-ms", 50).send().await;
    late.problem(504, "deadline_exceeded");
    guest.release().await;
    running.await.unwrap().ok();
    assert_eq!(metric(pair.lb.admin(), "lb_server_busy_total", &["function=\"f\""]).await, 2.0);
    assert_eq!(metric(pair.lb.admin(), "lb_placer_timeout_total", &[]).await, 2.0);
}

// Case 44, and what happens to a detached call whose balancer is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_call_is_answered_at_its_start_and_ends_though_the_balancer_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (gate, done) = (directory.path().join("gate"), directory.path().join("done"));
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("read word < '{}'; cat > '{}'; echo $word >> '{1}'", gate.display(), done.display());
    let mut pair = pair(&format!("{}timeout = \"60s\"\n", job("job", &script)));
    let accepted = pair.call("/invoke/job").header("fn-invoke-type", "detached").body("body").send().await;
    assert_eq!((accepted.status.as_u16(), accepted.body.len(), accepted.header("content-length")), (202, 0, "0"));
    assert_eq!(accepted.header("fn-call-id").len(), 26);
    pair.lb.kill();
    // It waits for this word.
    let word = tokio::task::spawn_blocking(move || std::fs::write(gate, "end\n"));
    within("the function reads", word).await.unwrap().unwrap();
    eventually("the function ended", || {
        let text = std::fs::read_to_string(&done).unwrap_or_default();
        async move { (text == "bodyend\n").then_some(()) }
    })
    .await;
    drop(pair.runner);
    drop(pair.directory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_answers_while_it_is_still_being_sent_to() {
    let pair = pair(&job("job", "cat"));
    for version in [Version::Http1, Version::Http2] {
        let (sender, body) = channel();
        // More than a job's output is held to see its exit status.
        let piece = Bytes::from(vec![b'x'; 100 * 1024]);
        sender.send(piece.clone()).await.unwrap();
        let mut answer = pair.call("/invoke/job").over(version).streaming(body).head().await.into_body();
        let mut back = 0;
        for sent in 1..=3 {
            while back < sent * piece.len() {
                back += within("an echo", answer.frame()).await.unwrap().unwrap().into_data().unwrap().len();
            }
            sender.send(piece.clone()).await.unwrap();
        }
        drop(sender);
        let rest = within("the end", answer.collect()).await.unwrap().to_bytes();
        assert_eq!(back + rest.len(), 4 * piece.len(), "{version:?}");
    }
}

/// An agent that refuses every call as busy, and counts the calls and the bytes that came after their heads.
struct Refuser {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

async fn refuser() -> Refuser {
    let (calls, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&calls), Arc::clone(&bytes));
    let address = scripted(move |mut connection| {
        let (calls, bytes) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
        async move {
            use tokio::io::AsyncReadExt as _;
            let Some(head) = connection.head().await else { return };
            if head.starts_with("GET ") {
                // It is asked how it is, and closes.
                return;
            }
            assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
            connection
                .write("HTTP/1.1 503 Busy\r\nrunpool-refused: busy\r\nx-refusal: 1\r\ncontent-length: 7\r\n\r\nrefused")
                .await;
            let mut rest = Vec::new();
            let _ = connection.stream.read_to_end(&mut rest).await;
            bytes.fetch_add(rest.len(), Ordering::Relaxed);
            calls.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    Refuser { address, calls, bytes }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_upload_arrives_whole_and_agents_that_refuse_it_get_no_byte_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (refuser, drained, taker) = (refuser().await, runner(4), runner(4));
    assert_eq!(call(drained.runner(), "/drain").send().await.status.as_u16(), 200);
    // Nobody is asked how it is: the refuser knows calls only, and the one that drains is to be tried.
    let text = format!(
        "{}[pool.health]\ninterval = \"0s\"\n[placement]\nplacer = \"naive\"\n{}",
        pool(&[refuser.address, drained.runner(), taker.runner()]),
        [worker("f"), job("job", "cat")].concat()
    );
    let lb = lb(directory.path(), &text);
    let body: Bytes = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    for number in 0..20 {
        let version = if number % 2 == 0 { Version::Http1 } else { Version::Http2 };
        let function = if number % 4 < 2 { "/invoke/f" } else { "/invoke/job" };
        let mut call = call(lb.front(), function).over(version);
        if number % 3 == 0 {
            let (sender, streamed) = channel();
            let body = body.clone();
            tokio::spawn(async move {
                for piece in body.chunks(100_000) {
                    sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
                }
            });
            call = call.streaming(streamed);
        } else {
            call = call.body(body.clone());
        }
        let answer = call.send().await.ok();
        assert!(answer.body == body, "{} bytes came back for {}", answer.body.len(), body.len());
        assert_eq!(answer.header("x-refusal"), "");
    }
    let refused = metric(lb.admin(), "lb_runner_attempts_total", &["outcome=\"draining\""]).await;
    assert!(refused > 0.0, "the drained agent was never asked");
    let asked = metric(lb.admin(), "lb_runner_attempts_total", &[&refuser.address.to_string(), "outcome=\"busy\""]).await;
    eventually("every connection to the refuser has ended", || async {
        (refuser.calls.load(Ordering::Relaxed) as f64 >= asked).then_some(())
    })
    .await;
    assert!(asked > 0.0, "the refuser was never asked");
    assert_eq!(refuser.bytes.load(Ordering::Relaxed), 0);
}

/// Three agents of one slot each behind a balancer.
async fn crowd(placer: &str, functions: &str) -> (Vec<Running>, Running, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let runners: Vec<Running> = (0..3).map(|_| runner(1)).collect();
    let addresses: Vec<SocketAddr> = runners.iter().map(Running::runner).collect();
    let text = format!("{}[placement]\nplacer = \"{placer}\"\n{functions}", pool(&addresses));
    let lb = lb(directory.path(), &text);
    (runners, lb, directory)
}

// Case 46, its first half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_there_are_slots_are_all_answered_by_every_runner_with_either_placer() {
    for placer in ["naive", "ch"] {
        let (runners, lb, _directory) = crowd(placer, &job("job", "sleep 0.2; cat")).await;
        let calls: Vec<_> = (0..30).map(|number| call(lb.front(), "/invoke/job").body(number.to_string()).start()).collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().ok().text(), number.to_string());
        }
        let placed = metric(lb.admin(), "lb_placer_placed_ok_total", &[]).await;
        let attempts = metric(lb.admin(), "lb_placer_attempts_sum", &[]).await;
        let busy = metric(lb.admin(), "lb_placer_retry_busy_total", &[]).await;
        let other = metric(lb.admin(), "lb_placer_retry_error_total", &[]).await;
        let waited = metric(lb.admin(), "lb_placer_latency_seconds_sum", &[]).await;
        println!("{placer}: placed {placed}, attempts {attempts}, refused busy {busy}, otherwise {other}, placing {waited:.3} s");
        assert_eq!((placed, attempts), (30.0, placed + busy + other));
        for runner in &runners {
            let committed =
                metric(lb.admin(), "lb_runner_attempts_total", &[&runner.runner().to_string(), "outcome=\"committed\""]).await;
            assert!(committed > 0.0, "{placer}: a runner was never used");
        }
    }
}

// Case 46, its second half: 202 means that the function has started, so that each waits for a slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_detached_calls_than_there_are_slots_are_all_accepted_and_all_run_once() {
    let directory = tempfile::tempdir().unwrap();
    let runs = directory.path().join("runs");
    let (_runners, lb, _directory) = crowd("ch", &job("job", &format!("cat >> '{}'", runs.display()))).await;
    let calls: Vec<_> = (10..20)
        .map(|number| call(lb.front(), "/invoke/job").header("fn-invoke-type", "detached").body(format!("{number}\n")).start())
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().status.as_u16(), 202);
    }
    let lines = eventually("ten runs", || {
        let text = std::fs::read_to_string(&runs).unwrap_or_default();
        async move { (text.len() >= 30).then_some(text) }
    })
    .await;
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, (10..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

// W8: bodies of detached calls that are still being sent when another begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_bodies_of_detached_calls_never_mix() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "cat > '{}'/$FN_HEADER_X_NUMBER.part && mv '{0}'/$FN_HEADER_X_NUMBER.part '{0}'/$FN_HEADER_X_NUMBER",
        directory.path().display()
    );
    let pair = pair(&job("job", &script));
    let body = |number: u8| Bytes::from(vec![b'a' + number; 5 << 20]);
    let detached = |number: u8, length: usize| {
        let body = body(number).slice(..length.min(5 << 20));
        pair.call("/invoke/job").header("fn-invoke-type", "detached").header("x-number", number).body(body)
    };
    let calls: Vec<_> = (0..8).map(|number| detached(number, 5 << 20).start()).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().status.as_u16(), 202);
    }
    for number in 0..8 {
        let file = directory.path().join(number.to_string());
        eventually("a detached call ended", || async { file.exists().then_some(()) }).await;
        assert!(std::fs::read(&file).unwrap() == body(number), "call {number} has bytes of another");
    }
    // Nobody may be there to send it later, so that there is a bound.
    let too_long: Answer = pair
        .call("/invoke/job")
        .header("fn-invoke-type", "detached")
        .header("x-number", 9)
        .body(vec![b'z'; 8 << 20])
        .send()
        .await;
    assert_eq!(too_long.problem(413, "body_too_large"), "request body of a detached call too large: expected at most 6MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_one_connection_and_many_at_once_on_another_keep_their_own_bytes() {
    let pair = pair(&worker("f"));
    let stream = tokio::net::TcpStream::connect(pair.lb.front()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let calls: Vec<_> = (0..40_u32)
        .map(|number| {
            let mut sender = sender.clone();
            let body = number.to_string().repeat(1 + (number as usize % 7) * 5_000);
            let request = http::Request::post(format!("http://{}/invoke/f", pair.lb.front()))
                .body(support::http::full(body.clone()))
                .unwrap();
            tokio::spawn(async move {
                let answer = support::http::collect(sender.send_request(request).await.unwrap()).await.unwrap().ok();
                assert!(answer.text() == body, "call {number} got other bytes");
            })
        })
        .collect();
    for call in calls {
        within("an answer", call).await.unwrap();
    }
    assert_eq!(get(pair.lb.admin(), "/readyz").await.status.as_u16(), 200);
}

// Found by the test before: whoever answers before the whole request is read must not lose the answer, nor the next request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_refused_before_its_body_came_leaves_its_connection_usable() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let pair = pair(&job("job", "true"));
    assert_eq!(call(pair.runner.runner(), "/drain").send().await.status.as_u16(), 200);
    let head = "POST /invoke/nobody HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n";
    let to_agent = "runpool-call: 01M80TE9PJFW00008ZJ0000002\r\nrunpool-function: ";
    let refused = format!("{head}{to_agent}{}\r\n\r\n", "a".repeat(64)).replace("/invoke/nobody", "/call/nobody");
    for (address, request, answer) in
        [(pair.lb.front(), format!("{head}\r\n"), "HTTP/1.1 404 "), (pair.runner.runner(), refused, "HTTP/1.1 503 ")]
    {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        for _ in 0..3 {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            while !received.starts_with(answer.as_bytes()) {
                let count = within("an answer", stream.read_buf(&mut received)).await.unwrap();
                assert!(count > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&received));
            }
            stream.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
            // The rest of the answer came with its head, or is skipped with the next one.
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            received.clear();
            while !String::from_utf8_lossy(&received).contains("HTTP/1.1 ") {
                assert!(
                    within("the next answer", stream.read_buf(&mut received)).await.unwrap() > 0,
                    "the connection was closed"
                );
            }
            while !received.ends_with(b"\n") {
                assert!(within("its end", stream.read_buf(&mut received)).await.unwrap() > 0);
            }
        }
    }
}

// Found by reading the logs of these tests: most lines had no call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_function_prints_is_logged_with_its_call() {
    let pair = pair(&[worker("f"), job("job", "echo from the job >&2")].concat());
    for _ in 0..20 {
        for (function, text) in [("f", "call with "), ("job", "from the job")] {
            let answer = pair.call(&format!("/invoke/{function}")).send().await.ok();
            let line = pair.runner.log_line(&[text, answer.header("fn-call-id")]);
            assert!(line.contains(&format!("\"function\":\"{function}\"")), "{line}");
        }
    }
}

/// The balancer adds headers of its own: a head that is just within its limits must be within those of its agents too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_the_front_takes_is_not_too_large_for_the_agent() {
    let pair = pair(&job("f", "cat"));
    let invoke = || pair.call("/invoke/f").body("x");
    // The client adds `host` and `content-length`.
    let many = (0..98).fold(invoke(), |call, number| call.header(&format!("x-{number}"), number));
    assert_eq!(many.send().await.ok().text(), "x");
    assert_eq!(invoke().header("x-long", "v".repeat(65_000)).send().await.ok().text(), "x");
}
