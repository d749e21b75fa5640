//! What placing a call costs: `cargo bench --bench placement`. Compare figures of one run only.
//!
//! `decision` is what stands between a call's arrival and the attempt; `whole_call` adds the answer's head and the end, as the loop is told of them, and
//! what prequal's probes cost it.

#[path = "support/steady.rs"]
mod steady;

use std::cell::RefCell;
use std::sync::Arc;

use runpool::placement::{HomeRing, PlacerChoice};
use runpool::pool::RunnerPlace;

use self::steady::Steady;

const RUNNERS: [u32; 3] = [10, 1_000, 10_000];
const PLACERS: [PlacerChoice; 9] = PlacerChoice::ALL;

fn main() {
    divan::main();
}

/// Names for the table.
#[derive(Clone, Copy)]
struct Of(PlacerChoice, u32);

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.0.as_str(), self.1)
    }
}

fn all() -> impl Iterator<Item = Of> {
    PLACERS.into_iter().flat_map(|placer| RUNNERS.map(|runners| Of(placer, runners)))
}

#[divan::bench(args = all(), sample_size = 16, sample_count = 2_000)]
fn decision(bencher: divan::Bencher<'_, '_>, of: Of) {
    let steady = RefCell::new(Steady::new(of.0, of.1));
    for _ in 0..10_000 {
        steady.borrow_mut().arrive();
    }
    bencher.with_inputs(|| steady.borrow_mut().settle()).bench_local_values(|()| steady.borrow_mut().decide());
}

#[divan::bench(args = all())]
fn whole_call(bencher: divan::Bencher<'_, '_>, of: Of) {
    let mut steady = Steady::new(of.0, of.1);
    for _ in 0..10_000 {
        steady.arrive();
    }
    bencher.bench_local(|| steady.arrive());
}

/// Off the request path: the ring of so many runners after one has left.
#[divan::bench(args = RUNNERS, sample_count = 10)]
fn ring_without_one(bencher: divan::Bencher<'_, '_>, runners: u32) {
    let members: Vec<_> = (0..runners).map(|number| (RunnerPlace(number), Arc::from(format!("runner-{number}:9001")))).collect();
    let ring = HomeRing::make(&members, None);
    bencher.bench(|| HomeRing::make(&members[1..], Some(&ring)));
}
