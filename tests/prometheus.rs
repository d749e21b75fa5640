//! What Debian's Prometheus says to our metrics: its linter, and a real server that scrapes, discovers and answers queries.
//!
//! Needs `promtool` and `prometheus` (Debian package `prometheus`); without them these tests fail and say so.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use runpool::front::AdminConfig;
use runpool::front::admin::{self, Admin, AdminSources, ConfigValue, Readiness};
use runpool::model::{Call, CallHead, CallId, CallKind, Function, FunctionSpec, Intent};
use runpool::placement::{Naive, Placement, PlacementMetrics, Rules};
use runpool::pool::{Member, Snapshot, SnapshotPool};
use runpool::protocol::AgentStatus;
use runpool::runner::{Attempt, CallBody, Refused, RefusedWhy, Runner, RunnerCall, StatusError};
use runpool::telemetry::TelemetryConfig;
use runpool::telemetry::access_log::AccessLog;
use runpool::telemetry::metrics::Metrics;
use runpool::telemetry::process;
use runpool::telemetry::trace::Tracer;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A runner that is only listed: it refuses every call.
#[derive(Debug)]
struct Listed(String);

#[async_trait::async_trait]
impl Runner for Listed {
    async fn try_exec(&self, _call: RunnerCall<'_>) -> Attempt {
        Attempt::Refused(Refused::new(RefusedWhy::Closed))
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        Err(StatusError::Unsupported { address: self.0.clone() })
    }

    async fn close(&self) {}

    fn address(&self) -> &str {
        &self.0
    }
}

/// Shows a pool and nothing else.
struct Pool(Arc<SnapshotPool>);

impl AdminSources for Pool {
    fn runners(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        Vec::new()
    }

    fn config(&self) -> Vec<ConfigValue> {
        Vec::new()
    }
}

