//! Many runs: every placer at every load with every seed, on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::contender::Contender;
use super::engine::{Source, run};
use super::measures::{Figures, RunRecord};
use super::setup::Setup;
use super::statistics::Estimate;
use super::workload::{ClosedLoop, Workload};
use crate::placement::LoopRules;

/// Told after every finished run.
pub type Progress<'a> = dyn Fn() + Sync + 'a;

/// Where the calls of a load and a seed come from.
pub enum Work {
    /// A trace: a load stretches its time, a seed draws it again.
    Trace(Workload),
    /// A generator: of load and seed.
    Generated(Box<dyn Fn(f64, u64) -> Workload + Send + Sync>),
    /// Users: of load (which may mean nothing to them) and seed.
    Users(Box<dyn Fn(f64, u64) -> ClosedLoop + Send + Sync>),
}

/// What is compared.
pub struct Experiment {
    /// Pool, balancers, network.
    pub setup: Setup,
    /// Calls.
    pub work: Work,
    /// Strategies.
    pub contenders: Vec<Contender>,
    /// Loads: the share of all slots that is busy with warm execution.
    pub loads: Vec<f64>,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Calls that arrive later, in simulated time, are left out.
    pub until: Duration,
    /// The placing loop's rules.
    pub rules: LoopRules,
    /// At most so many runs at a time.
    pub threads: usize,
}

/// One placer at one load.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The placer.
    pub contender: Contender,
    /// The load.
    pub load: f64,
    /// The figures of each seed, in order.
    pub figures: Vec<Figures>,
    /// The log hash of each seed.
    pub log_hashes: Vec<u64>,
}

impl Row {
    /// A figure over the seeds.
    pub fn estimate(&self, of: impl Fn(&Figures) -> f64) -> Estimate {
        Estimate::of(&self.figures.iter().map(of).collect::<Vec<_>>())
    }

    /// A figure of answered calls over the seeds that had some; nothing if none had.
    pub fn estimate_of_answered(&self, of: impl Fn(&Figures) -> f64) -> Option<Estimate> {
        let values: Vec<f64> = self.figures.iter().filter(|figures| figures.answered > 0).map(of).collect();
        (!values.is_empty()).then(|| Estimate::of(&values))
    }
}

impl Experiment {
    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.contenders.len() * self.loads.len() * self.seeds as usize
    }

    /// Runs all and answers a row for each placer and load: loads in their order, in each the placers in theirs.
    pub fn rows(&self, progress: &Progress<'_>) -> Vec<Row> {
        self.map(progress, |_, record| (record.figures(), record.log_hash))
            .chunks(self.seeds.max(1) as usize)
            .zip(self.pairs())
            .map(|(results, (load, contender))| Row {
                contender,
                load,
                figures: results.iter().map(|(figures, _)| *figures).collect(),
                log_hashes: results.iter().map(|(_, hash)| *hash).collect(),
            })
            .collect()
    }

    /// Runs all and maps each record, in the order of loads, placers, seeds.
    pub fn map<T: Send>(&self, progress: &Progress<'_>, of: impl Fn(usize, &RunRecord) -> T + Sync) -> Vec<T> {
        let jobs: Vec<(f64, Contender, u64)> =
            self.pairs().flat_map(|(load, contender)| (1..=self.seeds).map(move |seed| (load, contender, seed))).collect();
        // A redrawn trace is the same for all placers and loads.
        let redrawn: Vec<OnceLock<Workload>> = (0..=self.seeds).map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<T>>> = Mutex::new(jobs.iter().map(|_| None).collect());
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((load, contender, seed)) = jobs.get(index).copied() else { break };
                let record = self.one(load, contender, seed, &redrawn);
                let result = of(index, &record);
                if let Some(place) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                    *place = Some(result);
                }
                progress();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, jobs.len().max(1)) {
                scope.spawn(work);
            }
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, Contender)> {
        self.loads.iter().flat_map(|load| self.contenders.iter().map(move |contender| (*load, *contender)))
    }

    fn one(&self, load: f64, contender: Contender, seed: u64, redrawn: &[OnceLock<Workload>]) -> RunRecord {
        let source = match &self.work {
            Work::Trace(workload) => {
                let workload = redrawn
                    .get(seed as usize)
                    .map_or_else(|| workload.redraw(seed), |cell| cell.get_or_init(|| workload.redraw(seed)).clone());
                let time_factor = workload.time_factor(load, self.setup.total_slots());
                Source::Open { workload, time_factor, until: self.until }
            }
            Work::Generated(generate) => Source::Open { workload: generate(load, seed), time_factor: 1.0, until: self.until },
            Work::Users(users) => Source::Closed(users(load, seed)),
        };
        let mut setup = self.setup.clone();
        if let Contender::Placer(choice) = contender {
            setup.placer = choice;
        }
        run(&setup, &source, contender.rules(setup.balancers, &self.rules, seed), seed)
    }
}
