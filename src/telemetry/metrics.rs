//! Metric families with labels from configuration, and handles that are held.
//!
//! The numbers behind the shape (one core of a shared machine): a held counter costs 6 ns and a held histogram 23 ns a record,
//! a look-up by label values 56 ns more. So handles are looked up once per function, runner and outcome, and kept.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::metrics::{counter, gauge};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

pub use super::family::{Family, Labels, MakeMetric};
pub use super::handle_cache::HandleCache;
pub use super::histogram::Histogram;
pub use super::per_worker::Sum;

/// The labels there are. Their values come from configuration or from closed sets, never from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The function's name.
    Function,
    /// The runner's id.
    Runner,
    /// The placer's name.
    Placer,
    /// The outcome's word.
    Outcome,
}

impl Label {
    /// The label's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Runner => "runner",
            Self::Placer => "placer",
            Self::Outcome => "outcome",
        }
    }
}

/// How metrics are made: part of `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Which labels the metrics of calls, placements and runners carry.
    pub labels: Vec<Label>,
    /// Upper bounds of the classic buckets of every duration, in seconds.
    pub buckets: Vec<f64>,
    /// Whether histograms are also kept as native ones (seen by scrapers that ask for protobuf).
    pub native_histograms: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            labels: vec![Label::Function, Label::Runner, Label::Placer, Label::Outcome],
            buckets: vec![
                0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
                60.0, 120.0, 360.0,
            ],
            native_histograms: true,
        }
    }
}

/// A counter, to which each worker adds for itself.
pub type Counter = counter::Counter<u64, Sum>;
/// A gauge that is set.
pub type Gauge = gauge::Gauge;
/// A gauge that goes up and down by steps, which each worker counts for itself.
pub type Level = gauge::Gauge<i64, Sum>;

/// A family of counters.
pub type CounterFamily = Family<Counter>;
/// A family of gauges.
pub type GaugeFamily = Family<Gauge>;
/// A family of levels.
pub type LevelFamily = Family<Level>;
/// A family of histograms.
pub type HistogramFamily = Family<Histogram, HistogramMaker>;

/// Makes the histograms of one family, all with the same buckets.
#[derive(Clone, Debug)]
pub struct HistogramMaker {
    buckets: Arc<[f64]>,
    is_native: bool,
}

impl MakeMetric<Histogram> for HistogramMaker {
    fn make(&self) -> Histogram {
        Histogram::new(Arc::clone(&self.buckets), self.is_native)
    }
}

/// What a scraper is told about a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The name of the series, with the suffix `_total` of counters.
    pub name: String,
    /// What is counted or measured.
    pub kind: MetricKind,
    /// What it means.
    pub help: String,
}

/// The kinds of metric that are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl MetricKind {
    /// The word that Prometheus uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where families are declared while the program starts. Afterwards it is only read.
///
/// Families are written out in the order of their declaration, series in the order of their label values.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    config: MetricsConfig,
    declarations: Vec<Declaration>,
}

impl Metrics {
    /// An empty set.
    pub fn new(config: &MetricsConfig) -> Self {
        Self { registry: Registry::default(), config: config.clone(), declarations: Vec::new() }
    }

