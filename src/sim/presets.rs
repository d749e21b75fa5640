//! Set-ups with a name: the closed forms that check the simulator, and the papers whose results are compared.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::contender::Contender;
use super::experiment::Work;
use super::peers::Peer;
use super::runner::{Execution, RunnerModel};
use super::setup::{Dealing, Fault, FaultKind, Setup};
use super::workload::{Arrivals, ClosedLoop, ColdStart, ModelCall, ModelFunction, Popularity, Service, Synthetic, Workload};
use crate::placement::PlacerChoice;

/// A set-up with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// One slot, Poisson arrivals, exponential service of 1 s: mean latency 1 / (1 − load).
    Mm1,
    /// Eight slots: Erlang's C.
    Mmc,
    /// 500 runners of one slot, queues there, the shorter of two: the closed form of the power of two.
    P2cClosedForm,
    /// One core shared by all calls, heavy-tailed service: the mean of M/M/1, whatever the distribution.
    Mg1Ps,
    /// Prequal's servers with antagonists (NSDI'24, figure 6 and the table of rules).
    Prequal,
    /// Hiku's five workers and closed-loop users (CCGrid'25).
    Hiku,
    /// CH-RLU's workers with shared cores (HPDC'22).
    ChRlu,
    /// Ten endpoints from 1 ms to 1 s, 50 concurrent calls (tower's pull request 76).
    TowerPr76,
    /// A backlog of 100,000 calls of one function, and others that are called now and then.
    Fairness,
}

/// A closed form: load in, mean latency in milliseconds out.
pub type Theory = fn(f64) -> f64;

/// What a preset sets.
pub struct Planned {
    /// Pool, balancers, network.
    pub setup: Setup,
    /// Calls.
    pub work: Work,
    /// Who is compared unless the user says.
    pub contenders: Vec<Contender>,
    /// At which loads.
    pub loads: Vec<f64>,
    /// How long calls arrive.
    pub until: Duration,
    /// What the mean latency must be by a closed form, in milliseconds, for a load.
    pub theory: Option<Theory>,
    /// What is of interest.
    pub shows: Shows,
}

/// Which figures a table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shows {
    /// Added latency, cold starts, attempts.
    #[default]
    Added,
    /// Latency as clients see it: where runners differ, or are shared.
    Latency,
    /// How long the first calls of functions wait.
    FirstWaits,
}

impl Preset {
    /// Every one, with its name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("mm1", Self::Mm1),
        ("mmc", Self::Mmc),
        ("p2c-closed-form", Self::P2cClosedForm),
        ("mg1-ps", Self::Mg1Ps),
        ("prequal", Self::Prequal),
        ("hiku", Self::Hiku),
        ("ch-rlu", Self::ChRlu),
        ("tower-pr76", Self::TowerPr76),
        ("fairness", Self::Fairness),
    ];

    /// What it sets.
    pub fn plan(self) -> Planned {
        match self {
            Self::Mm1 => queueing(1, 1, 20_000.0, vec![0.5, 0.7, 0.9], |load| 1e3 / (1.0 - load)),
            Self::Mmc => {
                queueing(1, 8, 5_000.0, vec![0.5, 0.7, 0.9], |load| 1e3 * (1.0 + erlang_c(8, load) / (8.0 * (1.0 - load))))
            }
            Self::P2cClosedForm => {
                let mut planned = queueing(500, 1, 300.0, vec![0.5, 0.9, 0.95], |load| 1e3 * power_of_two(load));
                planned.contenders = vec![Contender::Peer(Peer::P2cQueue)];
                planned
            }
            Self::Mg1Ps => shared_core(),
            Self::Prequal => prequal(),
            Self::Hiku => hiku(),
            Self::ChRlu => ch_rlu(),
            Self::TowerPr76 => tower(),
            Self::Fairness => fairness(),
        }
    }
}

fn placers(choices: &[PlacerChoice], peers: &[Peer]) -> Vec<Contender> {
    let ours = choices.iter().copied().map(Contender::Placer);
    ours.chain(peers.iter().copied().map(Contender::Peer)).collect()
}

/// A set-up without a network and without starts.
fn bare(runners: Vec<RunnerModel>, warm_up: f64) -> Setup {
    Setup {
        runners,
        round_trip: Duration::ZERO,
        reports_every: None,
        warm_up: Duration::from_secs_f64(warm_up),
        placer_timeout: Duration::from_secs(1_000_000),
        ..Setup::default()
    }
}

/// Poisson arrivals of calls that take 1 s on average, exponentially distributed.
fn queueing(runners: usize, slots: u32, seconds: f64, loads: Vec<f64>, theory: Theory) -> Planned {
    let setup = bare(vec![RunnerModel { slots, ..RunnerModel::default() }; runners], seconds / 10.0);
    let total = f64::from(setup.total_slots());
    Planned {
        setup,
        work: Work::Generated(Box::new(move |load, seed| poisson(load * total, Service::Exponential(1.0), seconds, seed))),
        contenders: placers(&[PlacerChoice::LeastLoaded, PlacerChoice::DelayPull], &[]),
        loads,
        until: Duration::from_secs_f64(seconds),
        theory: Some(theory),
        shows: Shows::Latency,
    }
}

