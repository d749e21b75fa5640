//! What one runner did so far: the numbers of its view, and its metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::{Handles, RunnerMetrics};
use crate::protocol::{LoadReport, RefusalReason};
use crate::runner::{CallError, Noted, RefusedWhy};
use crate::telemetry::metrics::observe;

/// How an attempt ended, as a metric's label and a key of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The call ran here, or may have.
    Committed,
    /// The caller dropped the attempt.
    Withdrawn,
    /// A refusal of an agent.
    Agent(RefusalReason),
    /// A refusal of a plain server.
    Status,
    /// No connection.
    Unreachable,
    /// Closed on our side.
    Closed,
}

impl Ending {
    const ALL: [Self; 11] = [
        Self::Committed,
        Self::Withdrawn,
        Self::Agent(RefusalReason::Busy),
        Self::Agent(RefusalReason::FunctionBusy),
        Self::Agent(RefusalReason::Memory),
        Self::Agent(RefusalReason::Draining),
        Self::Agent(RefusalReason::Starting),
        Self::Agent(RefusalReason::UnknownFunction),
        Self::Status,
        Self::Unreachable,
        Self::Closed,
    ];

    /// Every ending, in the order of their index.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// The word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Withdrawn => "withdrawn",
            Self::Agent(reason) => reason.as_str(),
            Self::Status => "status",
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
        }
    }

    /// The position in the tables that are kept by ending.
    const fn index(self) -> usize {
        match self {
            Self::Committed => 0,
            Self::Withdrawn => 1,
            Self::Agent(RefusalReason::Busy) => 2,
            Self::Agent(RefusalReason::FunctionBusy) => 3,
            Self::Agent(RefusalReason::Memory) => 4,
            Self::Agent(RefusalReason::Draining) => 5,
            Self::Agent(RefusalReason::Starting) => 6,
            Self::Agent(RefusalReason::UnknownFunction) => 7,
            Self::Status => 8,
            Self::Unreachable => 9,
            Self::Closed => 10,
        }
    }
}

impl From<&RefusedWhy> for Ending {
    fn from(why: &RefusedWhy) -> Self {
        match why {
            RefusedWhy::Agent(reason) => Self::Agent(*reason),
            RefusedWhy::Status(_) => Self::Status,
            RefusedWhy::Unreachable(_) => Self::Unreachable,
            RefusedWhy::Closed => Self::Closed,
        }
    }
}

/// The numbers of one runner. They are kept beside the metrics, since without the label `runner` those are of all runners together.
#[derive(Debug)]
pub(super) struct Record {
    handles: Arc<Handles>,
    endings: [AtomicU64; Ending::ALL.len()],
    connections: AtomicU64,
    /// Protects what was seen last; held for a copy.
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    load: Option<LoadReport>,
    refusal: Option<(RefusedWhy, Instant)>,
    error: Option<(String, Instant)>,
}

/// The seen-last part of a view.
pub(super) struct LastView {
    pub(super) load: Option<LoadReport>,
    pub(super) refusal: Option<Noted>,
    pub(super) error: Option<Noted>,
}

impl Record {
    pub(super) fn new(metrics: &RunnerMetrics, address: &str) -> Arc<Self> {
        Arc::new(Self {
            handles: metrics.handles(address),
            endings: Default::default(),
            connections: AtomicU64::new(0),
            last: Mutex::default(),
        })
    }

    /// Counts one attempt.
    pub(super) fn ended(&self, ending: Ending) {
        let index = ending.index();
        if let (Some(count), Some(counter)) = (self.endings.get(index), self.handles.attempts.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
            counter.inc();
        }
    }

    /// Counts one refused attempt.
    pub(super) fn refused(&self, why: &RefusedWhy) {
        self.ended(Ending::from(why));
        self.last().refusal = Some((why.clone(), Instant::now()));
    }

    /// Counts one committed attempt that failed.
    pub(super) fn failed(&self, error: &CallError) {
        self.ended(Ending::Committed);
        self.last().error = Some((error.to_string(), Instant::now()));
    }

    /// Counts one committed attempt that was answered `first_byte` after its start.
    pub(super) fn answered(&self, first_byte: Duration) {
        self.ended(Ending::Committed);
        observe(&self.handles.first_byte, first_byte);
    }

    /// Keeps what an agent said of its load.
    pub(super) fn loaded(&self, load: LoadReport) {
        self.handles.slots.set(i64::from(load.slots));
        self.handles.reported_in_flight.set(i64::from(load.in_flight));
        self.last().load = Some(load);
    }

    /// Counts a connection, which took `took` to make, as open until what is returned is dropped.
    pub(super) fn connected(self: &Arc<Self>, took: Duration) -> OpenConnection {
        self.handles.connects.inc();
        observe(&self.handles.connect, took);
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.handles.connections.inc();
        OpenConnection(Arc::clone(self))
    }

    /// Counts something as in flight, until [`Record::lands`].
    pub(super) fn takes_off(&self) {
        self.handles.in_flight.inc();
    }

    /// What took off is in flight no more.
    pub(super) fn lands(&self) {
        self.handles.in_flight.dec();
    }

    /// What took off is in flight until what is returned is dropped.
    pub(super) fn flies_on(self: &Arc<Self>) -> InFlight {
        InFlight(Arc::clone(self))
    }

    /// Open connections.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The number of attempts by ending, without those that never occurred.
    pub(super) fn endings(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.endings.iter().map(|count| count.load(Ordering::Relaxed));
        Ending::all().map(Ending::as_str).zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// What was seen last.
    pub(super) fn seen_last(&self) -> LastView {
        fn noted(text: &impl ToString, at: Instant) -> Noted {
            Noted { text: text.to_string(), seconds_ago: at.elapsed().as_secs_f64() }
        }
        let last = self.last();
        LastView {
            load: last.load,
            refusal: last.refusal.as_ref().map(|(why, at)| noted(why, *at)),
            error: last.error.as_ref().map(|(text, at)| noted(text, *at)),
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct OpenConnection(Arc<Record>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.handles.connections.dec();
    }
}

/// An attempt under way, or an answer that still streams.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Record>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lands();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_a_place_of_its_own_and_the_word_of_its_refusal() {
        for (position, ending) in Ending::all().enumerate() {
            assert_eq!(ending.index(), position);
        }
        let whys = RefusalReason::ALL.into_iter().map(RefusedWhy::Agent).chain([
            RefusedWhy::Status(503),
            RefusedWhy::Unreachable("gone".into()),
            RefusedWhy::Closed,
        ]);
        for why in whys {
            assert_eq!(Ending::from(&why).as_str(), why.as_str());
        }
    }
}
