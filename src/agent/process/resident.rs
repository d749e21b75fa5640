//! How much memory a process and its children have in use.

use std::fs;

/// Processes of one tree that are looked at; a tree of more has its own problems.
const MAX_PROCESSES: usize = 256;

/// Resident memory in bytes of the process and of its descendants, as far as /proc tells. `None` if the process is gone.
///
/// Descendants are found by `/proc/PID/task/PID/children`, one small read for each; a kernel without it shows the process alone.
/// Reads of /proc are served from memory: this does not block.
pub(crate) fn resident_bytes(pid: i32) -> Option<u64> {
    let mut total = own_resident_bytes(pid)?;
    let mut todo = children(pid);
    let mut seen = 1;
    while let Some(child) = todo.pop() {
        if seen == MAX_PROCESSES {
            break;
        }
        seen += 1;
        total = total.saturating_add(own_resident_bytes(child).unwrap_or(0));
        todo.extend(children(child));
    }
    Some(total)
}

/// `VmRSS` rather than `statm`: it is in kilobytes on every machine, whatever the size of a page. Absent for a dead process.
fn own_resident_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

fn children(pid: i32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_seen_and_a_dead_process_has_none() {
        let own = resident_bytes(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own > 1 << 20, "{own}");
        assert_eq!(resident_bytes(i32::MAX), None);
    }
}
