//! What a client of the front sees, over runners that do as they are told. The same through real sockets and processes is in `tests/`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::{CallOption, Catalog, ExplainedCalls, Front, FrontBody, FrontConfig, FrontMetrics, FrontTelemetry};
use crate::model::{ByteSize, CallKind, FunctionSpec, Outcome};
use crate::placement::{Placement, PlacementConfig, PlacementMetrics, PlacerChoice};
use crate::pool::{Member, SnapshotPool};
use crate::protocol::ServerTiming;
use crate::runner::doubles::Scripted;
use crate::runner::http::AnswerFacts;
use crate::runner::{AnswerBody, Attempt, CallError, Refused, RefusedWhy};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{Metrics, MetricsConfig};
use crate::telemetry::trace::Tracer;

/// A front over one runner, with its metrics.
struct Bench {
    front: Front,
    metrics: Metrics,
}

fn bench_with(config: FrontConfig, runner: Scripted, options: Vec<CallOption>) -> Bench {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    let config_of_placement = PlacementConfig {
        placer: PlacerChoice::Naive,
        retry_all_delay: Duration::from_millis(10),
        placer_timeout: Duration::from_millis(500),
        detached_placer_timeout: Duration::from_millis(300),
        ..PlacementConfig::default()
    };
    let pool = Arc::new(SnapshotPool::new(vec![Member::new(Arc::new(runner))]).unwrap());
    let declared = PlacementMetrics::declare(&mut metrics);
    let placement = Placement::new(pool, &config_of_placement, declared, Tracer::disabled()).unwrap();
    let catalog = Catalog::new(vec![FunctionSpec::named("hello".parse().unwrap())], &[]).unwrap();
    let declared = Arc::new(FrontMetrics::declare(&mut metrics));
    let telemetry = FrontTelemetry {
        metrics: declared,
        tracer: Tracer::disabled(),
        access_log: AccessLog::off(),
        explained: ExplainedCalls::default(),
    };
    Bench { front: Front::with_options(config, catalog, placement, telemetry, options), metrics }
}

fn bench(runner: Scripted) -> Bench {
    bench_with(FrontConfig::default(), runner, Vec::new())
}

impl Bench {
    async fn send(&self, request: Request<Full<Bytes>>) -> (Response<()>, Bytes) {
        let (head, body) = self.front.handle(request).await.into_parts();
        (Response::from_parts(head, ()), body.collect().await.unwrap().to_bytes())
    }

    async fn problem(&self, request: Request<Full<Bytes>>) -> (u16, serde_json::Value, Response<()>) {
        let (head, body) = self.send(request).await;
        (head.status().as_u16(), serde_json::from_slice(&body).unwrap(), head)
    }

    fn metric(&self, series: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, self.metrics.registry()).unwrap();
        let line = text.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
    }
}

fn post(target: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder().method(Method::POST).uri(target).body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

/// A body that never ends.
fn stalled() -> StreamBody<futures_util::stream::Pending<Result<http_body::Frame<Bytes>, std::io::Error>>> {
    StreamBody::new(futures_util::stream::pending())
}

#[tokio::test]
async fn every_answer_has_a_call_id_and_the_clients_request_id() {
    let bench = bench(Scripted::answering("a:1", "hi"));
    let mut request = post("/invoke/hello", "world");
    request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    let (head, body) = bench.send(request).await;
    assert_eq!((head.status().as_u16(), body), (200, Bytes::from("hi")));
    assert_eq!(head.headers()["x-request-id"], "mine");
    assert_eq!(head.headers()["fn-call-id"].len(), 26);
    assert!(!head.headers().contains_key("runpool-outcome"), "the function answered");

    let (head, _) = bench.send(post("/nowhere", "")).await;
    assert_eq!(head.headers()["fn-call-id"], head.headers()["x-request-id"]);
}

/// W15: on Fn's balancer these are 500.
#[tokio::test]
async fn what_does_not_exist_is_404() {
    let bench = bench(Scripted::answering("a:1", "hi"));
    let (status, problem, head) = bench.problem(post("/invoke/other", "")).await;
    assert_eq!(
        (status, &problem["outcome"], &problem["message"]),
        (404, &"not_found".into(), &"there is no function `other`".into())
    );
    assert_eq!(head.headers()["runpool-outcome"], "not_found");
    assert_eq!(problem["call_id"], head.headers()["fn-call-id"].to_str().unwrap());
    assert_eq!(bench.problem(post("/nope", "")).await.1["message"], "no route matches /nope");
    assert_eq!((bench.metric("lb_calls_total{function=\"\"}"), bench.metric("lb_errors_total{function=\"\"}")), (2.0, 2.0));
}

/// W15: on Fn's balancer a body without announced length is a 500.
#[tokio::test]
async fn a_body_over_the_limit_is_413_announced_or_not() {
    let config = FrontConfig { max_body: ByteSize(4), ..FrontConfig::default() };
    let bench = bench_with(config, Scripted::answering("a:1", "hi"), Vec::new());
    assert_eq!(bench.problem(post("/invoke/hello", "12345")).await.0, 413);
    let frames = ["123", "45"].map(|part| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(part.as_bytes()))));
    let chunked = Request::post("/invoke/hello").body(StreamBody::new(futures_util::stream::iter(frames))).unwrap();
    let answer = bench.front.handle(chunked).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["runpool-outcome"]), (413, &"body_too_large".parse().unwrap()));
}

