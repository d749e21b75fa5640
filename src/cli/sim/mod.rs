//! `runpool sim`: placers compared under a virtual clock.

mod output;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::{ByteSize, parse_duration};
use crate::placement::{LoopRules, PlacerSettings, WaitLimits};
use crate::sim::{Contender, Eviction, Experiment, RunnerModel, Setup, Work, Workload, read_calls, read_functions};

/// Compare placers on a trace, under a virtual clock
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    runpool sim --calls calls.csv.gz --functions functions.csv.gz --runners 8 --slots 8 --memory 8GiB --load 0.7,0.8,0.9,0.95 --placer delay-pull,idle-pull --seeds 5 --seconds 400")]
pub(super) struct SimCommand {
    /// The trace: one line a call (t_us,fn,dur_us)
    #[arg(long, value_name = "FILE")]
    calls: PathBuf,
    /// The trace's functions (fn,cold_us,mem_mb,app)
    #[arg(long, value_name = "FILE")]
    functions: PathBuf,
    #[command(flatten)]
    pool: PoolArguments,
    /// Busy slots by warm execution, as a share of all slots
    #[arg(long, value_name = "SHARE", value_delimiter = ',', default_value = "0.7,0.8,0.9,0.95")]
    load: Vec<f64>,
    /// Who is compared: placers by their configured names; peers
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "delay-pull,idle-pull")]
    placer: Vec<Contender>,
    /// Set a placer's setting: --set delay_pull.look_again=20ms
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds 1 to N: 1 is the trace as it stands, the others draw it again
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: u64,
    /// Calls that arrive later than this are left out
    #[arg(long, value_name = "SECONDS", default_value_t = 400.0)]
    seconds: f64,
    /// Calls that arrive before this are not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    warm_up: f64,
    /// Runs at a time; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: output::Format,
}

#[derive(Debug, Args)]
struct PoolArguments {
    /// Runners
    #[arg(long, value_name = "N", default_value_t = 8)]
    runners: usize,
    /// Slots of a runner
    #[arg(long, value_name = "N", default_value_t = 8)]
    slots: u32,
    /// Memory of a runner for its workers
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    memory: ByteSize,
    /// Balancers, which do not talk to each other
    #[arg(long, value_name = "N", default_value_t = 1)]
    balancers: u32,
    /// How long a worker stays idle before it ends; 0s is for ever
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    keep_alive: Duration,
    /// Which idle worker goes first when memory is short
    #[arg(long, value_name = "RULE", default_value = "greedy-dual")]
    eviction: EvictionName,
    /// From the sending of an attempt to its refusal
    #[arg(long, value_name = "TIME", default_value = "500us", value_parser = parse_duration)]
    rtt: Duration,
    /// How often runners tell their whole state; 0s is never
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    reports: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EvictionName {
    GreedyDual,
    Lru,
}

impl PoolArguments {
    fn setup(&self) -> Setup {
        let model = RunnerModel {
            slots: self.slots,
            memory_mb: self.memory.bytes() >> 20,
            keep_alive: self.keep_alive,
            eviction: match self.eviction {
                EvictionName::GreedyDual => Eviction::GreedyDual,
                EvictionName::Lru => Eviction::LeastRecentlyUsed,
            },
            ..RunnerModel::default()
        };
        Setup {
            runners: vec![model; self.runners],
            balancers: self.balancers,
            round_trip: self.rtt,
            reports_every: (!self.reports.is_zero()).then_some(self.reports),
            ..Setup::default()
        }
    }
}

impl SimCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let experiment = self.experiment()?;
        let bar = progress_bar(experiment.runs());
        let rows = experiment.rows(&|| bar.inc(1));
        bar.finish_and_clear();
        output::print(self.output, &rows)?;
        Ok(ExitCode::SUCCESS)
    }

    fn experiment(&self) -> anyhow::Result<Experiment> {
        let workload: Workload = read_calls(&self.calls, read_functions(&self.functions)?)?;
        let mut setup = self.pool.setup();
        setup.warm_up = Duration::try_from_secs_f64(self.warm_up).context("--warm-up")?;
        let threads = if self.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { self.threads };
        Ok(Experiment {
            setup,
            work: Work::Trace(workload),
            contenders: self.placer.clone(),
            loads: self.load.clone(),
            seeds: self.seeds.max(1),
            until: Duration::try_from_secs_f64(self.seconds).context("--seconds")?,
            rules: LoopRules {
                retry_all_delay: Duration::from_millis(10),
                waiting: WaitLimits { calls: 10_000_000, bytes: u64::MAX },
                placers: settings(&self.set)?,
            },
            threads,
        })
    }
}

/// The placers' settings with `key=value` put into them, keys and values as in the configuration's `[placement]`.
fn settings(assignments: &[String]) -> anyhow::Result<PlacerSettings> {
    let mut text = String::new();
    for assignment in assignments {
        let (key, value) = assignment.split_once('=').with_context(|| format!("--set {assignment}: expected KEY=VALUE"))?;
        // A bare word is a text, as on `--set` of the roles.
        let is_literal = format!("x = {value}").parse::<toml::Table>().is_ok();
        text.push_str(&if is_literal { format!("{key} = {value}\n") } else { format!("{key} = {value:?}\n") });
    }
    toml::from_str(&text).with_context(|| format!("--set {}", assignments.join(" --set ")))
}

/// Drawn on a terminal only.
fn progress_bar(runs: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(runs as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} runs, {elapsed}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
