//! Instructions that placing and reading cost: `cargo bench --bench instructions`. Counted by valgrind, so that a busy machine changes nothing.
//!
//! `decision` is what stands between a call's arrival and the attempt, `whole_call` adds the answer's head and an end (arrive, commit, end). Both are
//! measured in the middle of a steady load.

// The macros of gungraun make public functions without a word.
#![allow(missing_docs, unreachable_pub)]

#[path = "support/steady.rs"]
#[allow(dead_code, reason = "not all benches look at everything")]
mod steady;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{HeaderMap, HeaderValue};
use runpool::placement::PlacerChoice;
use runpool::protocol::{LoadReport, Refusal, headers};

use self::steady::Steady;

/// Calls that have been placed before the measured one: caches of the loop are filled.
const WARM_UP: u32 = 2_000;

fn steady(placer: PlacerChoice, runners: u32) -> Steady {
    let mut steady = Steady::new(placer, runners);
    for _ in 0..WARM_UP {
        steady.arrive();
    }
    steady
}

// The loop is handed back, so that its end is not measured.
#[library_benchmark(setup = steady)]
#[bench::naive_of_10(PlacerChoice::Naive, 10)]
#[bench::naive_of_10000(PlacerChoice::Naive, 10_000)]
#[bench::ch_of_10(PlacerChoice::Ch, 10)]
#[bench::ch_of_10000(PlacerChoice::Ch, 10_000)]
#[bench::p2c_of_10(PlacerChoice::P2c, 10)]
#[bench::p2c_of_10000(PlacerChoice::P2c, 10_000)]
#[bench::least_loaded_of_10(PlacerChoice::LeastLoaded, 10)]
#[bench::least_loaded_of_10000(PlacerChoice::LeastLoaded, 10_000)]
#[bench::delay_pull_of_10(PlacerChoice::DelayPull, 10)]
#[bench::delay_pull_of_10000(PlacerChoice::DelayPull, 10_000)]
fn decision(mut steady: Steady) -> Steady {
    steady.decide();
    steady
}

#[library_benchmark(setup = steady)]
#[bench::delay_pull_of_10(PlacerChoice::DelayPull, 10)]
#[bench::delay_pull_of_10000(PlacerChoice::DelayPull, 10_000)]
fn whole_call(mut steady: Steady) -> Steady {
    steady.arrive();
    steady
}

#[library_benchmark]
#[bench::usual("inflight=3, slots=8, warm=2")]
fn load_report(text: &str) -> Option<LoadReport> {
    black_box(text).parse().ok()
}

fn refused() -> HeaderMap {
    let mut head = HeaderMap::new();
    head.insert(headers::REFUSED, HeaderValue::from_static("busy"));
    head.insert(headers::RETRY_AFTER_MS, HeaderValue::from_static("25"));
    head
}

#[library_benchmark]
#[bench::busy(refused())]
fn refusal(head: HeaderMap) -> (Option<Refusal>, HeaderMap) {
    (Refusal::read(Refusal::STATUS, black_box(&head)), head)
}

library_benchmark_group!(name = placing, benchmarks = [decision, whole_call]);
library_benchmark_group!(name = reading, benchmarks = [load_report, refusal]);
main!(library_benchmark_groups = [placing, reading]);
