//! Finding the processes of an incarnation by the mark in their environment, wherever they went.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::INCARNATION_VARIABLE;

/// Kills every process that carries the mark of `incarnation`, but not the caller. Returns how many it found, or could not tell yet: the dead carry none,
/// so 0 means that all are dead. Processes of other users cannot be looked at, nor could they be killed.
pub(crate) fn kill_marked(incarnation: &str) -> usize {
    let mark = format!("{INCARNATION_VARIABLE}={incarnation}");
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let own = getpid();
    let (own_environment, own_stat) = (environment(Path::new("/proc/self/environ")), fs::read_to_string("/proc/self/stat"));
    let mut found = 0;
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else { continue };
        let Ok(environment) = environment(&entry.path().join("environ")) else { continue };
        let stat = || fs::read_to_string(entry.path().join("stat"));
        if environment.is_empty() {
            found += usize::from(stat().is_ok_and(|stat| may_be_between_programs(&stat)));
        } else if pid != own && own_environment.as_ref().is_ok_and(|own| *own == environment) {
            // It may be about to become a program with the mark, which whoever begins it is told before that is so.
            found += usize::from(own_stat.as_ref().is_ok_and(|own| stat().is_ok_and(|stat| has_same_memory(own, &stat))));
        } else if pid != own && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            // ESRCH: it ended between look and kill.
            let _ = kill(pid, Signal::SIGKILL);
            found += 1;
        }
    }
    found
}

/// All of a process's environment in one piece: read in several, what a program had at its beginning would be cut short when the next takes its place, and the mark could be
/// in the rest. Empty if that happens before it is read.
fn environment(path: &Path) -> io::Result<Vec<u8>> {
    let mut room = USUAL_ENVIRONMENT;
    loop {
        let mut read = vec![0; room];
        let length = fs::File::open(path)?.read(&mut read)?;
        if length < room {
            read.truncate(length);
            return Ok(read);
        }
        room *= 4;
    }
}

/// Longer ones cost a second look.
const USUAL_ENVIRONMENT: usize = 64 * 1024;

/// Places behind the name of the program in a `stat` (proc(5)), of which the state, field 3, is the first.
const MEMORY: usize = 23 - 3;
/// See [`MEMORY`].
const CODE: usize = 26 - 3;
/// See [`MEMORY`].
const ENVIRONMENT: std::ops::RangeInclusive<usize> = 50 - 3..=51 - 3;

/// The fields behind the name of the program, which is in parentheses and may hold any byte.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map_or_else(Vec::new, |(_, fields)| fields.split_ascii_whitespace().collect())
}

/// Whether these processes have the same memory, or one a copy of the other's: the second is not yet what it was begun for. Another program, or the same once more, has its
/// environment elsewhere.
fn has_same_memory(one: &str, other: &str) -> bool {
    let (one, other) = (fields(one), fields(other));
    matches!((one.get(ENVIRONMENT), other.get(ENVIRONMENT)), (Some(one), Some(other)) if one == other && one[0] != "0")
}

/// Whether the process of this `stat` (proc(5)), in which no environment was found, may be in the middle of `exec`: it has the memory of the new program already, which does
/// not say yet where its environment ends, as the kernel tells last of all where its code is, or has just come to say it. Such a process may carry the mark. Not so one that is
/// dead, or a thread of the kernel, which has no memory at all; one whose environment is known to be empty; and one that sleeps and has never said where its code is.
fn may_be_between_programs(stat: &str) -> bool {
    let fields = fields(stat);
    let (Some(memory), Some(code), Some([start, end])) = (fields.get(MEMORY), fields.get(CODE), fields.get(ENVIRONMENT)) else {
        return false;
    };
    *memory != "0" && (start != end || (*code == "0" && matches!(fields[0], "R" | "D")))
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
    fn who_has_our_memory_is_not_yet_what_it_was_begun_for() {
        let stat = |start: &str, end: &str| format!("17 (a) b) {} {start} {end} 0", "1 ".repeat(47).trim_end());
        assert!(has_same_memory(&stat("70", "90"), &stat("70", "90")));
        assert!(!has_same_memory(&stat("70", "90"), &stat("80", "90")) && !has_same_memory(&stat("0", "0"), &stat("0", "0")));
        assert!(!has_same_memory("17 (short) S 1", "17 (short) S 1"));
    }

    #[test]
    fn only_what_runs_with_memory_and_without_a_known_environment_is_between_programs() {
        let stat_of = |state: &str, memory: &str, code: &str, start: &str, end: &str| {
            let field = |field| match field {
                3 => state,
                23 => memory,
                26 => code,
                50 => start,
                51 => end,
                _ => "1",
            };
            let fields: Vec<&str> = (3..=52).map(field).collect();
            may_be_between_programs(&format!("17 (a) b) {}", fields.join(" ")))
        };
        let stat = |state: &str, memory: &str, start: &str, end: &str| stat_of(state, memory, "94902515937280", start, end);
        assert!(stat_of("R", "4096", "0", "0", "0") && stat_of("D", "4096", "0", "0", "0"));
        assert!(stat_of("R", "4096", "0", "140737488351232", "140737488351232"), "it has not come to its end yet");
        assert!(stat("S", "4096", "140737488351000", "140737488351232"), "it has just come to say");
        assert!(!stat("R", "4096", "140737488351232", "140737488351232"), "empty");
        assert!(!stat_of("S", "4096", "0", "0", "0") && !stat_of("Z", "0", "0", "0", "0") && !stat_of("R", "0", "0", "0", "0"));
        assert!(!may_be_between_programs("17 (short) S 1"));
    }
}
