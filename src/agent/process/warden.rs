//! The warden: a small process that outlives a killed agent just long enough to kill what the agent left behind.
//!
//! The agent starts it as a child in a process group of its own and writes lines to its standard input:
//!
//! | line | meaning |
//! |---|---|
//! | `incarnation ID` | the mark that the agent's processes carry in their environment |
//! | `directory PATH` | the agent's directory of sockets, removed at the end |
//! | `+PGID`, `-PGID` | a process group lives, is gone |
//!
//! The pipe is the agent's life line: however the agent ends, the kernel closes it. Then the warden kills every group it was told of and every
//! process with the mark, again and again until none is left, and ends.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::sweep::kill_marked;

/// How an agent starts its warden: a program that calls [`run_warden`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WardenCommand {
    /// The program, as an absolute path: usually the running one.
    pub program: PathBuf,
    /// Its arguments, such as a hidden subcommand.
    pub arguments: Vec<String>,
}

/// What the agent told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    incarnation: Option<String>,
    directory: Option<PathBuf>,
    groups: BTreeSet<i32>,
}

/// The warden's whole life: reads standard input to its end, then kills what is left. Returns when nothing is.
pub fn run_warden() -> ExitCode {
    let mut told = Told::default();
    for line in io::stdin().lock().lines() {
        // A broken pipe is an end like any other.
        let Ok(line) = line else { break };
        told.hear(&line);
    }
    told.kill_until_none_is_left();
    ExitCode::SUCCESS
}

// === impl Told ===

impl Told {
    /// Takes in one line. An unknown line is passed over: the agent may be of a newer version, after an update in place.
    fn hear(&mut self, line: &str) {
        let group = |digits: &str| digits.parse::<i32>().ok().filter(|group| *group > 1);
        if let Some(id) = line.strip_prefix("incarnation ") {
            self.incarnation = Some(id.to_owned()).filter(|id| !id.is_empty());
        } else if let Some(path) = line.strip_prefix("directory ") {
            self.directory = Some(PathBuf::from(path));
        } else if let Some(group) = line.strip_prefix('+').and_then(group) {
            self.groups.insert(group);
        } else if let Some(group) = line.strip_prefix('-').and_then(group) {
            self.groups.remove(&group);
        }
    }

    fn kill_until_none_is_left(&self) {
        /// Between two looks: there is no event for the death of a process that is not our child.
        const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        let mut pause = SHORTEST_PAUSE;
        for group in &self.groups {
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
        while self.incarnation.as_deref().is_some_and(|incarnation| kill_marked(incarnation) > 0) {
            std::thread::sleep(pause);
            // A process in an uninterruptible wait of the kernel can take its time to die.
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_and_nonsense_cannot_name_a_group_of_everybody() {
        let mut told = Told::default();
        for line in ["incarnation X", "directory /tmp/x y", "+17", "+18", "-17", "+0", "+1", "+-5", "+x", "", "news 1"] {
            told.hear(line);
        }
        let expected = Told { incarnation: Some("X".into()), directory: Some("/tmp/x y".into()), groups: BTreeSet::from([18]) };
        assert_eq!(told, expected);
    }
}
