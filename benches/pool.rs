//! What a change of a pool costs: `cargo bench --bench pool`. Compare figures of one run only.

#![allow(clippy::expect_used, reason = "what cannot be had here ends the run, with its reason")]

use std::sync::Arc;

use async_trait::async_trait;
use runpool::pool::{Admission, ClosedWhy, Member, RunnerPlace, Snapshot, SnapshotPool};
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

fn member(number: usize) -> Member {
    Member::new(Arc::new(Nobody(format!("runner-{number}:9001"))))
}

fn members(runners: usize) -> Vec<Member> {
    (0..runners).map(member).collect()
}

/// One runner of many is closed, then open again, and so on.
#[divan::bench(args = [10, 1_000, 10_000])]
fn one_runner_changes(bencher: divan::Bencher<'_, '_>, runners: usize) {
    let pool = SnapshotPool::new(members(runners)).expect("numbered names differ");
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 7_919) % runners;
        pool.change(|edit| {
            let member = edit.so_far().get(RunnerPlace(number as u32)).expect("places are dense");
            let admission = match member.admission {
                Admission::Open => Admission::Closed(ClosedWhy::Failures),
                _ => Admission::Open,
            };
            let changed = Member { admission, ..Member::clone(member) };
            edit.put(changed);
        });
    });
}

/// One runner of many leaves, another joins.
#[divan::bench(args = [10, 1_000, 10_000])]
fn one_runner_is_exchanged(bencher: divan::Bencher<'_, '_>, runners: usize) {
    let pool = SnapshotPool::new(members(runners)).expect("numbered names differ");
    let mut number = runners;
    bencher
        .with_inputs(|| {
            number += 1;
            member(number)
        })
        .bench_local_values(|joining| {
            pool.change(|edit| {
                let place = edit.so_far().places().next().map(|(place, _)| place).expect("there are runners");
                edit.remove(place);
                edit.put(joining);
            });
        });
}

/// Finding out which one of many changed.
#[divan::bench(args = [10, 1_000, 10_000])]
fn what_changed_is_found(bencher: divan::Bencher<'_, '_>, runners: usize) {
    let older = Snapshot::new(members(runners)).expect("numbered names differ");
    let changed = Member { weight: 7, ..Member::clone(older.get(RunnerPlace(runners as u32 / 2)).expect("places are dense")) };
    let newer = older.with(changed);
    bencher.bench_local(|| assert_eq!(newer.diff(&older).len(), 1));
}

/// The whole list is told again, and is the same but for one.
#[divan::bench(args = [10, 1_000, 10_000])]
fn the_whole_list_is_told_again(bencher: divan::Bencher<'_, '_>, runners: usize) {
    let list = members(runners);
    let pool = SnapshotPool::new(list.clone()).expect("numbered names differ");
    let mut weight = 1;
    bencher.bench_local(|| {
        weight += 1;
        let mut list = list.clone();
        list[0].weight = weight;
        pool.replace(list).expect("numbered names differ")
    });
}
