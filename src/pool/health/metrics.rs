//! What is counted of the health of runners.

use super::view::HealthState;
use crate::pool::{ClosedWhy, Member};
use crate::telemetry::metrics::{CounterFamily, GaugeFamily, Label, LabelFilter, Labels, Metrics};

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HealthMetrics {
    state: GaugeFamily,
    ejections: CounterFamily,
    filter: LabelFilter,
}

impl HealthMetrics {
    /// Declares the families.
    pub fn declare(metrics: &mut Metrics) -> Self {
        Self {
            state: metrics.gauge(
                "lb_runner_state",
                "Whether the runner is in this state (open, probing, ejected, draining): 1 or 0; without the label runner, how many are",
            ),
            ejections: metrics.counter(
                "lb_runner_ejections",
                "Times that the runner was ejected, by reason: unreachable, unhealthy, failures, success_rate",
            ),
            filter: metrics.label_filter(),
        }
    }

    /// The runner is new, and gets calls.
    pub(super) fn joined(&self, member: &Member) {
        self.entered(member, HealthState::Open);
        // A rate can be told only of what was zero before.
        for why in ClosedWhy::ALL.into_iter().filter(|why| *why != ClosedWhy::Draining) {
            self.ejections.get_or_create(&self.labels(member, "reason", why.as_str()));
        }
    }

    pub(super) fn entered(&self, member: &Member, state: HealthState) {
        self.state.get_or_create(&self.labels(member, "state", state.as_str())).inc();
    }

    pub(super) fn left(&self, member: &Member, state: HealthState) {
        self.state.get_or_create(&self.labels(member, "state", state.as_str())).dec();
    }

    pub(super) fn ejected(&self, member: &Member, why: ClosedWhy) {
        self.ejections.get_or_create(&self.labels(member, "reason", why.as_str())).inc();
    }

    /// The runner is gone, and was in this state.
    pub(super) fn gone(&self, member: &Member, state: HealthState) {
        self.left(member, state);
        if self.filter.labels(&[(Label::Runner, member.runner.address())]).is_empty() {
            // The series are those of all runners together.
            return;
        }
        for state in HealthState::ALL {
            self.state.remove(&self.labels(member, "state", state.as_str()));
        }
        for why in ClosedWhy::ALL {
            self.ejections.remove(&self.labels(member, "reason", why.as_str()));
        }
    }

    fn labels(&self, member: &Member, name: &'static str, value: &str) -> Labels {
        let mut labels = self.filter.labels(&[(Label::Runner, member.runner.address())]);
        labels.push((name, value.to_owned()));
        labels
    }
}
