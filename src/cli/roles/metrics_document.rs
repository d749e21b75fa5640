//! `docs/metrics.md`: the table of all metrics, made of what the two roles declare. That it lacks nothing that a real process exposes, and
//! that the labels are right, is held by `tests/observability.rs`.

use std::fmt::Write as _;

use super::reload::Reload;
use crate::agent::AgentMetrics;
use crate::config::{Config, Sources};
use crate::front::FrontMetrics;
use crate::placement::PlacementMetrics;
use crate::pool::health::HealthMetrics;
use crate::pool::sources::SourceMetrics;
use crate::runner::http::RunnerMetrics;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{Declaration, Metrics, MetricsConfig};
use crate::telemetry::process;
use crate::telemetry::trace::Tracer;
use crate::tls::TlsMetrics;

/// Set to write the copy instead of comparing it.
const UPDATE: &str = "RUNPOOL_UPDATE_DOCS";

const FUNCTION: &str = "function";
const OUTCOME: &str = "function, outcome";
const PLACER: &str = "function, placer";
const RUNNER: &str = "runner";

/// Of each metric: its labels, and Fn's name for the same.
const FACTS: &[(&str, &str, &str)] = &[
    ("lb_in_flight", "", ""),
    ("lb_calls_total", FUNCTION, "calls"),
    ("lb_queued", FUNCTION, "queued"),
    ("lb_running", FUNCTION, "running"),
    ("lb_completed_total", FUNCTION, "completed"),
    ("lb_canceled_total", FUNCTION, "canceled"),
    ("lb_timeouts_total", FUNCTION, "timeouts"),
    ("lb_errors_total", FUNCTION, "errors"),
    ("lb_server_busy_total", FUNCTION, "server_busy"),
    ("lb_rate_limited_total", FUNCTION, ""),
    ("lb_call_latency_seconds", OUTCOME, "lb_call_latency"),
    ("lb_call_seconds", OUTCOME, ""),
    ("lb_runner_sched_latency_seconds", FUNCTION, "lb_runner_sched_latency"),
    ("lb_runner_exec_latency_seconds", FUNCTION, "lb_runner_exec_latency"),
    ("lb_request_body_bytes_total", FUNCTION, ""),
    ("lb_answer_body_bytes_total", FUNCTION, ""),
    ("lb_placer_attempts", PLACER, "lb_placer_attempt_count"),
    ("lb_placer_latency_seconds", PLACER, "lb_placer_latency"),
    ("lb_placer_pool_error_total", PLACER, "lb_placer_rp_error_count"),
    ("lb_placer_pool_empty_total", PLACER, "lb_placer_rp_empty_count"),
    ("lb_placer_client_cancelled_total", PLACER, "lb_placer_client_cancelled_count"),
    ("lb_placer_client_timeout_total", PLACER, "lb_placer_client_timeout_count"),
    ("lb_placer_timeout_total", PLACER, "lb_placer_timeout_count"),
    ("lb_placer_placed_ok_total", PLACER, "lb_placer_placed_ok_count"),
    ("lb_placer_placed_abort_total", PLACER, "lb_placer_placed_abort_count"),
    ("lb_placer_placed_error_total", PLACER, "lb_placer_placed_error_count"),
    ("lb_placer_retry_busy_total", PLACER, "lb_placer_retry_busy_count"),
    ("lb_placer_retry_error_total", PLACER, "lb_placer_retry_error_count"),
    ("lb_placer_overloaded_total", PLACER, ""),
    ("lb_placer_wait_seconds", PLACER, ""),
    ("lb_placer_decisions_total", "function, placer, reason", ""),
    ("lb_placer_room_questions_total", "result", ""),
    ("lb_placer_waiting", "", ""),
    ("lb_runner_attempts_total", "runner, outcome", ""),
    ("lb_runner_in_flight", RUNNER, ""),
    ("lb_runner_connections", RUNNER, ""),
    ("lb_runner_connects_total", RUNNER, ""),
    ("lb_runner_connect_seconds", RUNNER, ""),
    ("lb_runner_first_byte_seconds", RUNNER, ""),
    ("lb_runner_slots", RUNNER, ""),
    ("lb_runner_reported_in_flight", RUNNER, ""),
    ("lb_runner_state", "runner, state", ""),
    ("lb_runner_ejections_total", "runner, reason", ""),
    ("lb_pool_source_up", "source", ""),
    ("lb_pool_source_runners", "source", ""),
    ("lb_pool_source_errors_total", "source", ""),
    ("runner_calls_total", OUTCOME, ""),
    ("runner_init_seconds", FUNCTION, "container_uds_init_latency"),
    ("runner_scheduling_seconds", FUNCTION, ""),
    ("runner_execution_seconds", FUNCTION, ""),
    ("runner_cold_starts_total", FUNCTION, ""),
    ("runner_refusals_total", "outcome", ""),
    ("runner_room_requests_total", "outcome", ""),
    ("runner_evictions_total", "", "container_evictions"),
    ("runner_in_flight", "", ""),
    ("runner_room_waiting", "", ""),
    ("runner_slots", "", ""),
    ("runner_memory_bytes", "", ""),
    ("runner_memory_used_bytes", "", "util_mem_used"),
    ("runner_workers_starting", "", "container_start_total"),
    ("runner_workers_idle", "", "container_idle_total"),
    ("runner_workers_busy", "", "container_busy_total"),
    ("tls_handshakes_total", "use, result", ""),
    ("tls_certificate_expiry_timestamp_seconds", "use", ""),
    ("tls_last_reload_successful", "use", ""),
    ("config_last_reload_successful", "", ""),
    ("config_last_reload_success_timestamp_seconds", "", ""),
    ("runpool_build_info", "version, commit", ""),
    ("runpool_access_log_dropped_total", "", ""),
    ("runpool_spans_dropped_total", "", ""),
    ("process_cpu_seconds_total", "", ""),
    ("process_resident_memory_bytes", "", ""),
    ("process_virtual_memory_bytes", "", ""),
    ("process_open_fds", "", ""),
    ("process_max_fds", "", ""),
    ("process_start_time_seconds", "", ""),
    ("process_threads", "", ""),
];

