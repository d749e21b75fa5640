//! What operators see of real processes: metrics through a real Prometheus, traces through a receiver that is not ours, the access log.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;
use reqwest::{Method, Response};
use serde_json::Value;
use support::otlp::Receiver;
use support::prometheus::{Histograms, Prometheus, promtool, series, value};
use support::{Running, client, eventually, start, write};

/// A function that waits for its gate when it is asked to, and answers with its trace context.
const PROBE: &str = r#"
[[function]]
name = "probe"
format = "exec"
memory = "16MiB"
command = ["sh", "-c", '''
if [ -n "$FN_HEADER_X_FAIL" ]; then exit 3; fi
if [ -n "$FN_HEADER_X_HOLD" ]; then touch "$FN_HEADER_X_HOLD/started"; read line < "$FN_HEADER_X_HOLD/gate"; fi
printf '%s %s' "$TRACEPARENT" "$TRACESTATE"
''']
"#;

/// A place where one call is held while a test looks.
struct Hold(tempfile::TempDir);

impl Hold {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&directory.path().join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        Self(directory)
    }

    /// What to put into `x-hold`.
    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    async fn is_running(&self) {
        let started = self.0.path().join("started");
        eventually("the held call runs", async || started.exists().then_some(())).await;
    }

    fn release(&self) {
        std::fs::OpenOptions::new().write(true).open(self.0.path().join("gate")).unwrap().write_all(b"go\n").unwrap();
    }
}

fn runner(more: &[&str]) -> Running {
    let own = ["runner", "--listen", "127.0.0.1:0", "--announce", "--set", "shutdown.grace=0s"];
    start(&[&own[..], more].concat())
}

/// A balancer over these runners.
fn balancer(directory: &Path, runners: &[&Running], config: &str) -> Running {
    let runners: Vec<String> = runners.iter().map(|runner| runner.address("address").to_string()).collect();
    balancer_over(directory, &format!("[pool]\nrunners = {runners:?}\n{config}"))
}

