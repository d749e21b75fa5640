//! What is counted of runners. The series of a runner go when the last one with its address is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::record::Ending;
use crate::telemetry::metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Label, LabelFilter, Labels, Level, LevelFamily,
    Metrics,
};

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunnerMetrics {
    families: Arc<Families>,
}

#[derive(Debug)]
struct Families {
    attempts: CounterFamily,
    in_flight: LevelFamily,
    connections: LevelFamily,
    connects: CounterFamily,
    connect: HistogramFamily,
    first_byte: HistogramFamily,
    slots: GaugeFamily,
    reported_in_flight: GaugeFamily,
    filter: LabelFilter,
    /// The handles in use, by address: two runners with one address (a reload that changes settings makes them) share their series.
    /// Protects the making and the removing of series against each other; held for a look-up.
    in_use: Mutex<HashMap<String, Weak<Handles>>>,
}

/// The handles of one runner.
#[derive(Debug)]
pub(super) struct Handles {
    /// By the index of the ending.
    pub(super) attempts: Vec<Counter>,
    pub(super) in_flight: Level,
    pub(super) connections: Level,
    pub(super) connects: Counter,
    pub(super) connect: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) slots: Gauge,
    pub(super) reported_in_flight: Gauge,
    address: String,
    families: Arc<Families>,
}

impl RunnerMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        let families = Families {
            attempts: metrics.counter(
                "lb_runner_attempts",
                "Attempts by how they ended: committed, withdrawn (the caller went away), or why they were refused",
            ),
            in_flight: metrics.level("lb_runner_in_flight", "Attempts under way and answers still streaming"),
            connections: metrics.level("lb_runner_connections", "Open connections, unused ones included"),
            connects: metrics.counter("lb_runner_connects", "Connections made"),
            connect: metrics.durations("lb_runner_connect_seconds", "Time that making a connection took, name look-up included"),
            first_byte: metrics.durations(
                "lb_runner_first_byte_seconds",
                "Time from the start of a committed attempt to the head of its answer",
            ),
            slots: metrics.gauge("lb_runner_slots", "Slots that the agent reported last"),
            reported_in_flight: metrics
                .gauge("lb_runner_reported_in_flight", "Calls in slots that the agent reported last: those of every balancer"),
            filter: metrics.label_filter(),
            in_use: Mutex::default(),
        };
        Self { families: Arc::new(families) }
    }

    /// The handles of the runner at `address`.
    pub(super) fn handles(&self, address: &str) -> Arc<Handles> {
        let mut in_use = self.families.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = in_use.get(address).and_then(Weak::upgrade) {
            return handles;
        }
        let handles = Arc::new(Handles::make(&self.families, address));
        in_use.insert(address.to_owned(), Arc::downgrade(&handles));
        handles
    }
}

impl Families {
    fn labels(&self, address: &str) -> Labels {
        self.filter.labels(&[(Label::Runner, address)])
    }

    fn attempt_labels(&self, address: &str, ending: Ending) -> Labels {
        self.filter.labels(&[(Label::Runner, address), (Label::Outcome, ending.as_str())])
    }

    fn remove_series(&self, address: &str) {
        let labels = self.labels(address);
        if labels.is_empty() {
            // The series are those of all runners together.
            return;
        }
        for ending in Ending::all() {
            self.attempts.remove(&self.attempt_labels(address, ending));
        }
        for level in [&self.in_flight, &self.connections] {
            level.remove(&labels);
        }
        for gauge in [&self.slots, &self.reported_in_flight] {
            gauge.remove(&labels);
        }
        self.connects.remove(&labels);
        self.connect.remove(&labels);
        self.first_byte.remove(&labels);
    }
}

impl Handles {
    fn make(families: &Arc<Families>, address: &str) -> Self {
        let labels = families.labels(address);
        let attempts = |ending| families.attempts.get_or_create_owned(&families.attempt_labels(address, ending));
        Self {
            attempts: Ending::all().map(attempts).collect(),
            in_flight: families.in_flight.get_or_create_owned(&labels),
            connections: families.connections.get_or_create_owned(&labels),
            connects: families.connects.get_or_create_owned(&labels),
            connect: families.connect.get_or_create_owned(&labels),
            first_byte: families.first_byte.get_or_create_owned(&labels),
            slots: families.slots.get_or_create_owned(&labels),
            reported_in_flight: families.reported_in_flight.get_or_create_owned(&labels),
            address: address.to_owned(),
            families: Arc::clone(families),
        }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        let mut in_use = self.families.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        // Between the end of the last user and here another runner may have been made, on the same series.
        if in_use.get(&self.address).is_some_and(|newer| newer.strong_count() > 0) {
            return;
        }
        in_use.remove(&self.address);
        self.families.remove_series(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::MetricsConfig;
    use prometheus_client::encoding::text::encode;

    fn written(metrics: &Metrics) -> String {
        let mut text = String::new();
        encode(&mut text, metrics.registry()).unwrap();
        text
    }

    #[test]
    fn the_series_of_a_runner_go_with_the_last_runner_of_its_address() {
        let mut metrics = Metrics::new(&MetricsConfig::default());
        let runners = RunnerMetrics::declare(&mut metrics);
        let (first, second) = (runners.handles("a:1"), runners.handles("a:1"));
        first.in_flight.inc();
        second.in_flight.inc();
        drop(first);
        assert!(written(&metrics).contains(r#"lb_runner_in_flight{runner="a:1"} 2"#), "{}", written(&metrics));
        drop(second);
        assert!(!written(&metrics).contains("a:1"), "{}", written(&metrics));
    }

    #[test]
    fn without_the_runner_label_all_runners_share_series_that_stay() {
        let mut metrics = Metrics::new(&MetricsConfig { labels: Vec::new(), ..MetricsConfig::default() });
        let runners = RunnerMetrics::declare(&mut metrics);
        let (first, second) = (runners.handles("a:1"), runners.handles("b:1"));
        first.in_flight.inc();
        second.in_flight.inc();
        drop(first);
        assert!(written(&metrics).contains("lb_runner_in_flight 2"), "{}", written(&metrics));
    }
}
