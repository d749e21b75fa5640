//! A role as the first process of a container.
//!
//! The kernel hands every process whose parent has ended to the first one of its namespace, and it stays a zombie until that one takes its
//! end. Functions leave such processes: a runner's container without an init would fill up with one for each. So a role that finds
//! itself first becomes this init and runs the role in a child. It does what `tini` does: takes every end, hands on every signal, and ends as
//! the child did.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What is handed on to the role: the signals that it listens to, and those that people send to end or to look into a process.
const HANDED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs a role: right here, or in a child if this is the first process. Before any thread is started.
pub(super) fn serve(role: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let mut signals: SigSet = HANDED_ON.into_iter().collect();
    signals.add(Signal::SIGCHLD);
    if std::process::id() == 1 {
        // Asked for instead of handled: none is missed, not even one that comes before the child is there.
        signals.thread_block().context("could not block signals")?;
        watch_over_a_child(&signals)
    } else {
        // A program inherits what its parent has blocked.
        signals.thread_unblock().context("could not unblock signals")?;
        role()
    }
}

fn watch_over_a_child(signals: &SigSet) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("could not find the running executable")?;
    // In a group of its own: a terminal sends Ctrl-C to all of one group, and the child would get it twice.
    let mut child = Command::new(program);
    child.args(std::env::args_os().skip(1)).process_group(0);
    // Sockets that were passed to us (sd_listen_fds(3)) are for the role, whose number nobody knew.
    if std::env::var("LISTEN_PID").is_ok_and(|pid| pid == "1") {
        child.env_remove("LISTEN_PID");
    }
    let child = child.spawn();
    let child = child.context("could not start the role as a child of the container's first process")?;
    let child = Pid::from_raw(i32::try_from(child.id()).context("a process id that is none")?);
    loop {
        match signals.wait().context("could not wait for a signal")? {
            Signal::SIGCHLD => {
                if let Some(code) = take_ends(child) {
                    return Ok(code);
                }
            }
            // It may have ended by now; then its SIGCHLD comes next.
            signal => drop(kill(child, signal)),
        }
    }
}

/// Takes the end of every process that has ended, and says how `child` did if it is among them: as shells do, 128 and the signal.
fn take_ends(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => break,
            Ok(_) => {}
        }
    }
    code.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
