//! What is counted of sources.

use super::SourceName;
use crate::telemetry::metrics::{CounterFamily, GaugeFamily, Labels, Metrics};

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    up: GaugeFamily,
    runners: GaugeFamily,
    errors: CounterFamily,
}

impl SourceMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        Self {
            up: metrics.gauge(
                "lb_pool_source_up",
                "Whether the source (configuration, file, dns, registration) could be read the last time: 1 or 0, which keeps the last good list",
            ),
            runners: metrics.gauge("lb_pool_source_runners", "Runners that the source lists"),
            errors: metrics.counter("lb_pool_source_errors", "Times that the source could not be read"),
        }
    }

    /// The source lists so many runners.
    pub fn listed(&self, source: SourceName, runners: usize) {
        let labels = labels(source);
        self.up.get_or_create(&labels).set(1);
        self.runners.get_or_create(&labels).set(i64::try_from(runners).unwrap_or(i64::MAX));
        // A rate can be told only of what was zero before.
        self.errors.get_or_create(&labels);
    }

    /// The source could not be read.
    pub fn failed(&self, source: SourceName) {
        let labels = labels(source);
        self.up.get_or_create(&labels).set(0);
        self.errors.get_or_create(&labels).inc();
    }
}

fn labels(source: SourceName) -> Labels {
    vec![("source", source.as_str().to_owned())]
}
