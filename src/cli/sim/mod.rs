//! `runpool sim`: placers compared under a virtual clock.

mod output;
mod replay;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::{ByteSize, parse_duration};
use crate::placement::{LoopRules, WaitLimits};
use crate::sim::{
    Contender, DayCut, Eviction, Experiment, Flows, Heading, Planned, Preset, RunnerModel, Setup, Shows, Theory, Work, Workload,
    html, is_day_file, read_calls, read_days, read_functions,
};

const EXAMPLES: &str = "Examples:
  runpool sim --calls calls.csv.gz --functions functions.csv.gz --runners 8 --slots 8 --memory 8GiB --load 0.7,0.8,0.9,0.95 \
--placer delay-pull,idle-pull,p2c,global-fifo --balancers 1 --seeds 5 --seconds 400 --report report.html
  runpool sim --calls day.csv.gz --minutes 600-615 --load 0.7 --output csv
  runpool sim --workload mm1               one slot: latency 1 / (1 - load)
  runpool sim --workload mmc               eight slots: Erlang's C
  runpool sim --workload p2c-closed-form   the shorter of two queues
  runpool sim --workload mg1-ps            one shared core, heavy tail
  runpool sim --workload prequal           Prequal's rules against antagonists
  runpool sim --workload hiku              five workers, closed loop
  runpool sim --workload ch-rlu            shared cores, bursts
  runpool sim --workload tower-pr76        endpoints from 1 ms to 1 s
  runpool sim --workload fairness          a backlog of 100,000 calls of one function
  runpool sim --replay record.jsonl        decide again what a live balancer decided, and compare

Placers: delay-pull, idle-pull, p2c, p2c-ewma, least-loaded, ring-bounded, prequal, ch, naive
Peers' rules, for comparison: random, round-robin, ow-shard, ch-rlu, fn-naive, fn-ch, global-fifo, p2c-q, yarp-p2c, c3, wrr,
least-loaded-q";

/// Compare placers on a trace or a generated workload, under a virtual clock
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SimCommand {
    #[command(flatten)]
    work: WorkArguments,
    #[command(flatten)]
    pool: PoolArguments,
    #[command(flatten)]
    runs: RunArguments,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: output::Format,
    /// Also write a report with plots: one HTML file that needs nothing else
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Instead of simulating: read a record of a live balancer's placement, decide everything again, and compare
    #[arg(long, value_name = "FILE", conflicts_with_all = ["calls", "workload"])]
    replay: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Calls")]
struct WorkArguments {
    /// A trace: one line a call (t_us,fn,dur_us), or one a function and day (minutes, percentiles)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["workload", "replay"], conflicts_with = "workload")]
    calls: Option<PathBuf>,
    /// The functions of a trace with one line a call (fn,cold_us,mem_mb,app)
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    functions: Option<PathBuf>,
    /// The minutes of a trace with one line a function and day
    #[arg(long, value_name = "FROM-UNTIL", value_parser = minutes, default_value = "600-615")]
    minutes: DayCut,
    /// A generated workload, with a pool to it
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Preset::ALL.map(|(name, _)| name)))]
    workload: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
struct PoolArguments {
    /// Runners (of a trace: 8)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runners: Option<u32>,
    /// Slots of a runner (of a trace: 8)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
    /// Memory of a runner for its workers (of a trace: 8GiB); 0 is without end
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Every so many-th runner is half as fast
    #[arg(long, value_name = "N")]
    slow_every: Option<u32>,
    /// Balancers, which do not talk to each other (of a trace: 1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    balancers: Option<u32>,
    /// How long a worker stays idle before it ends; 0s is for ever
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    keep_alive: Option<Duration>,
    /// Which idle worker goes first when memory is short: lru as our agents do, or greedy-dual
    #[arg(long, value_name = "RULE", value_enum)]
    eviction: Option<EvictionName>,
    /// From the sending of an attempt to its refusal
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    rtt: Option<Duration>,
    /// How often runners tell their whole state; 0s is never
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    reports: Option<Duration>,
    /// In which order waiting calls have their turns, for placers that go by turns: fair between functions as our balancers do, or first come
    #[arg(long, value_name = "ORDER", value_enum)]
    turns: Option<Turns>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Turns {
    Fair,
    FirstCome,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Runs")]
struct RunArguments {
    /// Slots that are busy with warm execution on average, as a share of all
    #[arg(long, value_name = "SHARE", value_delimiter = ',', value_parser = load)]
    load: Vec<f64>,
    /// Who is compared
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    placer: Vec<Contender>,
    /// Set a placer's setting, as in the configuration's [placement]: --set delay_pull.patience=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds 1 to N. Seed 1 is a trace as it stands; others draw its instants and durations again, minute by minute
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// Calls that arrive later are left out (of a trace: 400)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Calls that arrive earlier are not measured (of a trace: 60)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    warm_up: Option<Duration>,
    /// Runs at a time; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EvictionName {
    Lru,
    GreedyDual,
}

impl SimCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.replay {
            return replay::run(path);
        }
        let (experiment, theory, shows) = self.experiment()?;
        let bar = progress_bar(experiment.runs());
        let rows = experiment.rows(&|| bar.inc(1));
        bar.finish_and_clear();
        if let Some(path) = &self.report {
            let heading = self.heading(&experiment);
            std::fs::write(path, html(&heading, &rows))
                .with_context(|| format!("could not write the report {}", path.display()))?;
        }
        output::print(self.output, &rows, theory, shows)?;
        Ok(ExitCode::SUCCESS)
    }

