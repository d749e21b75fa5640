//! What placement counts: all of Fn's placer measures, under their names with units.
//!
//! | ours | Fn's |
//! |---|---|
//! | `lb_placer_attempts` | `lb_placer_attempt_count` |
//! | `lb_placer_latency_seconds` | `lb_placer_latency` (milliseconds, truncated) |
//! | `lb_placer_pool_error_total`, `…_pool_empty_total` | `lb_placer_rp_error_count`, `…_rp_empty_count` |
//! | `lb_placer_client_cancelled_total`, `…_client_timeout_total`, `lb_placer_timeout_total` | `…_count` |
//! | `lb_placer_placed_{ok,abort,error}_total`, `lb_placer_retry_{busy,error}_total` | `…_count` |

use super::placers::Reason;
use crate::model::FunctionName;
use crate::telemetry::metrics::{
    Counter, CounterFamily, Gauge, HandleCache, Histogram, HistogramFamily, Label, LabelFilter, Metrics,
};

/// The families.
#[derive(Debug)]
pub struct PlacementMetrics {
    attempts: HistogramFamily,
    latency: HistogramFamily,
    pool_error: CounterFamily,
    pool_empty: CounterFamily,
    client_cancelled: CounterFamily,
    client_timeout: CounterFamily,
    timeout: CounterFamily,
    placed_ok: CounterFamily,
    placed_abort: CounterFamily,
    placed_error: CounterFamily,
    retry_busy: CounterFamily,
    retry_error: CounterFamily,
    overloaded: CounterFamily,
    waited: HistogramFamily,
    decisions: CounterFamily,
    waiting: Gauge,
    room_questions: [Counter; RoomAnswer::ALL.len()],
    filter: LabelFilter,
    handles: HandleCache<FunctionName, Handles>,
}

/// How a question for room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomAnswer {
    /// With a slot.
    Granted,
    /// No slot was free in time.
    NoneInTime,
    /// It could not be asked, or refused.
    Failed,
    /// No call waited any more.
    Dropped,
}

impl RoomAnswer {
    const ALL: [Self; 4] = [Self::Granted, Self::NoneInTime, Self::Failed, Self::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::NoneInTime => "none_in_time",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// The handles of one function under one placer.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) attempts: Histogram,
    pub(crate) latency: Histogram,
    pub(crate) pool_error: Counter,
    pub(crate) pool_empty: Counter,
    pub(crate) client_cancelled: Counter,
    pub(crate) client_timeout: Counter,
    pub(crate) timeout: Counter,
    pub(crate) placed_ok: Counter,
    pub(crate) placed_abort: Counter,
    pub(crate) placed_error: Counter,
    pub(crate) retry_busy: Counter,
    pub(crate) retry_error: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) waited: Histogram,
    /// One for each reason, in the order of [`Reason::ALL`].
    decisions: [Counter; Reason::ALL.len()],
}

/// Fn's buckets of the number of attempts.
const ATTEMPT_BUCKETS: [f64; 10] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

impl PlacementMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        let room = metrics.counter(
            "lb_placer_room_questions",
            "Full runners that were asked to say when they have room for a waiting call, by how that ended",
        );
        Self {
            room_questions: RoomAnswer::ALL.map(|answer| room.get_or_create_owned(&vec![("result", answer.as_str().to_owned())])),
            attempts: metrics.histogram("lb_placer_attempts", "Attempts made to place one call", &ATTEMPT_BUCKETS),
            latency: metrics.durations(
                "lb_placer_latency_seconds",
                "Time from the start of a placement to its last attempt (to its end, if not placed): every refused attempt and wait, without the committed attempt",
            ),
            pool_error: metrics.counter("lb_placer_pool_error", "Placements that failed and whose last look at the pool was an error"),
            pool_empty: metrics.counter("lb_placer_pool_empty", "Passes that found the pool empty"),
            client_cancelled: metrics.counter("lb_placer_client_cancelled", "Placements that ended because the client went away, placed or not"),
            client_timeout: metrics.counter("lb_placer_client_timeout", "Placements that ended at the call's own deadline"),
            timeout: metrics.counter("lb_placer_timeout", "Placements that ended unplaced at the placer timeout"),
            placed_ok: metrics.counter("lb_placer_placed_ok", "Attempts that committed with an answer"),
            placed_abort: metrics.counter("lb_placer_placed_abort", "Attempts that were withdrawn because the client went away"),
            placed_error: metrics.counter("lb_placer_placed_error", "Attempts that committed with an error"),
            retry_busy: metrics.counter("lb_placer_retry_busy", "Attempts refused because the runner is full"),
            retry_error: metrics.counter("lb_placer_retry_error", "Attempts refused or failed before the commit for any other reason"),
            overloaded: metrics.counter("lb_placer_overloaded", "Calls refused because as many wait as may, or because their turn would have come too late"),
            waited: metrics.durations("lb_placer_wait_seconds", "Time that calls which had to wait spent in the wait queue"),
            decisions: metrics.counter("lb_placer_decisions", "Placed calls by why their runner was chosen"),
            waiting: metrics.gauge("lb_placer_waiting", "Calls in the wait queue now").get_or_create_owned(&Vec::new()),
            filter: metrics.label_filter(),
            handles: HandleCache::default(),
        }
    }

    /// So many calls wait.
    pub(crate) fn waiting(&self, calls: usize) {
        self.waiting.set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// A question for room ended.
    pub(crate) fn room_asked(&self, answer: RoomAnswer) {
        self.room_questions[answer as usize].inc();
    }

    /// A call was placed for this reason.
    pub(crate) fn decided(&self, handles: &Handles, reason: Reason) {
        if let Some(position) = Reason::ALL.iter().position(|known| *known == reason) {
            handles.decisions[position].inc();
        }
    }

    /// The handles of one function; the placer's name does not change while the program runs.
    pub(crate) fn handles(&self, function: &FunctionName, placer: &str) -> &Handles {
        self.handles.get(function, || {
            let labels = self.filter.labels(&[(Label::Function, function.as_str()), (Label::Placer, placer)]);
            Handles {
                attempts: self.attempts.get_or_create_owned(&labels),
                latency: self.latency.get_or_create_owned(&labels),
                pool_error: self.pool_error.get_or_create_owned(&labels),
                pool_empty: self.pool_empty.get_or_create_owned(&labels),
                client_cancelled: self.client_cancelled.get_or_create_owned(&labels),
                client_timeout: self.client_timeout.get_or_create_owned(&labels),
                timeout: self.timeout.get_or_create_owned(&labels),
                placed_ok: self.placed_ok.get_or_create_owned(&labels),
                placed_abort: self.placed_abort.get_or_create_owned(&labels),
                placed_error: self.placed_error.get_or_create_owned(&labels),
                retry_busy: self.retry_busy.get_or_create_owned(&labels),
                retry_error: self.retry_error.get_or_create_owned(&labels),
                overloaded: self.overloaded.get_or_create_owned(&labels),
                waited: self.waited.get_or_create_owned(&labels),
                decisions: Reason::ALL.map(|reason| {
                    let mut labels = labels.clone();
                    labels.push(("reason", reason.as_str().to_owned()));
                    self.decisions.get_or_create_owned(&labels)
                }),
            }
        })
    }
}
