//! `runpool up`: a balancer and local runners on one machine, ready to try.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::balancer::{Balancer, RunnerSource};
use super::banner::{self, Running};
use super::life::Service;
use super::signals::{Hangup, StandardInput, Wishes};
use super::{Frame, Ground, Threads, serve};
use crate::cli::arguments::ConfigArguments;
use crate::cli::output::{self, Paint};
use crate::cli::{demo_function, version};
use crate::config::{Flag, Loaded, Origin, Role};
use crate::fleet::{LocalFleet, LocalRunner, RunnerCommand, Timing};
use crate::model::{FunctionName, FunctionSpec};

/// Run everything on this machine: a balancer, runners, and a demo function
///
/// Needs no configuration. Without a function in the file there is one called `hello`. Ctrl-C ends it and leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool up\n  runpool up --config demo.toml --runners 5")]
pub(in crate::cli) struct UpCommand {
    #[command(flatten)]
    config: ConfigArguments,

    /// Where clients call (front.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Where operators look (admin.listen)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,

    /// How many runners (fleet.runners)
    #[arg(long, value_name = "N")]
    runners: Option<u32>,

    /// Calls that each runner may run at once (fleet.slots)
    #[arg(long, value_name = "N")]
    slots: Option<u32>,

    /// Print one line of JSON instead of the banner when everything runs: the addresses of front, admin and runners
    #[arg(long, hide = true)]
    announce: bool,

    /// The executable that runners are started from, instead of this one
    #[arg(long, value_name = "FILE", hide = true)]
    runner_executable: Option<PathBuf>,
}

impl UpCommand {
    pub(in crate::cli) fn run(self) -> anyhow::Result<ExitCode> {
        let flags = [
            self.listen.map(|address| Flag::new("--listen", "front.listen", address)),
            self.admin_listen.map(|address| Flag::new("--admin-listen", "admin.listen", address)),
            self.runners.map(|runners| Flag::new("--runners", "fleet.runners", runners)),
            self.slots.map(|slots| Flag::new("--slots", "fleet.slots", slots)),
        ];
        // A terminal that is closed wants an end; without one, SIGHUP is an operator who wants a reload.
        let hangup = if std::io::stdin().is_terminal() { Hangup::Terminate } else { Hangup::Reload };
        let frame = Frame {
            sources: self.config.sources(Role::Up, flags.into_iter().flatten()),
            wishes: Wishes { hangup, standard_input: StandardInput::Ignored },
            prepare,
            threads: Threads::Workers,
            listeners: Balancer::LISTENERS,
        };
        let program = match self.runner_executable {
            Some(program) => program,
            None => std::env::current_exe().context("could not find the running executable")?,
        };
        serve(frame, async |loaded, ground| {
            let arguments = runner_arguments(&self.config, loaded);
            let (up, runners) = Up::start(loaded, ground, RunnerCommand { program, arguments }).await?;
            let text = if self.announce { up.announcement(&runners) } else { up.banner(&runners, &loaded.config.functions) };
            output::print(text)?;
            Ok(up)
        })
    }
}

/// What `up` makes of every configuration: without a function there is a demo, and Ctrl-C need not wait for anybody to look away.
fn prepare(loaded: &mut Loaded) {
    if loaded.origin("shutdown.grace") == Origin::Default {
        loaded.config.shutdown.grace = Duration::ZERO;
    }
    if loaded.config.functions.is_empty()
        && let Some(hello) = hello()
    {
        loaded.config.functions.push(hello);
    }
}

/// The demo function: this executable.
fn hello() -> Option<FunctionSpec> {
    let name: FunctionName = "hello".parse().ok()?;
    let program = std::env::current_exe().ok()?.into_os_string().into_string().ok()?;
    let command = std::iter::once(program).chain(demo_function::HELLO.map(str::to_owned)).collect();
    Some(FunctionSpec { command, ..FunctionSpec::named(name) })
}

/// How every runner is started: with our own sources, then what is different for it. The environment is inherited.
fn runner_arguments(config: &ConfigArguments, loaded: &Loaded) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["runner".into()];
    if let Some(file) = &config.config {
        arguments.extend(["--config".into(), file.clone().into_os_string()]);
    }
    for assignment in &config.set {
        arguments.extend(["--set".into(), assignment.into()]);
    }
    // The balancer is the only one who calls it, and is gone when it is told to end.
    arguments.extend(["--set".into(), "shutdown.grace=0s".into()]);
    // What a runner says in passing we say ourselves; what is wrong, and what functions say, is to be seen.
    if loaded.origin("telemetry.log_filter") == Origin::Default {
        arguments.extend(["--set".into(), "telemetry.log_filter=warn,function=info".into()]);
    }
    arguments
}

/// The parts.
struct Up {
    balancer: Balancer,
    fleet: LocalFleet,
}

impl Up {
    /// Opens the listeners, starts the runners, and waits until all of them listen.
    async fn start(loaded: &Loaded, ground: Ground, command: RunnerCommand) -> anyhow::Result<(Self, Vec<LocalRunner>)> {
        let config = &loaded.config;
        // First the listeners: if an address is taken, no process was started in vain.
        let mut balancer = Balancer::start(loaded, ground, RunnerSource::LocalFleet).await?;
        let timing = Timing { deadline: config.shutdown.deadline, ..Timing::default() };
        let fleet = LocalFleet::start(&config.fleet, command, timing);
        balancer.follow(fleet.runners());
        let wanted = usize::try_from(config.fleet.runners).unwrap_or(usize::MAX);
        let mut runners = fleet.runners();
        let listening = runners.wait_for(|runners| runners.len() == wanted).await;
        let listening = listening.context("the local runners ended")?.clone();
        Ok((Self { balancer, fleet }, listening))
    }

    /// For people: what runs, and how to call it.
    fn banner(&self, runners: &[LocalRunner], functions: &[FunctionSpec]) -> String {
        let running = Running {
            version: version(),
            front: self.balancer.front_address(),
            admin: self.balancer.admin_address(),
            runners: runners.iter().map(|runner| format!("{} {}", runner.id, runner.address)).collect(),
            functions,
        };
        banner::banner(&running, Paint::of_stdout())
    }

    /// For programs: where everything listens.
    fn announcement(&self, runners: &[LocalRunner]) -> String {
        let runners: Vec<_> = runners.iter().map(|runner| runner.address).collect();
        let announcement =
            json!({ "front": self.balancer.front_address(), "admin": self.balancer.admin_address(), "runners": runners });
        format!("{announcement}\n")
    }
}

impl Service for Up {
    fn become_unready(&mut self) {
        self.balancer.become_unready();
    }

    async fn reload(&mut self, loaded: &Loaded) -> anyhow::Result<()> {
        self.balancer.reload(loaded).await
    }

    /// First the calls, then those who run them.
    async fn close(self) {
        self.balancer.close().await;
        self.fleet.end().await;
    }
}
