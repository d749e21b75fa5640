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
            found += usize::from(fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| is_between_programs(&stat)));
        } else if pid != own && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            // ESRCH: it ended between look and kill.
            let _ = kill(pid, Signal::SIGKILL);
            found += 1;
        }
    }
    found
}

/// Whether `stat` (proc(5)) is of a process in the middle of `exec`: it has the memory of the new program already, which does not say yet where its environment is.
/// Such a process may carry the mark a moment later. One that is dead, or a thread of the kernel, has no memory at all.
fn is_between_programs(stat: &str) -> bool {
    /// Places behind the name of the program, which is in parentheses and may hold any byte; the state, field 3 of proc(5), is the first of them.
    const MEMORY: usize = 23 - 3;
    const END_OF_ENVIRONMENT: usize = 51 - 3;
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    fields.get(MEMORY).is_some_and(|size| *size != "0") && fields.get(END_OF_ENVIRONMENT) == Some(&"0")
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
    fn what_has_no_memory_is_between_no_programs() {
        let stat = |size: &str, end: &str| {
            let fields: Vec<&str> = (3..=52)
                .map(|field| {
                    if field == 23 {
                        size
                    } else if field == 51 {
                        end
                    } else {
                        "1"
                    }
                })
                .collect();
            format!("17 (a) b) {}", fields.join(" "))
        };
        assert!(is_between_programs(&stat("4096", "0")));
        assert!(!is_between_programs(&stat("4096", "140737488351232")));
        assert!(!is_between_programs(&stat("0", "0")));
        assert!(!is_between_programs("17 (short) S 1"));
    }
}
