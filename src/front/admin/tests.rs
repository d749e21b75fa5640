//! What an operator sees, in process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::*;
use crate::model::FunctionSpec;
use crate::pool::SnapshotPool;
use crate::protocol::{AgentState, AgentStatus};
use crate::runner::{Attempt, Refused, RefusedWhy, Runner, RunnerCall, StatusError};
use crate::telemetry::metrics::MetricsConfig;

/// A runner with this address that answers for its status as told.
#[derive(Debug)]
struct TestRunner {
    address: String,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Ready,
    Plain,
    Never,
    /// Waits for a permit, and counts who waits.
    Gate(Arc<Semaphore>, Arc<AtomicUsize>),
}

#[async_trait]
impl Runner for TestRunner {
    async fn try_exec(&self, _call: RunnerCall<'_>) -> Attempt {
        Attempt::Refused(Refused::new(RefusedWhy::Closed))
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        match &self.answer {
            Answer::Ready => {}
            Answer::Plain => return Err(StatusError::Unsupported { address: self.address.clone() }),
            Answer::Never => std::future::pending().await,
            Answer::Gate(gate, waiting) => {
                waiting.fetch_add(1, Ordering::SeqCst);
                drop(gate.acquire().await.unwrap());
            }
        }
        Ok(AgentStatus { state: AgentState::Ready, slots: 4, ..AgentStatus::default() })
    }

    async fn close(&self) {}

    fn address(&self) -> &str {
        &self.address
    }
}

struct TestSources {
    pool: SnapshotPool,
}

impl AdminSources for TestSources {
    fn runners(&self) -> Arc<Snapshot> {
        self.pool.snapshot()
    }

    fn runner_view(&self, member: &Member) -> serde_json::Map<String, Value> {
        serde_json::Map::from_iter([("state".to_owned(), json!(format!("known as {}", member.id)))])
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let mut greet = FunctionSpec::named("greet".parse().unwrap());
        greet.command = vec!["fdk".to_owned(), "func.py".to_owned()];
        greet.config = BTreeMap::from([("TOKEN".to_owned(), "very-secret".to_owned())]);
        vec![Arc::new(Function::new(greet)), Arc::new(Function::new(FunctionSpec::named("a".parse().unwrap())))]
    }

    fn config(&self) -> Vec<ConfigValue> {
        let value = |key: &str, value: Value, origin: &str| ConfigValue { key: key.to_owned(), value, origin: origin.to_owned() };
        vec![value("placement.placer", json!("ch"), "default"), value("front.listen", json!("127.0.0.1:8080"), "demo.toml:2")]
    }
}

fn member(address: &str, answer: Answer) -> Member {
    Member::new(Arc::new(TestRunner { address: address.to_owned(), answer }))
}

struct TestAdmin {
    router: Router,
    readiness: Readiness,
}

fn admin(members: Vec<Member>) -> TestAdmin {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    metrics.counter("calls", "Calls").get_or_create(&Vec::new()).inc();
    let readiness = Readiness::new();
    let sources = Arc::new(TestSources { pool: SnapshotPool::new(members).unwrap() });
    let router = Admin::new(&AdminConfig::default(), sources, Arc::new(metrics), readiness.clone()).router();
    TestAdmin { router, readiness }
}

async fn get_with(router: &Router, request: Request<Body>) -> (Response<()>, String) {
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(bytes.to_vec()).unwrap())
}

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let (head, body) = get_with(router, Request::get(path).body(Body::empty()).unwrap()).await;
    (head.status(), body)
}