fn shared_core() -> Planned {
    let seconds = 40_000.0;
    let model = RunnerModel { slots: 100_000, execution: Execution::SharedCores(1.0), ..RunnerModel::default() };
    // Least and most solve for a mean of 1 s.
    let service = Service::BoundedPareto { alpha: 1.5, least: 0.365, most: 100.0 };
    Planned {
        setup: bare(vec![model], seconds / 10.0),
        work: Work::Generated(Box::new(move |load, seed| poisson(load / service.mean(), service, seconds, seed))),
        contenders: placers(&[PlacerChoice::LeastLoaded], &[]),
        loads: vec![0.5, 0.7],
        until: Duration::from_secs_f64(seconds),
        theory: Some(|load| 1e3 * Service::BoundedPareto { alpha: 1.5, least: 0.365, most: 100.0 }.mean() / (1.0 - load)),
        shows: Shows::Latency,
    }
}

fn poisson(rate: f64, service: Service, seconds: f64, seed: u64) -> Workload {
    let arrivals = Arrivals::Poisson { rate };
    let popularity = Popularity::Uniform;
    Synthetic { functions: 1, popularity, arrivals, service, cold: ColdStart::Free, seconds }.generate(seed)
}

/// The chance that a call waits when `servers` serve at `load`.
fn erlang_c(servers: u32, load: f64) -> f64 {
    let offered = f64::from(servers) * load;
    // Erlang's B by its recursion, then C out of B.
    let blocked = (1..=servers).fold(1.0, |blocked, n| offered * blocked / (f64::from(n) + offered * blocked));
    blocked / (1.0 - load * (1.0 - blocked))
}

/// Mean time at a runner, in service times, for the shorter of two queues among very many (Mitzenmacher 1996).
fn power_of_two(load: f64) -> f64 {
    (1..=20).map(|i: i32| load.powf(2.0_f64.powi(i) - 2.0)).sum()
}

/// 100 servers that are allotted 1 core each; what neighbours leave unused they may use too, so that a server has 2.5 cores at most times, but
/// one while an antagonist wants its own. 20 balancers (the paper has 100 clients), 80 ms of work on average, deviation the same. The paper's loads
/// are shares of the allotment.
fn prequal() -> Planned {
    let (seconds, work_mean) = (60.0, 0.08);
    // Slots are what is allotted, so that load means the same as in the paper; the queue is on the cores.
    let model = RunnerModel { slots: 2_000, execution: Execution::SharedCores(2.5), ..RunnerModel::default() };
    let service = Service::Normal { mean: work_mean, deviation: work_mean };
    let mut setup = bare(vec![model; 100], 10.0);
    setup.round_trip = Duration::from_micros(500);
    setup.reports_every = Some(Duration::from_millis(500));
    setup.balancers = 20;
    setup.dealing = Dealing::Random;
    setup.faults = antagonists(100, seconds);
    Planned {
        setup,
        work: Work::Generated(Box::new(move |load, seed| poisson(100.0 * load / service.mean(), service, seconds, seed))),
        contenders: placers(
            &[PlacerChoice::Prequal, PlacerChoice::P2cEwma],
            &[Peer::C3, Peer::YarpP2c, Peer::LeastLoadedQueue, Peer::Wrr, Peer::RoundRobin],
        ),
        loads: vec![0.75, 0.83, 0.93, 1.03, 1.14, 1.27, 1.41, 1.57, 1.74],
        until: Duration::from_secs_f64(seconds),
        theory: None,
        shows: Shows::Latency,
    }
}

/// Antagonists come to each runner for some seconds at a time, a third of the time.
fn antagonists(runners: usize, seconds: f64) -> Vec<Fault> {
    let mut rng = StdRng::seed_from_u64(76);
    let (quiet, busy) = (Service::Exponential(8.0), Service::Exponential(4.0));
    let mut faults = Vec::new();
    for runner in 0..runners {
        let mut at = Duration::ZERO;
        while at.as_secs_f64() < seconds {
            let from = at + Duration::from_nanos(quiet.draw(&mut rng));
            at = from + Duration::from_nanos(busy.draw(&mut rng));
            faults.push(Fault { runner, from, until: at, kind: FaultKind::Antagonist(0.4) });
        }
    }
    faults
}

