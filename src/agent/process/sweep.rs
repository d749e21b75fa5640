//! Finding the processes of an incarnation by the mark in their environment, wherever they went.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::INCARNATION_VARIABLE;

/// Kills every process that carries the mark of `incarnation`, but not the caller. Returns how many it found: the dead carry none, so 0 means
/// that all are dead. Processes of other users cannot be looked at, nor could they be killed.
pub(crate) fn kill_marked(incarnation: &str) -> usize {
    let mark = format!("{INCARNATION_VARIABLE}={incarnation}");
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let own = getpid();
    let mut found = 0;
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else { continue };
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if pid != own && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            // ESRCH: it ended between look and kill.
            let _ = kill(pid, Signal::SIGKILL);
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_processes_with_the_mark_are_killed() {
        let mut marked = Command::new("sleep").arg("1000").env(INCARNATION_VARIABLE, "SWEEP-TEST-1").spawn().unwrap();
        let mut other = Command::new("sleep").arg("1000").env(INCARNATION_VARIABLE, "SWEEP-TEST-10").spawn().unwrap();
        while kill_marked("SWEEP-TEST-1") > 0 {
            std::thread::yield_now();
        }
        assert!(!marked.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