async fn get_json(router: &Router, path: &str) -> Value {
    let (status, body) = get(router, path).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_program_is_live_from_the_start_and_ready_only_with_config_and_runners_and_while_not_draining() {
    let TestAdmin { router, readiness } = admin(vec![member("a:1", Answer::Ready)]);
    assert_eq!(get(&router, "/livez").await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, body) = get(&router, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "[-]config failed: not loaded yet\n[+]draining ok\n[+]runners ok\nreadyz check failed\n");

    readiness.set_ready();
    assert_eq!(get(&router, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(get(&router, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, body) = get(&router, "/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, "[+]config ok\n[+]draining ok\n[+]runners ok\nreadyz check passed\n");

    readiness.set_draining();
    let (status, body) = get(&router, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("[-]draining failed: the program will end\n"), "{body}");
    assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn too_few_runners_and_a_failing_check_of_ones_own_make_it_unready() {
    let TestAdmin { router, readiness } = admin(Vec::new());
    readiness.set_ready();
    readiness.add_check("store", || Err("cannot be reached".to_owned()));
    let (status, body) = get(&router, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("[-]store failed: cannot be reached\n[-]runners failed: 0 usable of at least 1\n"), "{body}");
}

#[tokio::test]
async fn runners_are_listed_with_what_the_balancer_knows_and_on_request_with_their_own_word() {
    let TestAdmin { router, .. } = admin(vec![member("a:1", Answer::Ready), member("b:2", Answer::Plain)]);
    let expected = json!({"runners": [
        {"id": "a:1", "address": "a:1", "state": "known as a:1"},
        {"id": "b:2", "address": "b:2", "state": "known as b:2"}
    ]});
    assert_eq!(get_json(&router, "/v1/runners").await, expected);
    assert_eq!(get_json(&router, "/v1/runners?status=0").await, expected);
    let asked = get_json(&router, "/v1/runners?status=1").await;
    assert_eq!(asked["runners"][0]["status"]["state"], "ready");
    assert_eq!(asked["runners"][0]["status"]["slots"], 4);
    assert_eq!(asked["runners"][1]["status_error"], "runner b:2 is a plain HTTP server: it has no status");
    assert_eq!(asked["runners"][1].get("status"), None);
}

/// The clock is paused, so that waiting costs no time.
#[tokio::test(start_paused = true)]
async fn runners_that_never_answer_are_listed_in_bounded_time() {
    let silent = (0..300).map(|number| member(&format!("s:{number}"), Answer::Never));
    let TestAdmin { router, .. } = admin(silent.collect());
    let began = tokio::time::Instant::now();
    let asked = get_json(&router, "/v1/runners?status=1").await;
    assert!(began.elapsed() <= ALL, "{:?}", began.elapsed());
    let runners = asked["runners"].as_array().unwrap();
    assert_eq!(runners.len(), 300);
    assert_eq!(runners[0]["status_error"], "runner s:0 did not answer in time");
    assert_eq!(runners[299]["status_error"], "not asked: the time for all runners was over");

    const ALL: Duration = Duration::from_millis(6_100);
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_are_refused_at_once_while_health_is_still_answered() {
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let TestAdmin { router, .. } = admin(vec![member("a:1", Answer::Gate(Arc::clone(&gate), Arc::clone(&waiting)))]);
    let in_hand: Vec<_> = (0..MAX_IN_FLIGHT)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { get(&router, "/v1/runners?status").await.0 })
        })
        .collect();
    while waiting.load(Ordering::SeqCst) < MAX_IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    let (head, body) = get_with(&router, Request::get("/v1/functions").body(Body::empty()).unwrap()).await;
    assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&head.headers()["runpool-outcome"], &head.headers()["retry-after"]),
        (&"overloaded".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(body.contains("32 requests in hand"), "{body}");
    assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
    gate.add_permits(MAX_IN_FLIGHT);
    for request in in_hand {
        assert_eq!(request.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(get(&router, "/v1/functions").await.0, StatusCode::OK);
}

#[tokio::test]
async fn functions_are_listed_by_name_and_secrets_are_masked() {
    let TestAdmin { router, .. } = admin(Vec::new());
    let (_, body) = get(&router, "/v1/functions").await;
    assert!(!body.contains("very-secret"), "{body}");
    let list: Value = serde_json::from_str(&body).unwrap();
    let functions = list["functions"].as_array().unwrap();
    assert_eq!(functions.iter().map(|function| &function["name"]).collect::<Vec<_>>(), ["a", "greet"]);
    let mut greet = functions[1].clone();
    assert_eq!(greet["digest"].take().as_str().map(str::len), Some(64));
    assert_eq!(
        greet,
        json!({
            "name": "greet", "app": "default", "format": "http-stream", "digest": null, "command": ["fdk", "func.py"],
            "timeout": "30s", "init_timeout": "5s", "idle_timeout": "30s", "memory": "128MiB", "concurrency": 0,
            "config": {"TOKEN": "***"}
        })
    );
}

#[tokio::test]
async fn every_value_of_the_configuration_is_listed_with_its_origin() {
    let TestAdmin { router, .. } = admin(Vec::new());
    assert_eq!(
        get_json(&router, "/v1/config").await,
        json!({"values": [
            {"key": "front.listen", "value": "127.0.0.1:8080", "origin": "demo.toml:2"},
            {"key": "placement.placer", "value": "ch", "origin": "default"}
        ]})
    );
}

#[tokio::test]
async fn prometheus_can_find_the_runners() {
    let TestAdmin { router, .. } = admin(vec![member("10.0.0.1:9001", Answer::Ready)]);
    let (head, body) = get_with(&router, Request::get("/v1/prometheus-targets").body(Body::empty()).unwrap()).await;
    assert_eq!(head.headers()["content-type"], "application/json");
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!([{"targets": ["10.0.0.1:9001"], "labels": {"__meta_runpool_runner": "10.0.0.1:9001"}}])
    );
}

#[tokio::test]
async fn metrics_come_in_the_format_that_was_asked_for() {
    let TestAdmin { router, .. } = admin(Vec::new());
    for (accept, content_type, start) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "# HELP calls_total Calls.\n"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8", "# HELP calls Calls.\n"),
    ] {
        let request = Request::get("/metrics").header("accept", accept).body(Body::empty()).unwrap();
        let (head, body) = get_with(&router, request).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers()["content-type"], content_type);
        assert!(body.starts_with(start), "{body}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_allowed_is_told_as_a_problem() {
    let TestAdmin { router, .. } = admin(Vec::new());
    for (request, status, outcome) in [
        (Request::get("/v1/nope"), 404, "not_found"),
        (Request::post("/v1/runners"), 405, "method_not_allowed"),
        (Request::delete("/livez"), 405, "method_not_allowed"),
        // Without a log to control it is not there.
        (Request::put("/v1/log-filter"), 404, "not_found"),
    ] {
        let (head, body) = get_with(&router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(head.status(), status);
        assert_eq!(head.headers()["content-type"], "application/problem+json");
        assert_eq!(head.headers()["runpool-outcome"], outcome);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["outcome"], outcome);
        if status == 405 {
            assert_eq!(head.headers()["allow"], "GET,HEAD");
        }
    }
}

#[tokio::test]
async fn an_operator_changes_the_log_filter_and_a_wrong_one_changes_nothing() {
    let metrics = Metrics::new(&MetricsConfig::default());
    let (_subscriber, log) = crate::telemetry::logging::detached("info").unwrap();
    let sources = Arc::new(TestSources { pool: SnapshotPool::default() });
    let router = Admin::new(&AdminConfig::default(), sources, Arc::new(metrics), Readiness::new()).with_log(log).router();
    assert_eq!(get(&router, "/v1/log-filter").await, (StatusCode::OK, "info\n".to_owned()));
    let put = |filter: &'static str| Request::put("/v1/log-filter").body(Body::from(filter)).unwrap();
    assert_eq!(get_with(&router, put("warn,runpool::placement=debug\n")).await.0.status(), StatusCode::NO_CONTENT);
    let (head, body) = get_with(&router, put("runpool=loud")).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
    assert!(body.contains("`runpool=loud` is not a log filter"), "{body}");
    assert_eq!(get(&router, "/v1/log-filter").await.1, "warn,runpool::placement=debug\n");
}

#[tokio::test]
async fn the_listener_answers_until_it_is_closed_and_then_returns() {
    let TestAdmin { router, .. } = admin(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let closing = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, router, closing.clone()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{base}/livez")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok\n");
    let document: Value = client.get(format!("{base}/openapi.json")).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["info"]["title"], "runpool admin");
    closing.cancel();
    serving.await.unwrap();
    client.get(format!("{base}/livez")).send().await.unwrap_err();
}