/// The runner got the beginning of a body that turned out too long: the call failed by the client's doing.
#[tokio::test]
async fn a_body_that_grows_over_the_limit_while_it_streams_is_413_too() {
    let config = FrontConfig { held_body: ByteSize(2), max_body: ByteSize(4), ..FrontConfig::default() };
    let reads = Scripted::new("a:1", |call| {
        async move {
            let error = call.body.take().unwrap().collect().await.err().map(|error| error.to_string());
            Attempt::Committed(Err(CallError::new(Outcome::RunnerReset, error.unwrap_or_default())))
        }
        .boxed()
    });
    let bench = bench_with(config, reads, Vec::new());
    let frames = ["123", "45"].map(|part| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(part.as_bytes()))));
    let chunked = Request::post("/invoke/hello").body(StreamBody::new(futures_util::stream::iter(frames))).unwrap();
    assert_eq!(bench.front.handle(chunked).await.status().as_u16(), 413);
}

#[tokio::test(start_paused = true)]
async fn no_room_anywhere_is_503_with_the_time_to_come_back() {
    let refused = Refused { retry_after: Some(Duration::from_millis(1_700)), ..Refused::new(RefusedWhy::Status(503)) };
    let bench = bench(Scripted::new("a:1", move |_| {
        let refused = refused.clone();
        async move { Attempt::Refused(refused) }.boxed()
    }));
    let (status, problem, head) = bench.problem(post("/invoke/hello", "")).await;
    assert_eq!((status, &problem["outcome"]), (503, &"placer_timeout".into()));
    assert_eq!(head.headers()["retry-after"], "2");
    assert_eq!(bench.metric("lb_server_busy_total{function=\"hello\"}"), 1.0);
}

#[tokio::test]
async fn a_call_more_than_may_be_in_hand_is_refused_and_its_place_comes_back() {
    let config = FrontConfig { max_in_flight: 1, ..FrontConfig::default() };
    let bench = bench_with(config, Scripted::answering("a:1", "hi"), Vec::new());
    let unread = bench.front.handle(post("/invoke/hello", "")).await;
    let (status, problem, head) = bench.problem(post("/invoke/hello", "")).await;
    assert_eq!((status, &problem["outcome"], head.headers()["retry-after"].to_str().unwrap()), (503, &"overloaded".into(), "1"));
    assert_eq!(bench.metric("lb_in_flight"), 1.0);
    drop(unread);
    assert_eq!(bench.send(post("/invoke/hello", "")).await.0.status().as_u16(), 200);
    assert_eq!(bench.metric("lb_in_flight"), 0.0);
}

