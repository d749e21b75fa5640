//! Running the real program in tests: processes that announce where they listen, logs that can be waited for, and an end that leaves nothing
//! behind.
//!
//! Nothing here sleeps to wait for a state. A process says on standard output when it listens; what happens inside is waited for in its
//! log; what has no line is asked for through the program's own interface ([`eventually`]).

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may panic, in helpers too")]
#![allow(unreachable_pub, reason = "the public face of a module of tests")]

pub mod arrival;
pub mod bench;
pub mod command_line;
pub mod external;
pub mod frames;
pub mod http;
pub mod load;
pub mod meeting;
pub mod otlp;
pub mod prometheus;
pub mod recorder;
pub mod roles;
pub mod secure;
pub mod wire;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// No test waits longer than this for anything: beyond it, the program hangs. Never a measure of speed.
pub const HANG: Duration = Duration::from_secs(60);

/// A running role of the program.
pub struct Running {
    child: Child,
    log: Arc<Log>,
    /// What the process said on standard output when it was ready.
    pub announced: Value,
}

/// The lines that a process wrote to its log so far.
#[derive(Default)]
struct Log {
    lines: Mutex<VecDeque<String>>,
    more: Condvar,
}

/// Starts `runpool` with these arguments and waits until it has announced itself. Use `--announce` among them.
pub fn start(arguments: &[&str]) -> Running {
    start_with(arguments, &[])
}

/// The same with an environment.
pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runpool"));
    command.args(arguments).envs(environment.iter().copied());
    start_command(command)
}

/// The same of a command that becomes the program.
pub fn start_command(mut command: Command) -> Running {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be started");
    let log = Arc::new(Log::default());
    let (stdout, stderr) = (child.stdout.take().expect("is piped"), child.stderr.take().expect("is piped"));
    let sink = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            sink.lines.lock().expect("no test panics here").push_back(line);
            sink.more.notify_all();
        }
        sink.more.notify_all();
    });
    let mut lines = BufReader::new(stdout).lines();
    let first = lines.next();
    // The rest is read so that the process never blocks on a full pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let mut running = Running { child, log, announced: Value::Null };
    running.announced = match first {
        Some(Ok(line)) => serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{line}` announces nothing: {error}")),
        _ => {
            let status = running.child.wait().expect("the process can be waited for");
            panic!("{command:?} ended with {status} before it was ready:\n{}", running.log_text());
        }
    };
    running
}

impl Running {
    /// The address under this name in the announcement.
    pub fn address(&self, name: &str) -> SocketAddr {
        let text = self.announced[name].as_str().unwrap_or_else(|| panic!("{} has no `{name}`", self.announced));
        text.parse().expect("an announced address is one")
    }

    /// `http://address` + path.
    pub fn url(&self, name: &str, path: &str) -> String {
        format!("http://{}{path}", self.address(name))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"))
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process is there");
    }

    /// How many bytes of memory the process has now.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "the process did not end:\n{}", self.log_text());
            std::thread::sleep(POLL);
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process can be waited for").is_none()
    }

    /// kill -9, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the log has a line with all of these texts, and gives it.
    pub fn log_line(&self, texts: &[&str]) -> String {
        let until = Instant::now() + HANG;
        let mut lines = self.log.lines.lock().expect("no test panics here");
        loop {
            if let Some(line) = lines.iter().find(|line| texts.iter().all(|text| line.contains(text))) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Not under the lock: who prints the log of a failed test needs it.
                drop(lines);
                panic!("no log line has {texts:?}:\n{}", self.log_text());
            }
            (lines, _) = self.log.more.wait_timeout(lines, left).expect("no test panics here");
        }
    }

    /// All of the log so far.
    pub fn log_text(&self) -> String {
        Vec::from(self.log.lines.lock().expect("no test panics here").clone()).join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of process {}\n{}", self.child.id(), self.log_text());
        }
        self.kill();
    }
}

/// Between two looks at something that tells nobody when it changes.
const POLL: Duration = Duration::from_millis(10);

/// Asks until the answer is there. For states that have no event to wait for; fails when the program hangs.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let until = Instant::now() + HANG;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "did not happen: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A client that keeps no connection of an ended process.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).timeout(HANG).build().expect("a plain client can be made")
}

/// A file with this text in a directory that goes with the test.
pub fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a temporary file can be written");
    path.to_str().expect("temporary paths are text").to_owned()
}

/// Whether a process with this id exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// Every living process whose environment has this text.
pub fn processes_with(environment: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        bytes.split(|byte| *byte == 0).any(|variable| variable == environment.as_bytes())
    };
    pids.filter(has).filter(|pid| is_alive(*pid)).collect()
}