    /// Declares a counter; its series are called `name` + `_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> CounterFamily {
        let family = CounterFamily::default();
        self.note(format!("{name}_total"), MetricKind::Counter, help);
        self.registry.register(name, without_full_stop(help), family.clone());
        family
    }

    /// Declares a counter without labels that somebody else holds and counts on; its series is called `name` + `_total`.
    pub fn single_counter(&mut self, name: &str, help: &str, counter: Counter) {
        self.note(format!("{name}_total"), MetricKind::Counter, help);
        self.registry.register(name, without_full_stop(help), counter);
    }

    /// Declares a gauge.
    pub fn gauge(&mut self, name: &str, help: &str) -> GaugeFamily {
        let family = GaugeFamily::default();
        self.note(name.to_owned(), MetricKind::Gauge, help);
        self.registry.register(name, without_full_stop(help), family.clone());
        family
    }

    /// Declares a gauge of things that come and go.
    pub fn level(&mut self, name: &str, help: &str) -> LevelFamily {
        let family = LevelFamily::default();
        self.note(name.to_owned(), MetricKind::Gauge, help);
        self.registry.register(name, without_full_stop(help), family.clone());
        family
    }

    /// Declares a histogram of durations, in seconds with the configured buckets; `name` ends in `_seconds`.
    pub fn durations(&mut self, name: &str, help: &str) -> HistogramFamily {
        debug_assert!(name.ends_with("_seconds"), "{name} must end in _seconds");
        let buckets = self.config.buckets.clone();
        self.histogram(name, help, &buckets)
    }

    /// Declares a histogram of counts with its own buckets.
    pub fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> HistogramFamily {
        let maker = HistogramMaker { buckets: buckets.into(), is_native: self.config.native_histograms };
        let family = HistogramFamily::made_by(maker);
        self.note(name.to_owned(), MetricKind::Histogram, help);
        self.registry.register(name, without_full_stop(help), family.clone());
        family
    }

    /// Declares metrics that are read when somebody scrapes.
    pub fn collector(&mut self, declarations: Vec<Declaration>, collector: Box<dyn Collector>) {
        self.declarations.extend(declarations);
        self.registry.register_collector(collector);
    }

    /// The label values of a series: of those given, the ones that are configured.
    pub fn labels(&self, values: &[(Label, &str)]) -> Labels {
        labels(&self.config.labels, values)
    }

    /// A filter that can be kept after this set was frozen.
    pub fn label_filter(&self) -> LabelFilter {
        LabelFilter(self.config.labels.clone().into())
    }

    /// The names of all declared series, as a scraper sees them.
    pub fn names(&self) -> Vec<String> {
        self.declarations.iter().map(|declaration| declaration.name.clone()).collect()
    }

    /// All that was declared, in the order of its declaration.
    pub fn declarations(&self) -> &[Declaration] {
        &self.declarations
    }

    /// The registry, for writing it out.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The registry, for metrics of other shapes than the ones here.
    pub const fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    fn note(&mut self, name: String, kind: MetricKind, help: &str) {
        self.declarations.push(Declaration { name, kind, help: help.to_owned() });
    }
}

/// Which labels are configured.
#[derive(Clone, Debug)]
pub struct LabelFilter(Arc<[Label]>);

impl LabelFilter {
    /// The label values of a series: of those given, the ones that are configured.
    pub fn labels(&self, values: &[(Label, &str)]) -> Labels {
        labels(&self.0, values)
    }
}

fn labels(configured: &[Label], values: &[(Label, &str)]) -> Labels {
    values
        .iter()
        .filter(|(label, _)| configured.contains(label))
        .map(|(label, value)| (label.as_str(), (*value).to_owned()))
        .collect()
}

/// The registry adds a full stop of its own.
fn without_full_stop(help: &str) -> &str {
    help.strip_suffix('.').unwrap_or(help)
}

/// Records a duration on a histogram in seconds, with its full resolution.
pub fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_labels_reach_a_series() {
        let metrics = Metrics::new(&MetricsConfig { labels: vec![Label::Function], ..MetricsConfig::default() });
        let given = [(Label::Placer, "ch"), (Label::Function, "greet"), (Label::Runner, "a:1")];
        assert_eq!(metrics.labels(&given), [("function", "greet".to_owned())]);
        assert_eq!(metrics.label_filter().labels(&given), metrics.labels(&given));
    }

    #[test]
    fn what_is_declared_can_be_listed_as_a_scraper_sees_it() {
        let mut metrics = Metrics::new(&MetricsConfig::default());
        metrics.counter("calls", "Calls");
        metrics.durations("wait_seconds", "Waits");
        assert_eq!(metrics.names(), ["calls_total", "wait_seconds"]);
        let kinds: Vec<_> = metrics.declarations().iter().map(|declaration| declaration.kind.as_str()).collect();
        assert_eq!(kinds, ["counter", "histogram"]);
    }
}
