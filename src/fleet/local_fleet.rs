//! The fleet: so many local runners, and where they listen.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::FleetConfig;
use super::driver;
use super::life::Timing;
use crate::model::{IncarnationId, RunnerId};

/// A local runner that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRunner {
    /// `local-1`, `local-2`, …: stays the same from life to life, so that a function's calls come back to the same place.
    pub id: RunnerId,
    /// This life of it.
    pub incarnation: IncarnationId,
    /// Where it listens; another one in every life.
    pub address: SocketAddr,
}

/// How a runner is started. The fleet adds where to listen, how much to take, and how to live with it: `--listen`, `--set`, `--announce`,
/// `--stop-with-stdin`.
#[derive(Clone, Debug)]
pub struct RunnerCommand {
    /// The executable.
    pub program: PathBuf,
    /// What comes first: `runner`, and the flags that every runner gets.
    pub arguments: Vec<OsString>,
}

/// Local runner processes.
///
/// Dropping it kills them at once (SIGKILL); [`LocalFleet::end`] is the kinder way.
#[derive(Debug)]
pub struct LocalFleet {
    runners: watch::Receiver<Vec<LocalRunner>>,
    ending: CancellationToken,
    drivers: JoinSet<()>,
}

impl LocalFleet {
    /// Starts the runners that `config` asks for. They are published one by one as they begin to listen.
    pub fn start(config: &FleetConfig, command: RunnerCommand, timing: Timing) -> Self {
        let (publisher, runners) = watch::channel(Vec::new());
        let publisher = Arc::new(publisher);
        let ending = CancellationToken::new();
        let command = Arc::new(with_fleet_arguments(command, config));
        let mut drivers = JoinSet::new();
        for number in 1..=config.runners {
            let driver = driver::Driver {
                id: RunnerId::new(format!("local-{number}")),
                command: Arc::clone(&command),
                publisher: Arc::clone(&publisher),
                ending: ending.clone(),
            };
            drivers.spawn(driver.run(timing));
        }
        Self { runners, ending, drivers }
    }

    /// Who listens, by id, as it changes.
    pub fn runners(&self) -> watch::Receiver<Vec<LocalRunner>> {
        self.runners.clone()
    }

    /// Asks all runners to end, kills those that do not in time, and returns when none is left.
    /// Dropping the future kills the rest.
    pub async fn end(mut self) {
        self.ending.cancel();
        while self.drivers.join_next().await.is_some() {}
    }
}