fn balancer_over(directory: &Path, config: &str) -> Running {
    let file = write(directory, "lb.toml", config);
    let own = ["lb", "--config", &file, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--announce"];
    start(&[&own[..], &["--set", "shutdown.grace=0s"]].concat())
}

async fn text(response: Response) -> String {
    response.text().await.unwrap()
}

async fn metrics(role: &Running, listener: &str) -> String {
    text(client().get(role.url(listener, "/metrics")).send().await.unwrap()).await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

// === Prometheus ===

/// Three runners and a balancer as it comes.
struct Site {
    runners: Vec<Running>,
    balancer: Running,
    _directory: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runners: Vec<Running> = (0..3).map(|_| runner(&[])).collect();
        let cat = "[[function]]\nname = \"cat\"\nformat = \"exec\"\ncommand = [\"cat\"]\nmemory = \"16MiB\"\n";
        let shop = "[[route]]\npath = \"/shop\"\nfunction = \"cat\"\n";
        let placement = "[placement]\nplacer = \"naive\"\n";
        let config = format!("{placement}{shop}{cat}{PROBE}");
        let balancer = balancer(directory.path(), &runners.iter().collect::<Vec<_>>(), &config);
        Self { runners, balancer, _directory: directory }
    }

    async fn call(&self, times: usize) {
        for _ in 0..times {
            let answer = client().post(self.balancer.url("front", "/invoke/cat")).body("x").send().await.unwrap();
            assert_eq!((answer.status().as_u16(), text(answer).await.as_str()), (200, "x"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_finds_the_runners_through_the_balancer_and_has_latencies_of_less_than_a_millisecond() {
    let site = Site::start();
    site.call(20).await;
    // A second balancer over the same runners, that exposes less.
    let directory = tempfile::tempdir().unwrap();
    let telemetry = "[telemetry]\nlabels = [\"function\"]\nbuckets = [0.25, 60]\nnative_histograms = false\n";
    let sparse = balancer(directory.path(), &site.runners.iter().collect::<Vec<_>>(), &format!("{telemetry}{PROBE}"));
    for _ in 0..3 {
        assert_eq!(client().post(sparse.url("front", "/invoke/probe")).send().await.unwrap().status(), 200);
    }

    let (admin, sparse_admin) = (site.balancer.address("admin"), sparse.address("admin"));
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs:\n\
         - job_name: balancer\n\
         \x20 static_configs: [{{targets: ['{admin}']}}]\n\
         - job_name: sparse\n\
         \x20 static_configs: [{{targets: ['{sparse_admin}']}}]\n\
         - job_name: runners\n\
         \x20 http_sd_configs: [{{url: 'http://{admin}/v1/prometheus-targets'}}]\n\
         \x20 relabel_configs: [{{source_labels: [__meta_runpool_runner], target_label: runner}}]\n"
    );
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let classic = Prometheus::start(directories[0].path(), Histograms::Classic, &config);
    let native = Prometheus::start(directories[1].path(), Histograms::Native, &config);

    for prometheus in [&classic, &native] {
        let up = prometheus.query("up{job=\"runners\"} == 1", 3).await;
        let found: BTreeSet<&str> = up.iter().map(|result| result["metric"]["runner"].as_str().unwrap()).collect();
        let real: Vec<String> = site.runners.iter().map(|runner| runner.address("address").to_string()).collect();
        assert_eq!(found, real.iter().map(String::as_str).collect());
        assert_eq!(prometheus.number("sum(runner_calls_total{job=\"runners\",function=\"cat\",outcome=\"ok\"})").await, 20.0);
        assert_eq!(prometheus.number("lb_calls_total{job=\"balancer\",function=\"cat\"}").await, 20.0);
        prometheus.query("runpool_build_info{commit!=\"\",version!=\"\"} == 1", 5).await;
        prometheus.query("process_resident_memory_bytes > 1e6", 5).await;
        prometheus.query("process_start_time_seconds > 1.6e9", 5).await;
    }

    // Placed at the first try, as all were: what Fn shows as 0 ms is told.
    let placing = "lb_placer_latency_seconds{job=\"balancer\",function=\"cat\",placer=\"naive\"}";
    let results = native.query(placing, 1).await;
    let histogram = &results[0]["histogram"][1];
    assert_eq!(histogram["count"], "20", "{results:?}");
    assert!(histogram["sum"].as_str().unwrap().parse::<f64>().unwrap() > 0.0);
    assert!(!histogram["buckets"].as_array().unwrap().is_empty());
    assert!(native.number(&format!("histogram_quantile(0.5, {placing})")).await > 0.0);
    let results = native.query("lb_placer_latency_seconds_count{job=\"sparse\"} == 3", 1).await;
    assert_eq!(results[0]["metric"]["function"], "probe", "without native histograms the classic ones are still there");

    let buckets = "lb_placer_latency_seconds_bucket{job=\"balancer\",function=\"cat\"}";
    assert!(classic.number(&format!("histogram_quantile(0.5, sum by (le) ({buckets}))")).await > 0.0);
    assert_eq!(classic.number(&format!("count({buckets})")).await, 21.0, "twenty bounds and infinity");
    assert!(classic.number("lb_placer_latency_seconds_sum{job=\"balancer\",function=\"cat\"}").await > 0.0);
    let first_byte = "sum(lb_runner_first_byte_seconds_count{job=\"balancer\"})";
    assert_eq!(classic.number(first_byte).await, 20.0);

    let exposed = metrics(&sparse, "admin").await;
    let bounds: BTreeSet<&str> = exposed.split("le=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let attempts = ["0", "1", "2", "4", "8", "16", "32", "64", "128", "256"];
    assert_eq!(bounds, attempts.into_iter().chain(["0.25", "60", "+Inf"]).collect(), "those of attempts, and those configured");
    for label in ["runner=", "placer=", "outcome="] {
        assert!(!exposed.contains(label), "{label} in {exposed}");
    }
    // Without their labels the series of all runners and endings are one, a refusal for each runner that had to be told of the function.
    assert_eq!(value(&exposed, "lb_calls_total{function=\"probe\"}"), Some(3.0));
    assert_eq!(value(&exposed, "lb_runner_first_byte_seconds_count"), Some(3.0));
}

/// What stands in the tables of docs/metrics.md: the labels of each metric.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[2].split(", ").filter(|label| !label.is_empty()).map(str::to_owned);
        (cells[0].trim_end_matches('`').to_owned(), labels.collect())
    };
    rows.map(row).collect()
}

/// The label names of a series as the exposition writes it, and the name of its metric.
fn name_and_labels(series: &str) -> (&str, BTreeSet<String>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let name = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let labels = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(label, _)| label);
    (name, labels.filter(|label| *label != "le").map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_well_formed_and_documented_and_no_request_makes_a_series() {
    let site = Site::start();
    let front = |path: &str| site.balancer.url("front", path);
    let client = client();
    let call = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), front(path)).body("x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, _) = (answer.status().as_u16(), text(answer).await);
        status
    };
    // One of each outcome that the strange requests below may have, on every runner.
    for _ in 0..3 {
        assert_eq!(call("POST", "/invoke/cat", &[]).await, 200);
        assert_eq!(call("POST", "/invoke/probe", &[("x-fail", "1")]).await, 502);
        assert_eq!(call("GET", "/nowhere", &[]).await, 404);
        assert_eq!(call("GET", "/shop", &[("x-timeout-ms", "soon")]).await, 400);
        assert_eq!(call("POST", "/invoke/cat", &[("fn-invoke-type", "detached")]).await, 202);
    }
    // A runner counts the end of a call when its answer was read.
    let settled = async || {
        let mut all = vec![metrics(&site.balancer, "admin").await];
        for runner in &site.runners {
            all.push(metrics(runner, "address").await);
        }
        all
    };
    let running: Vec<&str> = vec!["lb_in_flight", "runner_in_flight"];
    let is_still = |text: &String| running.iter().all(|name| value(text, name).unwrap_or(0.0) == 0.0);
    let still = async || {
        eventually("no call is in hand", async || {
            let all = settled().await;
            all.iter().all(is_still).then_some(all)
        })
        .await
    };
    // Whichever runner the first calls met, each knows both functions after these.
    for _ in 0..20 {
        call("POST", "/invoke/cat", &[]).await;
        call("POST", "/invoke/probe", &[("x-fail", "1")]).await;
        assert_eq!(call("GET", "/shop", &[("host", "\"quoted\"}.example")]).await, 400, "no host is called so");
    }
    let before = still().await;

    for text in &before {
        assert_eq!(promtool(text), "", "{text}");
    }
    let documented = documented();
    let mut seen = BTreeSet::new();
    for text in &before {
        for series in series(text) {
            let (name, labels) = name_and_labels(&series);
            assert_eq!(documented.get(name), Some(&labels), "{series} and docs/metrics.md");
            seen.insert(name.to_owned());
        }
    }
    let unseen: Vec<&String> = documented.keys().filter(|name| !seen.contains(*name)).collect();
    // Only a worker that stays is started in advance of its call; nobody speaks TLS here (tests/security.rs).
    let is_elsewhere = |name: &str| name == "runner_init_seconds" || name.starts_with("tls_");
    assert!(unseen.iter().all(|name| is_elsewhere(name)), "documented, and nowhere to be seen: {unseen:?}");

    let long = "x".repeat(4_000);
    for number in 0..20 {
        let odd = format!("odd-{number}");
        for (method, path) in [
            ("BREW", format!("/{odd}")),
            ("BREW", format!("/shop/{odd}?{odd}")),
            (odd.as_str(), "/shop".to_owned()),
            ("POST", format!("/invoke/{odd}")),
            ("POST", format!("/invoke/cat/{odd}/%00%ff/%22?{long}")),
        ] {
            let headers = [
                ("host", "quoted'.example"),
                ("user-agent", odd.as_str()),
                ("x-request-id", odd.as_str()),
                ("fn-intent", odd.as_str()),
                ("fn-invoke-type", odd.as_str()),
                ("traceparent", odd.as_str()),
                ("runpool-function", odd.as_str()),
                ("runpool-outcome", odd.as_str()),
                ("x-many", long.as_str()),
            ];
            let status = call(method, &path, &headers).await;
            assert!([200, 400, 404, 502].contains(&status), "{method} {path}: {status}");
        }
        assert_eq!(call("GET", "/shop", &[("x-timeout-ms", &odd)]).await, 400);
    }
    let after = still().await;
    for (before, after) in before.iter().zip(&after) {
        let new: Vec<String> = series(after).difference(&series(before)).cloned().collect();
        assert_eq!(new, Vec::<String>::new(), "series that requests made");
    }
    assert!(after.iter().all(|text| !text.contains("odd")));
}

// === OTLP ===

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn of_trace<'a>(spans: &'a [Value], trace: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["trace"] == trace).collect()
}

/// The one span that fits.
fn one<'a>(spans: &[&'a Value], what: &str, fits: impl Fn(&Value) -> bool) -> &'a Value {
    let found: Vec<_> = spans.iter().filter(|span| fits(span)).collect();
    assert_eq!(found.len(), 1, "{what} in {spans:#?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_refused_once_is_one_trace_from_the_client_to_the_function() {
    let receiver = Receiver::start();
    let directory = tempfile::tempdir().unwrap();
    let endpoint = format!("telemetry.otlp_endpoint={}", receiver.endpoint);
    let small = ["--slots", "1", "--set", &endpoint, "--set", "telemetry.service_name=agent"];
    let mut runners = [runner(&small), runner(&small)];
    let telemetry = format!("[placement]\nplacer = \"ch\"\n[telemetry]\notlp_endpoint = \"{}\"\n", receiver.endpoint);
    // A balancer that asks nobody for its load, and another over the same runners: what one has there, the other learns by being refused.
    let config = format!("{telemetry}[pool.health]\ninterval = \"0s\"\n{PROBE}");
    let others_directory = tempfile::tempdir().unwrap();
    let mut other = balancer(others_directory.path(), &[&runners[0], &runners[1]], &config);
    let mut balancer = balancer(directory.path(), &[&runners[0], &runners[1]], &config);
    let (url, others_url) = (balancer.url("front", "/invoke/probe"), other.url("front", "/invoke/probe"));
    let call = async |traceparent: &str, hold: Option<&Hold>| {
        let mut request = client().post(if hold.is_some() { &others_url } else { &url }).header("tracestate", "vendor=1");
        if !traceparent.is_empty() {
            request = request.header("traceparent", traceparent);
        }
        if let Some(hold) = hold {
            request = request.header("x-hold", hold.path());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        (header(&answer, "fn-call-id").to_owned(), text(answer).await)
    };

    // A client that wants no record of its trace fills the function's first runner.
    let hold = Hold::new();
    let unsampled = "00-11111111111111111111111111111111-2222222222222222-00";
    let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let ((_, passed), (call_id, seen)) = tokio::join!(call(unsampled, Some(&hold)), async {
        hold.is_running().await;
        let refused_once = call(&sampled, None).await;
        hold.release();
        refused_once
    });
    let (_, seen_of_new) = call("", None).await;

    // Whoever sends ends first, with all that is left to send.
    for balancer in [&mut balancer, &mut other] {
        balancer.signal(Signal::SIGTERM);
        assert!(balancer.wait().success());
    }
    for runner in &mut runners {
        runner.signal(Signal::SIGTERM);
        assert!(runner.wait().success());
    }
    let spans = receiver.finish();
    let names = |spans: &[&Value]| {
        let mut names: Vec<String> = spans.iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };

    assert_eq!(passed, format!("{unsampled} vendor=1"), "the header of a client that wants no record passes unchanged");
    assert!(of_trace(&spans, "11111111111111111111111111111111").is_empty(), "and nothing is exported: {spans:#?}");

    let trace = of_trace(&spans, TRACE);
    assert_eq!(names(&trace), ["attempt", "attempt", "call", "placement", "run"]);
    let call = one(&trace, "call", |span| span["name"] == "call");
    assert_eq!((&call["kind"], &call["parent"]), (&"SPAN_KIND_SERVER".into(), &"00f067aa0ba902b7".into()));
    assert_eq!(call["attributes"]["runpool.function"], "probe");
    assert_eq!(
        (&call["attributes"]["runpool.outcome"], &call["attributes"]["http.response.status_code"]),
        (&"ok".into(), &200.into())
    );
    let placement = one(&trace, "placement", |span| span["name"] == "placement");
    assert_eq!((&placement["parent"], &placement["attributes"]["runpool.attempts"]), (&call["id"], &2.into()));
    let attempt =
        |number: i64| one(&trace, "attempt", |span| span["name"] == "attempt" && span["attributes"]["runpool.attempt"] == number);
    let (first, second) = (attempt(1), attempt(2));
    for attempt in [first, second] {
        assert_eq!((&attempt["kind"], &attempt["parent"]), (&"SPAN_KIND_CLIENT".into(), &placement["id"]));
    }
    assert_eq!(
        (&first["attributes"]["runpool.refused"], &second["attributes"]["runpool.refused"]),
        (&"busy".into(), &Value::Null)
    );
    let tried: BTreeSet<&str> =
        [first, second].iter().map(|span| span["attributes"]["runpool.runner"].as_str().unwrap()).collect();
    assert_eq!(tried.len(), 2, "{trace:#?}");
    assert!(first["ends"].as_u64() <= second["begins"].as_u64(), "one after the other");
    let run = one(&trace, "run", |span| span["name"] == "run");
    assert_eq!((&run["kind"], &run["parent"]), (&"SPAN_KIND_SERVER".into(), &second["id"]));
    assert_eq!(
        (&run["attributes"]["runpool.call"], &run["attributes"]["runpool.attempt"]),
        (&call_id.as_str().into(), &2.into())
    );
    assert_eq!((&run["resource"]["service.name"], &call["resource"]["service.name"]), (&"agent".into(), &"runpool".into()));
    assert_eq!(seen, format!("00-{TRACE}-{}-01 vendor=1", run["id"].as_str().unwrap()), "the function works below its run");
    assert!(trace.iter().all(|span| span["status"] == "STATUS_CODE_UNSET"), "a refusal is no failure: {trace:#?}");

    // Without a word of the client the call begins a trace of its own.
    let new = seen_of_new.split('-').nth(1).unwrap();
    let trace = of_trace(&spans, new);
    assert_eq!(names(&trace), ["attempt", "call", "placement", "run"]);
    assert_eq!(one(&trace, "call", |span| span["name"] == "call")["parent"], "", "it has no parent");
    assert_eq!(spans.len(), 9, "and nothing else is exported: {spans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_receiver_a_clients_trace_passes_through_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(&[]);
    let balancer = balancer(directory.path(), &[&runner], PROBE);
    for flags in ["00", "01"] {
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        let request = client().post(balancer.url("front", "/invoke/probe")).header("traceparent", &traceparent);
        assert_eq!(text(request.send().await.unwrap()).await, format!("{traceparent} "));
    }
}

// === The access log ===

/// The keys that `telemetry::access_log::Entry` documents, in their order.
const KEYS: [&str; 22] = [
    "ts",
    "request_id",
    "call_id",
    "trace_id",
    "client",
    "method",
    "path",
    "proto",
    "function",
    "runner",
    "status",
    "outcome",
    "attempts",
    "refusals",
    "bytes_in",
    "bytes_out",
    "t_total",
    "t_queue",
    "t_place",
    "t_connect",
    "t_first_byte",
    "user_agent",
];

/// The lines of a log once there are as many.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let read = async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= count, "more than {count} lines:\n{text}");
        (lines.len() == count && text.ends_with('\n')).then(|| text.clone())
    };
    let text = eventually(&format!("{count} lines of the access log"), read).await;
    for line in text.lines() {
        let mut rest = line;
        for key in KEYS {
            let at = rest.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no `{key}` in its place in {line}"));
            rest = &rest[at..];
        }
    }
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(line).inspect(|line| assert_eq!(line.as_object().unwrap().len(), KEYS.len(), "{line}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_has_one_line_that_agrees_with_its_answer_and_the_log_can_be_moved_away() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let runners = [runner(&["--slots", "1"]), runner(&["--slots", "1"])];
    let config = format!(
        "[placement]\nplacer = \"ch\"\nplacer_timeout = \"1s\"\n[front]\nmax_body = \"1KiB\"\nheld_body = \"1KiB\"\n\
         [telemetry]\naccess_log = {log:?}\n{PROBE}"
    );
    let balancer = balancer(directory.path(), &[&runners[0], &runners[1]], &config);
    let client = client();
    let probe = || client.post(balancer.url("front", "/invoke/probe"));
    let mut answers: Vec<(Response, Value)> = Vec::new();
    let expect = |method: &str, path: &str, outcome: &str, function: Value, attempts: u64, refusals: u64| serde_json::json!({"method": method, "path": path, "outcome": outcome, "function": function, "attempts": attempts, "refusals": refusals});
    let invoke = |outcome: &str, attempts: u64, refusals: u64| {
        expect("POST", "/invoke/probe", outcome, "probe".into(), attempts, refusals)
    };

    let request = probe().header("x-request-id", "r-1").header("user-agent", "a \"quoted\" one").body("four");
    answers.push((request.send().await.unwrap(), invoke("ok", 1, 0)));
    answers.push((probe().header("x-fail", "1").send().await.unwrap(), invoke("function_failed", 1, 0)));
    let path = "/nowhere?a=b%20c";
    let nowhere = client.get(balancer.url("front", path)).send().await.unwrap();
    answers.push((nowhere, expect("GET", path, "not_found", Value::Null, 0, 0)));
    answers.push((probe().body("x".repeat(1_025)).send().await.unwrap(), invoke("body_too_large", 0, 0)));
    answers.push((probe().header("x-timeout-ms", "0").send().await.unwrap(), invoke("bad_request", 0, 0)));

    // Both runners full, one after the other: a refusal, and then nobody. The slot of a job that failed is free when it is dead.
    for runner in &runners {
        let is_free = async || (value(&metrics(runner, "address").await, "runner_in_flight") == Some(0.0)).then_some(());
        eventually("the slot is free", is_free).await;
    }
    let holds = [Hold::new(), Hold::new()];
    let held = |hold: &Hold| probe().header("x-hold", hold.path()).send();
    let (first, second, nobody) = tokio::join!(
        held(&holds[0]),
        async {
            holds[0].is_running().await;
            held(&holds[1]).await
        },
        async {
            holds[1].is_running().await;
            let nobody = probe().send().await.unwrap();
            holds[1].release();
            holds[0].release();
            nobody
        }
    );
    answers.push((first.unwrap(), invoke("ok", 1, 0)));
    answers.push((second.unwrap(), invoke("ok", 1, 0)));
    assert_eq!(header(&nobody, "runpool-outcome"), "placer_timeout");
    let nobodys_id = header(&nobody, "fn-call-id").to_owned();

    let mut by_id = BTreeMap::new();
    for line in lines(&log, 8).await {
        by_id.insert(line["call_id"].as_str().unwrap().to_owned(), line);
    }
    assert_eq!(by_id.len(), 8, "one line a call");
    for (answer, expected) in answers {
        let line = &by_id[header(&answer, "fn-call-id")];
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&line[key], value, "{key} in {line}");
        }
        assert_eq!(line["status"], answer.status().as_u16());
        assert_eq!(line["request_id"], header(&answer, "x-request-id"));
        let outcome = answer.headers().get("runpool-outcome").map_or("ok", |word| word.to_str().unwrap());
        assert_eq!(line["outcome"], outcome);
        let was_placed = line["attempts"] != 0;
        assert_eq!(line["runner"].is_string(), was_placed, "{line}");
        for key in ["t_queue", "t_place", "t_first_byte"] {
            assert_eq!(line[key].is_number(), was_placed, "{key} in {line}");
        }
        assert_eq!(line["t_connect"].is_number(), outcome == "ok", "{line}");
        let time = |key: &str| line[key].as_f64().unwrap_or(0.0);
        assert!(time("t_total") >= time("t_first_byte") && time("t_first_byte") >= time("t_place"), "{line}");
        assert_eq!((&line["proto"], line["trace_id"].as_str().unwrap().len()), (&"HTTP/1.1".into(), 32));
        let client: SocketAddr = line["client"].as_str().unwrap().parse().unwrap();
        assert!(client.ip().is_loopback());
        let ts = line["ts"].as_str().unwrap();
        assert!(ts.len() == 27 && ts.ends_with('Z'), "{ts}");
        assert_eq!(line["bytes_out"], text(answer).await.len(), "{line}");
    }
    let first = by_id.values().find(|line| line["request_id"] == "r-1").unwrap();
    assert_eq!((&first["bytes_in"], &first["user_agent"]), (&4.into(), &"a \"quoted\" one".into()));
    assert!(first["t_connect"].as_f64().unwrap() > 0.0, "its connection was the first: {first}");
    let nobody = &by_id[&nobodys_id];
    assert_eq!((&nobody["status"], &nobody["runner"], &nobody["attempts"]), (&503.into(), &Value::Null, &nobody["refusals"]));
    assert!(nobody["attempts"].as_u64() <= Some(2), "a runner that is known to be full is not tried: {nobody}");
    assert!(nobody["t_queue"].as_f64() > Some(0.0), "{nobody}");

    // Moved away and asked for anew: what comes is in the new file, what was stays in the old one.
    let moved = directory.path().join("access.log.1");
    std::fs::rename(&log, &moved).unwrap();
    balancer.signal(Signal::SIGHUP);
    balancer.log_line(&["the configuration was reloaded"]);
    let detached = probe().header("fn-invoke-type", "detached").send().await.unwrap();
    assert_eq!(detached.status(), 202);
    let line = lines(&log, 1).await.remove(0);
    assert_eq!((&line["call_id"], &line["outcome"]), (&header(&detached, "fn-call-id").into(), &"accepted".into()));
    assert!(line["runner"].is_string());
    assert_eq!(lines(&moved, 8).await.len(), 8);

    // A client that goes away has its line, though nobody sees a status.
    let hold = Hold::new();
    let mut gone = TcpStream::connect(balancer.address("front")).unwrap();
    write!(gone, "POST /invoke/probe HTTP/1.1\r\nhost: x\r\nx-hold: {}\r\ncontent-length: 0\r\n\r\n", hold.path()).unwrap();
    hold.is_running().await;
    drop(gone);
    let line = lines(&log, 2).await.remove(1);
    assert_eq!((&line["outcome"], &line["status"], &line["function"]), (&"client_gone".into(), &Value::Null, &"probe".into()));
    // The detached call may still fill the runner that was tried first.
    let count = |key: &str| line[key].as_u64().unwrap();
    assert_eq!((count("attempts") - count("refusals"), line["runner"].is_string()), (1, true), "{line}");

    // Counted, the attempts of the log are those of the metrics.
    let exposed = metrics(&balancer, "admin").await;
    let placer = "{function=\"probe\",placer=\"ch\"}";
    let mut all = lines(&moved, 8).await;
    all.extend(lines(&log, 2).await);
    let sum = |key: &str| all.iter().map(|line| line[key].as_f64().unwrap()).sum::<f64>();
    assert_eq!(value(&exposed, &format!("lb_placer_attempts_sum{placer}")), Some(sum("attempts")));
    assert_eq!(value(&exposed, &format!("lb_placer_retry_busy_total{placer}")), Some(sum("refusals")));
}
