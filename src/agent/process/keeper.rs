//! The agent's side of the [`warden`](super::warden): starts it, tells it every group, starts it anew if it dies.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::group::Groups;
use super::warden::WardenCommand;

/// Pause before a warden that died, or could not be started, is started again: it may be a lack of memory that a loop would make worse.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Keeps a warden alive and informed until `ending` is cancelled, then lets it end: it kills what the agent left over, which is nothing
/// when the agent is in order.
pub(crate) async fn keep_warden(
    command: &WardenCommand,
    incarnation: &str,
    directory: &Path,
    groups: &Arc<Groups>,
    ending: &CancellationToken,
) {
    let introduction = format!("incarnation {incarnation}\ndirectory {}\n", directory.display());
    while !ending.is_cancelled() {
        match start(command) {
            Ok((mut child, stdin)) => {
                let result = tokio::select! {
                    biased;
                    result = tell(stdin, &introduction, groups, ending) => result,
                    exit = child.wait() => exit.map(|_| ()),
                };
                // Its input is closed now: it ends by itself, and is not hurried.
                let exit = child.wait().await;
                if !ending.is_cancelled() {
                    tracing::warn!(?result, ?exit, "the warden died; starting it anew");
                }
            }
            Err(error) => {
                tracing::error!(%error, program = %command.program.display(), "could not start the warden: processes of functions may outlive a killed agent");
            }
        }
        tokio::select! {
            () = ending.cancelled() => {}
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

/// Starts the warden with no environment, so that it carries no mark, and in a group of its own, so that what is meant for the agent's
/// group (Ctrl-C at a terminal) does not end it first.
fn start(command: &WardenCommand) -> io::Result<(Child, ChildStdin)> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("the warden has no standard input"))?;
    Ok((child, stdin))
}

/// Tells the warden what lives, then every change, until `ending` is cancelled.
async fn tell(mut stdin: ChildStdin, introduction: &str, groups: &Groups, ending: &CancellationToken) -> io::Result<()> {
    let mut changes = groups.changes();
    let mut told = BTreeSet::new();
    stdin.write_all(introduction.as_bytes()).await?;
    loop {
        changes.borrow_and_update();
        let living: BTreeSet<i32> = groups.ids().into_iter().collect();
        let mut lines = String::new();
        for group in living.difference(&told) {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "+{group}");
        }
        for group in told.difference(&living) {
            let _ = writeln!(lines, "-{group}");
        }
        stdin.write_all(lines.as_bytes()).await?;
        told = living;
        tokio::select! {
            () = ending.cancelled() => return Ok(()),
            changed = changes.changed() => changed.map_err(io::Error::other)?,
        }
    }
}
