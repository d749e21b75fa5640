//! One process group: its handle, its guard, and the list of all that live.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::watch;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It ended by itself with this status.
    Status(i32),
    /// A signal of this number killed it.
    Signal(i32),
    /// It is gone, but somebody else in this program took its status (a `waitpid` for any child).
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
            Self::Unknown => f.write_str("ended with an unknown status"),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(code),
            (None, Some(number)) => Self::Signal(number),
            (None, None) => Self::Unknown,
        }
    }
}

/// A handle on a process and its group. Cheap to clone; dropping it does nothing to the process.
#[derive(Clone)]
pub(crate) struct Process {
    shared: Arc<Shared>,
}

struct Shared {
    pid: Pid,
    /// Protects the use of the process id as a group id: it is ours until the leader was reaped. Held for one system call.
    id: Mutex<IdIs>,
    exit: watch::Sender<Option<Exit>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IdIs {
    Ours,
    Forgotten,
}

// === impl Process ===

impl Process {
    /// The process id, which is also the group's.
    pub(crate) fn id(&self) -> i32 {
        self.shared.pid.as_raw()
    }

    /// Kills the whole group at once (`SIGKILL`). Does nothing if it is dead. Waits for nothing.
    pub(crate) fn kill(&self) {
        if *self.lock_id() == IdIs::Ours {
            // ESRCH, the only error possible here, means that nothing is left to kill.
            let _ = killpg(self.shared.pid, Signal::SIGKILL);
        }
    }

    /// Waits until the leader is dead and reaped, and its group killed. Safe to drop.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.shared.exit.subscribe();
        let seen = exit.wait_for(Option::is_some).await.map(|exit| *exit);
        // The sender lives in `shared`, which this handle holds: the wait cannot fail.
        seen.ok().flatten().unwrap_or(Exit::Unknown)
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.shared.exit.borrow()
    }

    fn lock_id(&self) -> MutexGuard<'_, IdIs> {
        self.shared.id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, {:?})", self.id(), self.exit())
    }
}

/// The groups that live now.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Protects the list; held to add, remove or copy.
    living: Mutex<BTreeMap<i32, Process>>,
    /// Counts changes, for whoever mirrors the list.
    version: watch::Sender<u64>,
}

// === impl Groups ===

impl Groups {
    /// Takes a child that was started as the leader of its own group into the list.
    pub(crate) fn adopt(&self, child: &Child) -> Process {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let exit = watch::Sender::new(None);
        let process = Process { shared: Arc::new(Shared { pid, id: Mutex::new(IdIs::Ours), exit }) };
        self.lock().insert(process.id(), process.clone());
        self.version.send_modify(|version| *version += 1);
        process
    }

    /// Kills every living group. Waits for nothing.
    pub(crate) fn kill_all(&self) {
        for process in self.lock().values() {
            process.kill();
        }
    }

    /// The ids of the living groups.
    pub(crate) fn ids(&self) -> Vec<i32> {
        self.lock().keys().copied().collect()
    }

    /// Yields whenever the list changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until `child` ends, kills what is left of its group, reaps it, and takes it off the list.
    pub(crate) async fn guard(&self, process: Process, mut child: Child) {
        // Subscribed before the first look, so that no end can fall between look and wait.
        let mut child_signals = signal(SignalKind::child()).ok();
        while !has_ended(process.shared.pid) {
            next_child_signal(&mut child_signals).await;
        }
        let exit = {
            let mut id = process.lock_id();
            // The leader is dead but not reaped: its id cannot belong to anybody else yet.
            let _ = killpg(process.shared.pid, Signal::SIGKILL);
            *id = IdIs::Forgotten;
            match child.try_wait() {
                Ok(Some(status)) => Exit::from(status),
                Ok(None) | Err(_) => Exit::Unknown,
            }
        };
        self.lock().remove(&process.id());
        self.version.send_modify(|version| *version += 1);
        process.shared.exit.send_replace(Some(exit));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Process>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the child has ended; it is left to be reaped.
fn has_ended(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // An error means that the child does not exist any more: somebody else has reaped it.
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

/// Waits for a hint that some child may have ended.
async fn next_child_signal(signals: &mut Option<SignalStream>) {
    /// How often to look in a program that has taken SIGCHLD away from us.
    const LOOK: Duration = Duration::from_millis(20);
    let hint = match signals {
        Some(stream) => stream.recv().await,
        None => None,
    };
    if hint.is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(Exit::Status(3).to_string(), "ended with status 3");
        assert_eq!(Exit::Signal(9).to_string(), "was killed by SIGKILL");
        assert_eq!(Exit::Signal(120).to_string(), "was killed by signal 120");
    }
}
