//! What the front counts: all of Fn's balancer measures, and what they leave out.
//!
//! | ours | Fn's |
//! |---|---|
//! | `lb_calls_total`, `lb_completed_total`, `lb_canceled_total`, `lb_timeouts_total`, `lb_errors_total`, `lb_server_busy_total` | `calls`, `completed`, … (sums) |
//! | `lb_queued`, `lb_running` | `queued`, `running` |
//! | `lb_call_latency_seconds` | `lb_call_latency` (milliseconds, tag `call_status`) |
//! | `lb_runner_sched_latency_seconds`, `lb_runner_exec_latency_seconds` | `lb_runner_sched_latency`, `lb_runner_exec_latency` |
//! | `lb_call_seconds`, `lb_rate_limited_total` | – |
//! | `lb_request_body_bytes_total`, `lb_answer_body_bytes_total` | – |
//! | `lb_in_flight` | – |

use std::sync::{Arc, OnceLock};

use crate::model::Outcome;
use crate::telemetry::metrics::{
    Counter, CounterFamily, HandleCache, Histogram, HistogramFamily, Label, LabelFilter, Level, LevelFamily, Metrics,
};

/// The families.
#[derive(Debug)]
pub struct FrontMetrics {
    calls: CounterFamily,
    queued: LevelFamily,
    running: LevelFamily,
    completed: CounterFamily,
    canceled: CounterFamily,
    timeouts: CounterFamily,
    errors: CounterFamily,
    server_busy: CounterFamily,
    rate_limited: CounterFamily,
    call_latency: HistogramFamily,
    call_seconds: HistogramFamily,
    sched_latency: HistogramFamily,
    exec_latency: HistogramFamily,
    request_bytes: CounterFamily,
    answer_bytes: CounterFamily,
    in_flight: Level,
    filter: LabelFilter,
    handles: HandleCache<String, Arc<Handles>>,
}

/// The handles of one function. Requests that reach no function share those of the function with the empty name.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) calls: Counter,
    pub(super) queued: Level,
    pub(super) running: Level,
    pub(super) sched_latency: Histogram,
    pub(super) exec_latency: Histogram,
    pub(super) request_bytes: Counter,
    pub(super) answer_bytes: Counter,
    pub(super) rate_limited: Counter,
    completed: Counter,
    canceled: Counter,
    timeouts: Counter,
    errors: Counter,
    server_busy: Counter,
    /// By [`Outcome::index`], made when an outcome is met first, so that there is no series for what never happened.
    by_outcome: Vec<OnceLock<ByOutcome>>,
}

/// The handles of one function and outcome.
#[derive(Debug)]
pub(super) struct ByOutcome {
    pub(super) call_latency: Histogram,
    pub(super) call_seconds: Histogram,
}

impl FrontMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        let in_flight = metrics.level("lb_in_flight", "Calls in hand, to the last byte of their answers");
        Self {
            calls: metrics.counter("lb_calls", "Calls received"),
            queued: metrics.level("lb_queued", "Calls whose body is being received"),
            running: metrics.level("lb_running", "Calls being placed or run, to the head of their answers"),
            completed: metrics.counter("lb_completed", "Calls that were answered by their function"),
            canceled: metrics.counter("lb_canceled", "Calls whose client went away"),
            timeouts: metrics
                .counter("lb_timeouts", "Calls that ran out of time after they were placed, or at their own deadline"),
            errors: metrics.counter("lb_errors", "Calls that ended with any other error"),
            server_busy: metrics.counter("lb_server_busy", "Calls that no runner took, or that the balancer had no room for"),
            rate_limited: metrics.counter(
                "lb_rate_limited",
                "Calls beyond the rate that their function or their token may have; among the errors",
            ),
            call_latency: metrics.durations(
                "lb_call_latency_seconds",
                "Time from the end of the request's held body to the head of the answer, without the function's own execution",
            ),
            call_seconds: metrics
                .durations("lb_call_seconds", "Time from the head of the request to the last byte of the answer"),
            sched_latency: metrics
                .durations("lb_runner_sched_latency_seconds", "Time from a runner's acceptance until a worker took the call"),
            exec_latency: metrics.durations("lb_runner_exec_latency_seconds", "Time from then until the function's answer began"),
            request_bytes: metrics.counter("lb_request_body_bytes", "Bytes of bodies received from clients"),
            answer_bytes: metrics.counter("lb_answer_body_bytes", "Bytes of bodies sent to clients"),
            in_flight: in_flight.get_or_create_owned(&Vec::new()),
            filter: metrics.label_filter(),
            handles: HandleCache::default(),
        }
    }

    /// Calls in hand.
    pub(super) const fn in_flight(&self) -> &Level {
        &self.in_flight
    }

    /// Those of requests that reach no function, or have not reached one yet.
    pub(super) fn handles_of_none(&self) -> &Handles {
        self.handles("")
    }

    /// The handles of one function.
    pub(super) fn handles(&self, function: &str) -> &Arc<Handles> {
        self.handles.get(function, || {
            let labels = self.filter.labels(&[(Label::Function, function)]);
            Arc::new(Handles {
                calls: self.calls.get_or_create_owned(&labels),
                queued: self.queued.get_or_create_owned(&labels),
                running: self.running.get_or_create_owned(&labels),
                sched_latency: self.sched_latency.get_or_create_owned(&labels),
                exec_latency: self.exec_latency.get_or_create_owned(&labels),
                request_bytes: self.request_bytes.get_or_create_owned(&labels),
                answer_bytes: self.answer_bytes.get_or_create_owned(&labels),
                rate_limited: self.rate_limited.get_or_create_owned(&labels),
                completed: self.completed.get_or_create_owned(&labels),
                canceled: self.canceled.get_or_create_owned(&labels),
                timeouts: self.timeouts.get_or_create_owned(&labels),
                errors: self.errors.get_or_create_owned(&labels),
                server_busy: self.server_busy.get_or_create_owned(&labels),
                by_outcome: Outcome::ALL.iter().map(|_| OnceLock::new()).collect(),
            })
        })
    }

    /// The handles of one function and outcome; `None` never comes, as every outcome has its place.
    pub(super) fn by_outcome<'a>(&self, handles: &'a Handles, function: &str, outcome: Outcome) -> Option<&'a ByOutcome> {
        let place = handles.by_outcome.get(outcome.index())?;
        Some(place.get_or_init(|| {
            let labels = self.filter.labels(&[(Label::Function, function), (Label::Outcome, outcome.as_str())]);
            ByOutcome {
                call_latency: self.call_latency.get_or_create_owned(&labels),
                call_seconds: self.call_seconds.get_or_create_owned(&labels),
            }
        }))
    }
}

impl Handles {
    /// Fn's counter for a call that ended so.
    pub(super) const fn ended(&self, outcome: Outcome) -> &Counter {
        match outcome {
            Outcome::Ok | Outcome::Accepted => &self.completed,
            Outcome::ClientGone => &self.canceled,
            Outcome::FunctionTimeout | Outcome::InitTimeout | Outcome::RunnerTimeout | Outcome::DeadlineExceeded => {
                &self.timeouts
            }
            Outcome::NoRunner | Outcome::PlacerTimeout | Outcome::Overloaded | Outcome::Draining => &self.server_busy,
            _ => &self.errors,
        }
    }
}