#[tokio::test]
async fn a_wait_that_is_no_number_is_named() {
    let bench = bench(Scripted::answering("a:1", "hi"));
    let mut request = post("/invoke/hello", "");
    request.headers_mut().insert("x-timeout-ms", "soon".parse().unwrap());
    let (status, problem, _) = bench.problem(request).await;
    assert_eq!((status, &problem["outcome"]), (400, &"bad_request".into()));
    assert_eq!(problem["detail"], "header x-timeout-ms is \"soon\": expected whole milliseconds from 1 to 4294967295");
}

#[tokio::test(start_paused = true)]
async fn the_clients_own_deadline_ends_the_waiting() {
    let bench = bench(Scripted::busy("a:1"));
    let mut request = post("/invoke/hello", "");
    request.headers_mut().insert("x-timeout-ms", "100".parse().unwrap());
    let (status, problem, _) = bench.problem(request).await;
    assert_eq!((status, &problem["outcome"]), (504, &"deadline_exceeded".into()));
}

#[tokio::test]
async fn a_detached_call_is_202_when_it_has_started_and_survives_its_client() {
    let (started, mut has_started) = tokio::sync::mpsc::channel(8);
    let release = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&release);
    let bench = bench(Scripted::new("a:1", move |call| {
        let (started, gate, kind) = (started.clone(), Arc::clone(&gate), call.call.kind);
        async move {
            started.send(kind).await.unwrap();
            gate.notified().await;
            started.send(kind).await.unwrap();
            Attempt::Committed(Ok(Response::new(AnswerBody::full("dropped"))))
        }
        .boxed()
    }));
    let detached = || {
        let mut request = post("/invoke/hello", "");
        request.headers_mut().insert("fn-invoke-type", "detached".parse().unwrap());
        request
    };
    // A client that leaves before its call has started does not withdraw it.
    let mut leaving = Box::pin(bench.front.handle(detached()));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    assert_eq!(has_started.recv().await, Some(CallKind::Detached));
    drop(leaving);
    release.notify_one();
    assert_eq!(has_started.recv().await, Some(CallKind::Detached));
    // One that stays has its 202 without a body.
    release.notify_one();
    let (head, body) = bench.send(detached()).await;
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap(), body.len()), (202, "0", 0));
    assert_eq!(head.headers()["fn-call-id"].len(), 26);
    bench.front.close().await;
}

/// W13: on Fn's balancer this call is `server_busy`.
#[tokio::test]
async fn a_client_that_leaves_is_canceled_wherever_its_call_stands() {
    let bench = bench(Scripted::new("a:1", |_| std::future::pending().boxed()));
    let mut placing = Box::pin(bench.front.handle(post("/invoke/hello", "")));
    assert!(futures_util::poll!(&mut placing).is_pending());
    assert_eq!(bench.metric("lb_running{function=\"hello\"}"), 1.0);
    drop(placing);
    let mut sending = Box::pin(bench.front.handle(Request::post("/invoke/hello").body(stalled()).unwrap()));
    assert!(futures_util::poll!(&mut sending).is_pending());
    assert_eq!(bench.metric("lb_queued{function=\"hello\"}"), 1.0);
    drop(sending);
    assert_eq!(bench.metric("lb_canceled_total{function=\"hello\"}"), 2.0);
    assert_eq!(bench.metric("lb_server_busy_total{function=\"hello\"}"), 0.0);
    for gauge in ["lb_running{function=\"hello\"}", "lb_queued{function=\"hello\"}", "lb_in_flight"] {
        assert_eq!(bench.metric(gauge), 0.0, "{gauge}");
    }
}

/// W13: Fn cuts latencies to whole milliseconds.
#[tokio::test]
async fn the_latency_is_without_the_functions_own_time_and_not_cut_to_milliseconds() {
    let bench = bench(Scripted::new("a:1", |_| {
        async {
            let mut answer = Response::new(AnswerBody::full("hi"));
            let timing = ServerTiming { scheduling: Duration::from_micros(300), execution: Duration::from_secs(3_600) };
            answer.extensions_mut().insert(AnswerFacts { timing: Some(timing), ..AnswerFacts::default() });
            Attempt::Committed(Ok(answer))
        }
        .boxed()
    }));
    bench.send(post("/invoke/hello", "")).await;
    let labels = "{function=\"hello\",outcome=\"ok\"}";
    assert_eq!(bench.metric(&format!("lb_call_latency_seconds_sum{labels}")), 0.0);
    assert!(bench.metric(&format!("lb_call_seconds_sum{labels}")) > 0.0);
    assert_eq!(bench.metric("lb_runner_sched_latency_seconds_sum{function=\"hello\"}"), 0.0003);
    assert_eq!(bench.metric("lb_runner_exec_latency_seconds_sum{function=\"hello\"}"), 3_600.0);
}

