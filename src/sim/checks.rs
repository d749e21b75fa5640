//! Checks of the simulator itself: closed forms, bounds and repetition. Tolerances are the intervals of the seeds, and a little more
//! where a run is too short for its interval to be trusted.

use std::time::Duration;

use super::workload::{Arrivals, ColdStart, ModelCall, ModelFunction, Popularity, Service, Synthetic, Workload};
use super::{Contender, Estimate, Execution, Experiment, Peer, Preset, RunRecord, RunnerModel, Setup, Source, Work, run};
use crate::placement::{LoopRules, PlacerChoice, PlacerSettings, WaitLimits};

fn rules() -> LoopRules {
    LoopRules {
        retry_all_delay: Duration::from_millis(10),
        waiting: WaitLimits { calls: 1_000_000, bytes: 0 },
        placers: PlacerSettings::default(),
    }
}

/// The mean latency in service times, over seeds, with the first placer of the preset.
fn mean_latency(preset: Preset, load: f64, seconds: u64) -> Estimate {
    let mut planned = preset.plan();
    // A fifth of the run, so that it does not remember that it began empty.
    planned.setup.warm_up = Duration::from_secs(seconds / 5);
    planned.contenders.truncate(1);
    let experiment = Experiment {
        setup: planned.setup,
        work: planned.work,
        contenders: planned.contenders,
        loads: vec![load],
        seeds: 5,
        until: Duration::from_secs(seconds),
        rules: rules(),
        threads: 1,
    };
    experiment.rows(&|| ())[0].estimate(|figures| figures.latency[0] / 1e3)
}

#[test]
fn one_server_with_random_arrivals_takes_as_long_as_theory_says() {
    for load in [0.5, 0.8] {
        let estimate = mean_latency(Preset::Mm1, load, 8_000);
        let theory = 1.0 / (1.0 - load);
        assert!(estimate.covers(theory, 0.02 * theory), "load {load}: {estimate:?}, expected {theory}");
    }
}

#[test]
fn eight_servers_take_as_long_as_erlang_says() {
    // C(8, 6.4) = 0.4175, so that the wait is 0.4175 / (8 · 0.2).
    let estimate = mean_latency(Preset::Mmc, 0.8, 2_000);
    assert!(estimate.covers(1.2609, 0.03), "{estimate:?}");
}

#[test]
fn the_shorter_of_two_queues_takes_as_long_as_the_closed_form_says() {
    let estimate = mean_latency(Preset::P2cClosedForm, 0.8, 60);
    // The sum of 0.8 to the power of 2^i − 2.
    assert!(estimate.covers(1.9474, 0.03), "{estimate:?}");
}

#[test]
fn on_a_shared_core_the_mean_does_not_depend_on_the_distribution() {
    let model = RunnerModel { slots: 100_000, execution: Execution::SharedCores(1.0), ..RunnerModel::default() };
    let setup = Setup {
        runners: vec![model],
        round_trip: Duration::ZERO,
        reports_every: None,
        warm_up: Duration::from_secs(500),
        ..Setup::default()
    };
    for service in [
        Service::Constant(1.0),
        Service::Exponential(1.0),
        // Squared deviation of 2.6 times the squared mean.
        Service::BoundedPareto { alpha: 1.5, least: 0.384, most: 50.0 },
    ] {
        let rate = 0.6 / service.mean();
        let generate = move |_: f64, seed: u64| {
            let arrivals = Arrivals::Poisson { rate };
            Synthetic {
                functions: 1,
                popularity: Popularity::Uniform,
                arrivals,
                service,
                cold: ColdStart::Free,
                seconds: 8_000.0,
            }
            .generate(seed)
        };
        let experiment = Experiment {
            setup: setup.clone(),
            work: Work::Generated(Box::new(generate)),
            contenders: vec![Contender::Peer(Peer::Random)],
            loads: vec![0.6],
            seeds: 5,
            until: Duration::from_secs(8_000),
            rules: rules(),
            threads: 1,
        };
        let estimate = experiment.rows(&|| ())[0].estimate(|figures| figures.latency[0] / 1e3);
        let theory = service.mean() / (1.0 - 0.6);
        assert!(estimate.covers(theory, 0.04 * theory), "{service:?}: {estimate:?}, expected {theory}");
    }
}