fn with_fleet_arguments(mut command: RunnerCommand, config: &FleetConfig) -> RunnerCommand {
    let FleetConfig { runners: _, slots, memory } = config;
    let (slots, memory) = (format!("runner.slots={slots}"), format!("runner.memory={memory}"));
    let arguments = ["--listen", "127.0.0.1:0", "--set", &slots, "--set", &memory, "--announce", "--stop-with-stdin"];
    command.arguments.extend(arguments.map(OsString::from));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::path::Path;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    const QUICK: Timing = Timing {
        start_limit: Duration::from_secs(30),
        pause: (Duration::from_millis(1), Duration::from_millis(1)),
        steady_after: Duration::from_secs(10),
        deadline: Duration::from_secs(30),
    };

    /// A shell that stands in for the executable. It has a directory to itself as `$DIR`, and the functions `life` (which counts its lives
    /// and says the number) and `announce`.
    fn shell(directory: &Path, script: &str) -> RunnerCommand {
        let prelude = r#"life() { echo >> "$DIR/lives"; wc -l < "$DIR/lives"; }
            announce() { echo "{\"incarnation\":\"0000000000000000000000000$1\",\"address\":\"127.0.0.1:$1\"}"; }
            echo $$ >> "$DIR/pids""#;
        let script = format!("DIR='{}'\n{prelude}\n{script}", directory.display());
        RunnerCommand { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }

    fn one() -> FleetConfig {
        FleetConfig { runners: 1, ..FleetConfig::default() }
    }

    fn pids(directory: &Path) -> Vec<Pid> {
        let text = std::fs::read_to_string(directory.join("pids")).unwrap();
        text.lines().map(|line| Pid::from_raw(line.parse().unwrap())).collect()
    }

    async fn ports(fleet: &LocalFleet, wanted: &[u16]) {
        let ports = |runners: &Vec<LocalRunner>| runners.iter().map(|runner| runner.address.port()).collect::<Vec<_>>();
        fleet.runners().wait_for(|runners| ports(runners) == wanted).await.unwrap();
    }

    #[tokio::test]
    async fn runners_are_published_when_they_listen_and_none_is_left_after_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let config = FleetConfig { runners: 3, ..FleetConfig::default() };
        let fleet = LocalFleet::start(&config, shell(directory.path(), "announce 7; exec cat"), QUICK);
        ports(&fleet, &[7, 7, 7]).await;
        let mut runners = fleet.runners();
        let ids: Vec<String> = runners.borrow_and_update().iter().map(|runner| runner.id.to_string()).collect();
        assert_eq!(ids, ["local-1", "local-2", "local-3"]);
        fleet.end().await;
        assert!(runners.borrow().is_empty());
        let pids = pids(directory.path());
        assert_eq!(pids.len(), 3);
        for pid in pids {
            assert_eq!(kill(pid, None), Err(Errno::ESRCH), "{pid} is left");
        }
    }

    #[tokio::test]
    async fn a_runner_that_dies_is_started_anew_as_another_incarnation() {
        let directory = tempfile::tempdir().unwrap();
        let fleet = LocalFleet::start(&one(), shell(directory.path(), "announce $(life); exec cat"), QUICK);
        ports(&fleet, &[1]).await;
        let before = fleet.runners().borrow().clone();
        kill(pids(directory.path())[0], Signal::SIGKILL).unwrap();
        ports(&fleet, &[2]).await;
        let after = fleet.runners().borrow().clone();
        assert_eq!(before[0].id, after[0].id);
        assert_ne!(before[0].incarnation, after[0].incarnation);
        fleet.end().await;
    }

    #[tokio::test]
    async fn a_runner_that_announces_nonsense_is_killed_and_started_anew() {
        let directory = tempfile::tempdir().unwrap();
        let script = "[ $(life) = 1 ] && { echo nonsense; exec cat; }; announce 5; exec cat";
        let fleet = LocalFleet::start(&one(), shell(directory.path(), script), QUICK);
        ports(&fleet, &[5]).await;
        assert_eq!(kill(pids(directory.path())[0], None), Err(Errno::ESRCH));
        fleet.end().await;
    }

    #[tokio::test]
    async fn a_runner_that_does_not_listen_to_sigterm_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let timing = Timing { deadline: Duration::from_millis(20), ..QUICK };
        let fleet = LocalFleet::start(&one(), shell(directory.path(), "trap '' TERM; announce 1; read line"), timing);
        ports(&fleet, &[1]).await;
        fleet.end().await;
        assert_eq!(kill(pids(directory.path())[0], None), Err(Errno::ESRCH));
    }

    #[tokio::test]
    async fn a_runner_that_cannot_be_started_does_not_keep_the_fleet_from_ending() {
        let command = RunnerCommand { program: "/nowhere/runpool".into(), arguments: vec![] };
        let fleet = LocalFleet::start(&one(), command, QUICK);
        tokio::task::yield_now().await;
        fleet.end().await;
    }

    #[tokio::test]
    async fn runners_are_killed_with_a_fleet_that_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // The process holds the pipe open for writing: it is at its end when the process is gone. It waits for what never comes, so that
        // the end of its standard input is not what ends it.
        let script = "trap '' TERM; mkfifo \"$DIR/never\"; exec 3>\"$DIR/fifo\"; announce 1; read line <> \"$DIR/never\"";
        let fleet = LocalFleet::start(&one(), shell(directory.path(), script), QUICK);
        let reader = tokio::task::spawn_blocking(move || {
            let mut left = Vec::new();
            std::fs::File::open(fifo).unwrap().read_to_end(&mut left).unwrap()
        });
        ports(&fleet, &[1]).await;
        drop(fleet);
        assert_eq!(reader.await.unwrap(), 0);
    }

    #[test]
    fn every_runner_is_told_how_to_live_with_the_fleet() {
        let command = RunnerCommand { program: "x".into(), arguments: vec!["runner".into()] };
        let arguments = with_fleet_arguments(command, &FleetConfig::default()).arguments.join(std::ffi::OsStr::new(" "));
        assert_eq!(
            arguments,
            "runner --listen 127.0.0.1:0 --set runner.slots=4 --set runner.memory=1GiB --announce --stop-with-stdin"
        );
    }
}