/// Five workers of four cores that up to 16 calls share; 40 functions (8 of FunctionBench, 5 copies each) by Azure's popularity; 20, 50 and 100 users for 100 s
/// each, who think for 0.1 to 1 s. Durations, start costs and memory are ours: the paper does not tell them.
fn hiku() -> Planned {
    let model = RunnerModel { slots: 16, memory_mb: 4_096, execution: Execution::SharedCores(4.0), ..RunnerModel::default() };
    let mut setup = Setup { runners: vec![model; 5], warm_up: Duration::from_secs(10), ..Setup::default() };
    setup.reports_every = None;
    Planned {
        setup,
        work: Work::Users(Box::new(|_, seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let cold = ColdStart::Costs { time: Service::LogNormal { median: 0.4, sigma: 0.5 }, memory_mb: 256 };
            let mut users = ClosedLoop::new(40, Popularity::Zipf(1.0), cold, &mut rng);
            // Popularity falls with the rank; which of the eight is popular must not.
            let means = [0.05, 0.35, 0.06, 0.4, 0.1, 0.2, 0.3, 0.08];
            users.service = means.into_iter().map(Service::Exponential).collect();
            users.think = Service::Uniform(0.1, 1.0);
            users.stages = vec![(20, 100.0), (50, 100.0), (100, 100.0)];
            users
        })),
        contenders: placers(
            &[PlacerChoice::IdlePull, PlacerChoice::RingBounded, PlacerChoice::DelayPull, PlacerChoice::LeastLoaded],
            &[Peer::Random],
        ),
        loads: vec![1.0],
        until: Duration::from_secs(300),
        theory: None,
        shows: Shows::Latency,
    }
}

/// Eight workers of eight cores that up to 40 calls share, heavy tails, Zipf popularity, bursts.
fn ch_rlu() -> Planned {
    let seconds = 300.0;
    let model = RunnerModel { slots: 40, memory_mb: 16_384, execution: Execution::SharedCores(8.0), ..RunnerModel::default() };
    let service = Service::BoundedPareto { alpha: 1.3, least: 0.3, most: 30.0 };
    Planned {
        setup: Setup { runners: vec![model; 8], warm_up: Duration::from_secs(30), ..Setup::default() },
        work: Work::Generated(Box::new(move |load, seed| {
            let rate = 64.0 * load / service.mean();
            let cold = ColdStart::Costs { time: Service::LogNormal { median: 0.403, sigma: 0.7 }, memory_mb: 180 };
            let arrivals = Arrivals::Bursts { rate, factor: 3.0, length: 5.0, period: 30.0 };
            Synthetic { functions: 200, popularity: Popularity::Zipf(1.1), arrivals, service, cold, seconds }.generate(seed)
        })),
        contenders: placers(&[PlacerChoice::LeastLoaded, PlacerChoice::IdlePull], &[Peer::ChRlu, Peer::OwShard, Peer::Random]),
        loads: vec![0.3, 0.5, 0.7],
        until: Duration::from_secs_f64(seconds),
        theory: None,
        shows: Shows::Latency,
    }
}

/// Endpoints of 1 ms, four of 10 ms, four of 100 ms and one of 1 s, each taking any number of calls; 50 users who do not think.
fn tower() -> Planned {
    let runner = |speed: f64| RunnerModel { slots: 100_000, speed, ..RunnerModel::default() };
    let speeds = [1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001];
    let mut setup = bare(speeds.map(runner).to_vec(), 0.0);
    setup.placer_timeout = Duration::from_secs(360);
    Planned {
        setup,
        work: Work::Users(Box::new(|_, seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut users = ClosedLoop::new(1, Popularity::Uniform, ColdStart::Free, &mut rng);
            users.service = vec![Service::Constant(0.001)];
            users.stages = vec![(50, 30.0)];
            users
        })),
        contenders: placers(&[PlacerChoice::P2cEwma, PlacerChoice::P2c, PlacerChoice::LeastLoaded], &[Peer::RoundRobin]),
        loads: vec![1.0],
        until: Duration::from_secs(30),
        theory: None,
        shows: Shows::Latency,
    }
}

/// 100,000 calls of `f0`, 100 ms each on average, within a second; every 2 s from then on another function is called for the first time.
fn fairness() -> Planned {
    const OTHERS: u32 = 50;
    let backlog: u64 = 100_000;
    let cold = |name: String| ModelFunction { app: name.clone(), name, cold_ns: 400_000_000, memory_mb: 128 };
    let setup = Setup {
        runners: vec![RunnerModel { memory_mb: 8_192, ..RunnerModel::default() }; 8],
        warm_up: Duration::ZERO,
        ..Setup::default()
    };
    Planned {
        setup,
        work: Work::Generated(Box::new(move |_, seed| {
            let functions: Vec<ModelFunction> = (0..=OTHERS).map(|number| cold(format!("f{number}"))).collect();
            // Not all the same: slots would come free together, ten times a second.
            let service = Service::Exponential(0.1);
            let mut rng = StdRng::seed_from_u64(seed);
            let mut call = |at: u64, function: u32| ModelCall { at, function, service_ns: service.draw(&mut rng) };
            let mut calls: Vec<ModelCall> = (0..backlog).map(|n| call(n * 10_000, 0)).collect();
            calls.extend((1..=OTHERS).map(|function| call(u64::from(function) * 2_000_000_000, function)));
            Workload::new(functions, calls)
        })),
        contenders: placers(
            &[PlacerChoice::DelayPull, PlacerChoice::IdlePull, PlacerChoice::RingBounded, PlacerChoice::P2c],
            &[Peer::GlobalFifo],
        ),
        loads: vec![1.0],
        until: Duration::from_secs(1_000),
        theory: None,
        shows: Shows::FirstWaits,
    }
}