/// Case 10: a call option that sets the kind is honoured. Case 11: the front's options run after the request's and override them.
#[tokio::test]
async fn case_10_get_call_set_opts_and_case_11_with_lb_call_options() {
    fn kind(kind: CallKind, log: &Arc<Mutex<Vec<CallKind>>>) -> CallOption {
        let log = Arc::clone(log);
        Arc::new(move |call| {
            log.lock().unwrap().push(kind);
            call.kind = kind;
            Ok(())
        })
    }
    let log = Arc::new(Mutex::new(Vec::new()));
    let caller = [kind(CallKind::Detached, &log)];
    let plain = bench(Scripted::answering("a:1", "hi"));
    assert_eq!(plain.front.handle_with(post("/invoke/hello", ""), &caller).await.status().as_u16(), 202);

    let overriding = bench_with(FrontConfig::default(), Scripted::answering("a:1", "hi"), vec![kind(CallKind::Sync, &log)]);
    log.lock().unwrap().clear();
    let answer: Response<FrontBody> = overriding.front.handle_with(post("/invoke/hello", ""), &caller).await;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(*log.lock().unwrap(), [CallKind::Detached, CallKind::Sync]);
}

#[tokio::test]
async fn the_runner_gets_the_clients_headers_without_those_of_its_connection_and_ours() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let bench = bench(Scripted::new("a:1", move |call| {
        let head = &call.call.head;
        let of_hop = head.hop.iter().map(|(name, _)| name.to_owned());
        let mut names: Vec<String> = head.headers.keys().map(ToString::to_string).chain(of_hop).collect();
        names.sort();
        *log.lock().unwrap() = names;
        async { Attempt::Committed(Ok(Response::new(AnswerBody::empty()))) }.boxed()
    }));
    let mut request = post("/invoke/hello", "x");
    for (name, value) in [
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "1"),
        ("runpool-function", "forged"),
        ("host", "example"),
        ("content-length", "1"),
        ("expect", "100-continue"),
        ("content-type", "text/plain"),
        ("x-mine", "1"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    bench.send(request).await;
    assert_eq!(*seen.lock().unwrap(), ["content-type", "via", "x-mine"]);
}

/// Who could take our own word away with `Connection` could make a runner believe that nobody said anything.
#[tokio::test]
async fn a_client_cannot_take_away_what_runners_are_told_of_it() {
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let log = Arc::clone(&seen);
    let runner = Scripted::new("a:1", move |call| {
        let head = &call.call.head;
        let mut all = head.headers.clone();
        all.extend(head.hop.iter().map(|(name, value)| (HeaderName::from_static(name), value.to_value())));
        *log.lock().unwrap() = all;
        async { Attempt::Committed(Ok(Response::new(AnswerBody::empty()))) }.boxed()
    });
    let bench = bench_with(FrontConfig { trusted_hops: 1, ..FrontConfig::default() }, runner, Vec::new());
    let mut request = post("/invoke/hello", "x");
    for (name, value) in [
        ("host", "example"),
        ("connection", "x-forwarded-for, x-forwarded-proto, x-forwarded-host, via"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "other"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request.extensions_mut().insert(super::ClientAddress("192.0.2.7:5000".parse().unwrap()));
    bench.send(request).await;
    let told = seen.lock().unwrap();
    let of = |name: &str| told.get(name).map(|value| value.to_str().unwrap());
    assert_eq!((of("x-forwarded-for"), of("x-forwarded-proto")), (Some("192.0.2.7"), Some("http")));
    assert_eq!((of("x-forwarded-host"), of("via")), (Some("example"), Some("1.1 runpool")));
}