const HEAD: &str = "\
# Metrics

The balancer serves its metrics at `/metrics` of the admin listener (`admin.listen`), a runner at `/metrics` of its own. Each is written as
Prometheus text, OpenMetrics, or protobuf with native histograms, whichever the scraper asks for. A Prometheus that knows the balancer finds the
runners by itself:

```yaml
scrape_configs:
- job_name: balancer
  static_configs: [{targets: ['127.0.0.1:8081']}]
- job_name: runners
  http_sd_configs: [{url: 'http://127.0.0.1:8081/v1/prometheus-targets'}]
  relabel_configs: [{source_labels: [__meta_runpool_runner], target_label: runner}]
```

Times are in seconds, with the resolution of the clock. Values of labels come from the configuration and from closed sets, never from a request.
The function `\"\"` stands for requests that reached no function. `telemetry.labels` chooses among the labels `function`, `runner`, `placer` and
`outcome`; `telemetry.buckets` are the classic buckets of all times; `telemetry.native_histograms` turns native histograms off.

The column *Fn* has the name of the same measure in the Fn project, which Prometheus shows with `fn_` before it. Fn's times are whole milliseconds.

This file is made by a test: `RUNPOOL_UPDATE_DOCS=1 cargo test --lib metrics_document`.
";

/// What a process declares whatever its role.
fn declare_common(metrics: &mut Metrics) {
    let loaded = Config::load(&Sources::default()).unwrap();
    drop(Reload::new(Sources::default(), loaded, |_| {}, metrics));
    process::declare(metrics, "", None);
    TlsMetrics::declare(metrics);
    Tracer::disabled().declare(metrics);
}

fn balancer() -> Metrics {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    FrontMetrics::declare(&mut metrics);
    PlacementMetrics::declare(&mut metrics);
    RunnerMetrics::declare(&mut metrics);
    SourceMetrics::declare(&mut metrics);
    HealthMetrics::declare(&mut metrics);
    AccessLog::off().declare(&mut metrics);
    declare_common(&mut metrics);
    metrics
}

fn runner() -> Metrics {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    AgentMetrics::declare(&mut metrics);
    declare_common(&mut metrics);
    metrics
}

fn table<'a>(text: &mut String, title: &str, declarations: impl IntoIterator<Item = &'a Declaration>) {
    write!(text, "\n## {title}\n\n| metric | type | labels | meaning | Fn |\n|---|---|---|---|---|\n").unwrap();
    for Declaration { name, kind, help } in declarations {
        let facts = FACTS.iter().find(|(known, ..)| known == name);
        let (_, labels, in_fn) = facts.unwrap_or_else(|| panic!("`{name}` is new: add its labels, and Fn's name if it has one"));
        let in_fn = if in_fn.is_empty() { String::new() } else { format!("`{in_fn}`") };
        writeln!(text, "| `{name}` | {} | {labels} | {help} | {in_fn} |", kind.as_str()).unwrap();
    }
}

#[test]
fn the_table_of_metrics_is_what_the_roles_declare() {
    let (balancer, runner) = (balancer(), runner());
    let (balancer, runner) = (balancer.declarations(), runner.declarations());
    let mut text = HEAD.to_owned();
    table(&mut text, "Of a balancer", balancer.iter().filter(|declaration| !runner.contains(declaration)));
    table(&mut text, "Of a runner", runner.iter().filter(|declaration| !balancer.contains(declaration)));
    table(&mut text, "Of both", balancer.iter().filter(|declaration| runner.contains(declaration)));
    for (name, ..) in FACTS {
        assert!(text.contains(&format!("\n| `{name}` |")), "`{name}` is not declared any more");
    }

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "docs/metrics.md differs from what is declared: run this test with {UPDATE}=1 and look at the change");
}
