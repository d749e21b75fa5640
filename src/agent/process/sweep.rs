//! Finding the processes of an incarnation by the mark in their environment, wherever they went.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::INCARNATION_VARIABLE;

/// Kills every process that carries the mark of `incarnation`, but not the caller. Returns how many it found, or could not tell yet: the dead carry none,
/// so 0 means that all are dead. Processes of other users cannot be looked at, nor could they be killed.
pub(crate) fn kill_marked(incarnation: &str) -> usize {
    let mark = format!("{INCARNATION_VARIABLE}={incarnation}");
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let own = getpid();
    let mut found = 0;
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else { continue };
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if environment.is_empty() {
            found += usize::from(fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| may_be_between_programs(&stat)));
        } else if pid != own && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            // ESRCH: it ended between look and kill.
            let _ = kill(pid, Signal::SIGKILL);
            found += 1;
        }
    }
    found
}

/// Whether the process of this `stat` (proc(5)), in which no environment was found, may be in the middle of `exec`: it has the memory of the new program already, which does
/// not say yet where its environment is, or has just come to say it. Such a process may carry the mark. Not so one that is dead, or a thread of the kernel, which has no
/// memory at all; one whose environment is known to be empty; and one that sleeps and has never said where its environment is.
fn may_be_between_programs(stat: &str) -> bool {
    /// Places behind the name of the program, which is in parentheses and may hold any byte; the state, field 3 of proc(5), is the first of them.
    const MEMORY: usize = 23 - 3;
    const ENVIRONMENT: std::ops::RangeInclusive<usize> = 50 - 3..=51 - 3;
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let (Some(memory), Some([start, end])) = (fields.get(MEMORY), fields.get(ENVIRONMENT)) else { return false };
    *memory != "0" && (start != end || (*end == "0" && matches!(fields[0], "R" | "D")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
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

    #[test]
    fn one_that_becomes_another_program_just_now_is_not_missed() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("again");
        fs::write(&script, "exec sh \"$0\"").unwrap();
        for _ in 0..50 {
            let mut marked = Command::new("sh").arg(&script).env(INCARNATION_VARIABLE, "SWEEP-TEST-2").spawn().unwrap();
            while kill_marked("SWEEP-TEST-2") > 0 {
                std::thread::yield_now();
            }
            // Who lives on ends by this, and says so.
            let _ = kill(Pid::from_raw(marked.id().cast_signed()), Signal::SIGTERM);
            assert_eq!(marked.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        }
    }

    #[test]
    fn only_what_runs_with_memory_and_without_a_known_environment_is_between_programs() {
        let stat = |state: &str, memory: &str, start: &str, end: &str| {
            let field = |field| match field {
                3 => state,
                23 => memory,
                50 => start,
                51 => end,
                _ => "1",
            };
            let fields: Vec<&str> = (3..=52).map(field).collect();
            may_be_between_programs(&format!("17 (a) b) {}", fields.join(" ")))
        };
        assert!(stat("R", "4096", "0", "0") && stat("D", "4096", "0", "0"));
        assert!(stat("S", "4096", "140737488351000", "140737488351232"), "it has just come to say");
        assert!(!stat("R", "4096", "140737488351232", "140737488351232"), "empty");
        assert!(!stat("S", "4096", "0", "0") && !stat("Z", "0", "0", "0") && !stat("R", "0", "0", "0"));
        assert!(!may_be_between_programs("17 (short) S 1"));
    }
}
