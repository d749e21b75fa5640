//! What one decision costs: `cargo bench --bench placement`. Compare figures of one run only.

#![allow(clippy::expect_used, reason = "what cannot be had here ends the run, with its reason")]

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use runpool::placement::{ConsistentHash, Decision, Naive, Pass, Placer, PlacerEvent, Question};
use runpool::pool::{Member, Snapshot};
use runpool::protocol::AgentStatus;
use runpool::runner::{Attempt, Refused, RefusedWhy, Runner, RunnerCall, StatusError};

fn main() {
    divan::main();
}

#[derive(Debug)]
struct Nobody(String);

#[async_trait]
impl Runner for Nobody {
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

fn snapshot(runners: usize) -> Snapshot {
    let members = (0..runners).map(|number| Member::new(Arc::new(Nobody(format!("runner-{number}:9001"))))).collect();
    Snapshot::new(members).expect("numbered names differ")
}

/// The first decision of a pass.
fn first(bencher: divan::Bencher<'_, '_>, placer: &dyn Placer, runners: usize) {
    let snapshot = snapshot(runners);
    placer.observe(PlacerEvent::PoolChanged(&snapshot));
    let (mut pass, mut number) = (Pass::default(), 0_u64);
    let now = Instant::now();
    bencher.bench_local(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        pass.order.clear();
        pass.draw = number;
        let key = if number & 1 == 0 { "resize-image" } else { "hello" };
        let decision = placer.decide(Question { snapshot: &snapshot, key, now, pass: &mut pass });
        assert!(matches!(decision, Decision::Try(_)));
    });
}

#[divan::bench(args = [10, 100, 1_000])]
fn naive(bencher: divan::Bencher<'_, '_>, runners: usize) {
    first(bencher, &Naive, runners);
}

#[divan::bench(args = [10, 100, 1_000])]
fn consistent_hash(bencher: divan::Bencher<'_, '_>, runners: usize) {
    first(bencher, &ConsistentHash::default(), runners);
}