    fn experiment(&self) -> anyhow::Result<(Experiment, Option<Theory>, Shows)> {
        let mut planned = self.work.plan()?;
        self.pool.apply(&mut planned.setup);
        let RunArguments { load, placer, set, seeds, seconds, warm_up, threads } = &self.runs;
        if let Some(warm_up) = warm_up {
            planned.setup.warm_up = *warm_up;
        }
        let until = seconds.unwrap_or(planned.until);
        if planned.setup.warm_up >= until {
            bail!("no call would be measured: --warm-up {:?} is not below --seconds {until:?}", planned.setup.warm_up);
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let experiment = Experiment {
            setup: planned.setup,
            work: planned.work,
            contenders: if placer.is_empty() { planned.contenders } else { placer.clone() },
            loads: if load.is_empty() { planned.loads } else { load.clone() },
            seeds: *seeds,
            until,
            rules: LoopRules {
                retry_all_delay: Duration::from_millis(10),
                // A queue that turned calls away would look fast.
                waiting: WaitLimits { calls: 10_000_000, bytes: u64::MAX },
                placers: settings::read(set)?,
            },
            threads: if *threads == 0 { cores() } else { *threads },
        };
        Ok((experiment, planned.theory, planned.shows))
    }

    fn heading(&self, experiment: &Experiment) -> Heading {
        let words = std::env::args().skip(1).map(|word| if word.contains([' ', '\'']) { format!("{word:?}") } else { word });
        let setup = &experiment.setup;
        Heading {
            title: "Placers compared".to_owned(),
            command: format!("runpool {}", words.collect::<Vec<_>>().join(" ")),
            notes: vec![format!(
                "{} runners, {} slots, {} balancer(s), round trip {:?}; calls of {:?} to {:?} are measured; {} seed(s).",
                setup.runners.len(),
                setup.total_slots(),
                setup.balancers,
                setup.round_trip,
                setup.warm_up,
                experiment.until,
                experiment.seeds,
            )],
        }
    }
}

impl WorkArguments {
    fn plan(&self) -> anyhow::Result<Planned> {
        if let Some(name) = &self.workload {
            let preset = Preset::ALL.into_iter().find(|(known, _)| known == name);
            return preset.map(|(_, preset)| preset.plan()).with_context(|| format!("there is no workload `{name}`"));
        }
        let calls = self.calls.as_ref().context("--calls is missing")?;
        let workload: Workload = match &self.functions {
            _ if is_day_file(calls)? => read_days(calls, self.minutes, 1)?,
            Some(functions) => read_calls(calls, read_functions(functions)?)?,
            None => bail!("{} has one line a call: its functions are needed too (--functions FILE)", calls.display()),
        };
        let model = RunnerModel { memory_mb: 8_192, ..RunnerModel::default() };
        Ok(Planned {
            setup: Setup { runners: vec![model; 8], ..Setup::default() },
            work: Work::Trace(workload),
            contenders: ["delay-pull", "idle-pull", "p2c", "ring-bounded", "global-fifo"]
                .iter()
                .flat_map(|name| name.parse())
                .collect(),
            loads: vec![0.7, 0.8, 0.9, 0.95],
            until: Duration::from_secs(400),
            theory: None,
            shows: Shows::Added,
        })
    }
}

impl PoolArguments {
    fn apply(&self, setup: &mut Setup) {
        if let Some(runners) = self.runners {
            let model = setup.runners.first().copied().unwrap_or_default();
            setup.runners.resize(runners as usize, model);
        }
        for (number, model) in (1..).zip(&mut setup.runners) {
            model.slots = self.slots.unwrap_or(model.slots);
            model.memory_mb = self.memory.map_or(model.memory_mb, |memory| memory.bytes() >> 20);
            model.keep_alive = self.keep_alive.unwrap_or(model.keep_alive);
            if let Some(name) = self.eviction {
                model.eviction = match name {
                    EvictionName::GreedyDual => Eviction::GreedyDual,
                    EvictionName::Lru => Eviction::LeastRecentlyUsed,
                };
            }
            if self.slow_every.is_some_and(|every| every > 0 && number % every == 0) {
                model.speed *= 0.5;
            }
        }
        setup.balancers = self.balancers.unwrap_or(setup.balancers);
        setup.round_trip = self.rtt.unwrap_or(setup.round_trip);
        if let Some(every) = self.reports {
            setup.reports_every = (!every.is_zero()).then_some(every);
        }
        setup.flows = match self.turns {
            None => setup.flows,
            Some(Turns::Fair) => Flows::ByFunction,
            Some(Turns::FirstCome) => Flows::Together,
        };
    }
}

fn minutes(text: &str) -> Result<DayCut, String> {
    let parsed =
        text.split_once('-').and_then(|(from, until)| Some(DayCut { from: from.parse().ok()?, until: until.parse().ok()? }));
    parsed
        .filter(|cut| cut.from < cut.until && cut.until <= 1_440)
        .ok_or_else(|| "expected two minutes of the day, such as 600-615".to_owned())
}

/// Beyond this a queue grows so fast that nothing is left to compare.
const MOST_LOAD: f64 = 100.0;

fn load(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|load: &f64| *load > 0.0 && *load <= MOST_LOAD);
    parsed.ok_or_else(|| {
        format!("expected a share of all slots above 0 and at most {MOST_LOAD}: usually 0.1 to 1, such as 0.9; above 1 more comes than can run")
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| "expected seconds, such as 400".to_owned())
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