/// An admin listener in this process, with one placement recorded, whose pool lists the listener itself as a runner.
struct Balancer {
    address: SocketAddr,
    closing: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Balancer {
    async fn start() -> Self {
        let config = TelemetryConfig::default();
        let mut metrics = Metrics::new(&config.metrics());
        process::declare(&mut metrics, "0.0.0", None);
        Tracer::disabled().declare(&mut metrics);
        AccessLog::off().declare(&mut metrics);
        let placement_metrics = PlacementMetrics::declare(&mut metrics);

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pool = Arc::new(SnapshotPool::new(vec![Member::new(Arc::new(Listed(address.to_string())))]).unwrap());
        let rules = Rules {
            retry_all_delay: Duration::from_millis(1),
            placer_timeout: Duration::from_millis(20),
            detached_placer_timeout: Duration::from_millis(20),
        };
        let placement = Placement::new(Arc::clone(&pool) as _, Arc::new(Naive), rules, placement_metrics, Tracer::disabled());
        assert!(placement.place(&call(), &CallBody::empty()).await.result.is_err(), "every runner refuses");

        let closing = CancellationToken::new();
        let router = Admin::new(&AdminConfig::default(), Arc::new(Pool(pool)), Arc::new(metrics), Readiness::new()).router();
        let serving = tokio::spawn(admin::serve(listener, router, closing.clone()));
        Self { address, closing, serving }
    }

    async fn stop(self) {
        self.closing.cancel();
        self.serving.await.unwrap();
    }
}

fn call() -> Call {
    Call {
        id: CallId::from_parts(0, 1),
        function: Arc::new(Function::new(FunctionSpec::named("greet".parse().unwrap()))),
        kind: CallKind::Sync,
        intent: Intent::Invoke,
        head: CallHead {
            method: Method::POST,
            rest: String::new(),
            original_target: "/call/greet".to_owned(),
            authority: None,
            headers: HeaderMap::new(),
        },
        deadline: None,
        trace: Tracer::disabled().adopt(None),
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn spawn(command: &mut Command) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .spawn()
        .unwrap_or_else(|error| panic!("could not start `{program}` ({error}): these tests need the Debian package `prometheus`"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_complain_about() {
    let balancer = Balancer::start().await;
    let text = client().get(format!("http://{}/metrics", balancer.address)).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("lb_placer_latency_seconds_bucket{function=\"greet\",placer=\"naive\",le=\"0.0001\"} "), "{text}");
    let mut promtool = spawn(
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()),
    );
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
    balancer.stop().await;
}

/// A process of ours, which ends with the value, also when a test fails.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Prometheus of our own.
struct Prometheus {
    process: Owned,
    base: String,
    /// Keeps its log.
    log: std::thread::JoinHandle<String>,
}

impl Prometheus {
    /// Starts it and waits until it says where it listens.
    fn start(directory: &Path, config: &str) -> Self {
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut process = Owned(spawn(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
                // It asks for protobuf only with this.
                .args(["--web.listen-address=127.0.0.1:0", "--enable-feature=native-histograms"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        ));
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        let (told, tell) = mpsc::sync_channel(1);
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            while let Some(Ok(line)) = lines.next() {
                if line.contains("msg=\"Listening on\"") {
                    let address = line.split("address=").nth(1).unwrap_or_default().to_owned();
                    let _ = told.try_send(address);
                }
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        match tell.recv_timeout(PATIENCE) {
            Ok(address) => Self { process, base: format!("http://{address}"), log },
            Err(_) => {
                drop(process);
                panic!("prometheus did not say where it listens:\n{}", log.join().unwrap());
            }
        }
    }

    /// Ends it and gives its log.
    fn stop(self) -> String {
        drop(self.process);
        self.log.join().unwrap()
    }

    /// The results of a query, asked until there are any. `None` if there were none for a long time.
    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let client = client();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            // A form: of what queries here hold, only the space needs another way of writing.
            let request = client
                .post(format!("{}/api/v1/query", self.base))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("query={}", query.replace(' ', "+")));
            // It answers 503 until it has read its (empty) data.
            if let Ok(answer) = request.send().await
                && let Ok(answer) = answer.json::<Value>().await
                && let Some(results) = answer["data"]["result"].as_array()
                && !results.is_empty()
            {
                return Some(results.clone());
            }
            // Prometheus has no event for this: it scrapes twice a second.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }
}

/// Far longer than needed: it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_scrapes_native_histograms_and_finds_the_runners_through_the_balancer() {
    let balancer = Balancer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let address = balancer.address;
    let prometheus = Prometheus::start(
        directory.path(),
        &format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs:\n\
             - job_name: balancer\n\
             \x20 static_configs: [{{targets: ['{address}']}}]\n\
             - job_name: runners\n\
             \x20 http_sd_configs: [{{url: 'http://{address}/v1/prometheus-targets'}}]\n\
             \x20 relabel_configs: [{{source_labels: [__meta_runpool_runner], target_label: runner}}]\n"
        ),
    );
    let latency = prometheus.query("lb_placer_latency_seconds{job=\"balancer\"}").await;
    let attempts = prometheus.query("lb_placer_retry_error_total{job=\"balancer\"}").await;
    let discovered = prometheus.query("up{job=\"runners\"} == 1").await;
    let log = prometheus.stop();
    balancer.stop().await;

    let latency = latency.unwrap_or_else(|| panic!("no latency was scraped:\n{log}"));
    assert_eq!(latency[0]["metric"]["function"], "greet");
    assert_eq!(latency[0]["metric"]["placer"], "naive");
    assert_eq!(latency[0]["histogram"][1]["count"], "1", "a native histogram of one placement: {latency:?}");
    let attempts = attempts.unwrap_or_else(|| panic!("no counter was scraped:\n{log}"));
    assert_ne!(attempts[0]["value"][1], "0");
    let discovered = discovered.unwrap_or_else(|| panic!("no runner was discovered:\n{log}"));
    assert_eq!(discovered[0]["metric"]["runner"], address.to_string());
}