/// Some functions with cold starts on some runners, for a while.
fn busy_run(contender: Contender, balancers: u32, load: f64, seed: u64) -> RunRecord {
    let model = RunnerModel { slots: 4, memory_mb: 3_000, ..RunnerModel::default() };
    // Rules that poll must not take minutes when they go wrong.
    let (warm_up, most_events) = (Duration::from_secs(2), 1_000_000);
    let setup = Setup { runners: vec![model; 5], balancers, warm_up, most_events, ..Setup::default() };
    let setup = match contender {
        Contender::Placer(placer) => Setup { placer, ..setup },
        Contender::Peer(_) => setup,
    };
    let synthetic = Synthetic {
        functions: 30,
        popularity: Popularity::Zipf(1.0),
        arrivals: Arrivals::Poisson { rate: load * 20.0 / 0.1 },
        service: Service::Exponential(0.1),
        cold: ColdStart::Costs { time: Service::LogNormal { median: 0.3, sigma: 0.7 }, memory_mb: 150 },
        seconds: 10.0,
    };
    let source = Source::Open { workload: synthetic.generate(seed), time_factor: 1.0, until: Duration::from_secs(10) };
    run(&setup, &source, contender.rules(balancers, &rules(), seed), seed)
}

/// Every strategy and every peer.
fn all() -> Vec<Contender> {
    let names = ["delay-pull", "idle-pull", "p2c", "p2c-ewma", "least-loaded", "ring-bounded", "prequal", "ch", "naive"];
    names.iter().filter_map(|name| name.parse().ok()).chain(Peer::ALL.map(Contender::Peer)).collect()
}

#[test]
fn the_same_seed_makes_the_same_log_and_another_seed_another() {
    for contender in all() {
        for balancers in [1, 3] {
            let once = busy_run(contender, balancers, 0.3, 1);
            assert_eq!(once, busy_run(contender, balancers, 0.3, 1), "{contender}");
        }
        assert_ne!(busy_run(contender, 1, 0.3, 1).log_hash, busy_run(contender, 1, 0.3, 2).log_hash, "{contender}");
    }
}

#[test]
fn every_call_is_answered_once_whoever_places_it() {
    for contender in all() {
        for balancers in [1, 4] {
            let record = busy_run(contender, balancers, 0.4, 3);
            assert!(!record.is_saturated, "{contender}");
            assert_eq!((record.not_placed, record.failed), (0, 0), "{contender}, {balancers}");
            assert!(record.answered.len() > 500, "{contender}: {}", record.answered.len());
            assert!(record.attempts >= record.answered.len() as u64, "{contender}");
        }
    }
}

#[test]
fn a_bounded_ring_never_fills_a_runner_beyond_its_slots() {
    // Bounded by slots, not by the mean: the bound holds at every moment, whatever the load.
    for load in [0.5, 0.95] {
        let contender = Contender::Placer(PlacerChoice::RingBounded);
        assert!(busy_run(contender, 1, load, 1).most_in_flight <= 4);
    }
}

#[test]
fn the_added_latency_of_a_warm_call_on_an_idle_pool_is_one_round_trip() {
    let setup = Setup { warm_up: Duration::ZERO, ..Setup::default() };
    let call = |n: u64| ModelCall { at: n * 1_000_000_000, function: 0, service_ns: 30_000_000 };
    let workload = Workload::new([ModelFunction::free("f")], (0..20).map(call).collect());
    let source = Source::Open { workload, time_factor: 1.0, until: Duration::from_secs(60) };
    for contender in all() {
        let setup = match contender {
            Contender::Placer(placer) => Setup { placer, ..setup.clone() },
            Contender::Peer(_) => setup.clone(),
        };
        let figures = run(&setup, &source, contender.rules(1, &rules(), 1), 1).figures();
        assert_eq!((figures.p50, figures.p999, figures.attempts), (0.5, 0.5, 1.0), "{contender}");
    }
}

#[test]
fn a_killed_runner_costs_the_calls_that_ran_there_and_no_others() {
    use super::{Fault, FaultKind};
    for contender in ["delay-pull", "least-loaded", "idle-pull"].iter().filter_map(|name| name.parse::<Contender>().ok()) {
        let Contender::Placer(placer) = contender else { panic!() };
        let (from, until) = (Duration::from_secs(4), Duration::from_secs(7));
        let setup = Setup {
            runners: vec![RunnerModel { slots: 4, ..RunnerModel::default() }; 4],
            placer,
            warm_up: Duration::ZERO,
            faults: vec![Fault { runner: 1, from, until, kind: FaultKind::Killed }],
            ..Setup::default()
        };
        let synthetic = Synthetic {
            functions: 3,
            popularity: Popularity::Uniform,
            arrivals: Arrivals::Poisson { rate: 80.0 },
            service: Service::Constant(0.1),
            cold: ColdStart::Free,
            seconds: 10.0,
        };
        let source = Source::Open { workload: synthetic.generate(1), time_factor: 1.0, until: Duration::from_secs(10) };
        let record = run(&setup, &source, contender.rules(1, &rules(), 1), 1);
        assert!(record.failed <= 4 && record.not_placed == 0, "{contender}: {} failed", record.failed);
        let second = |second: usize| record.taken[second * 4 + 1];
        assert_eq!((second(5), second(6)), (0, 0), "{contender}");
        assert!(second(8) > 0, "{contender}: it is back");
    }
}
