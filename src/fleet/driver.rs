//! Does what a runner's life asks for: starts the process, reads its announcement, ends it, reaps it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::announcement::{Announcement, AnnouncementError};
use super::life::{Action, Event, RunnerLife, Timing};
use super::local_fleet::{LocalRunner, RunnerCommand};
use crate::model::RunnerId;

/// The owner of one runner's processes.
pub(super) struct Driver {
    pub(super) id: RunnerId,
    pub(super) command: Arc<RunnerCommand>,
    pub(super) publisher: Arc<watch::Sender<Vec<LocalRunner>>>,
    pub(super) ending: CancellationToken,
}

/// A process that runs. Killed when dropped.
struct Process {
    child: Child,
    /// Taken while the announcement is read, kept afterwards: a closed pipe would be an error to a process that writes to it.
    output: Option<BufReader<ChildStdout>>,
    announcement: Option<Announcement>,
    /// Held open for as long as the process is to live: it ends when this does, however we end.
    _input: Option<ChildStdin>,
}

impl Driver {
    /// Lives one runner's life to its end.
    pub(super) async fn run(self, timing: Timing) {
        let mut life = RunnerLife::new(timing, Instant::now());
        let mut process: Option<Process> = None;
        let mut is_told_to_end = false;
        while !life.is_ended() {
            let due = life.due();
            let event = tokio::select! {
                biased;
                () = self.ending.cancelled(), if !is_told_to_end => {
                    is_told_to_end = true;
                    Event::End
                }
                event = next_event(process.as_mut(), &self.id) => event,
                () = sleep_until(due) => Event::Due,
            };
            if event == Event::Exited {
                process = None;
            }
            for action in life.step(event, Instant::now()) {
                match action {
                    Action::Start => {
                        process = self.start();
                        if process.is_none() {
                            life.step(Event::Exited, Instant::now());
                        }
                    }
                    Action::Publish => self.publish(process.as_ref().and_then(|process| process.announcement)),
                    Action::Withdraw => self.publish(None),
                    Action::Terminate => terminate(process.as_ref()),
                    Action::Kill => {
                        // Fails only if it has ended already, which the next event will say.
                        let _ = process.as_mut().map(|process| process.child.start_kill());
                    }
                }
            }
        }
    }

    fn start(&self) -> Option<Process> {
        let spawned = Command::new(&self.command.program)
            .args(&self.command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its log goes where ours goes, without a detour that could lose or delay a line.
            .stderr(Stdio::inherit())
            // Ctrl-C in a terminal is for us: we end the runners in our own order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        match spawned {
            Ok(mut child) => {
                let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
                Some(Process { child, output, announcement: None, _input: input })
            }
            Err(error) => {
                let program = self.command.program.display();
                tracing::error!(runner = %self.id, %error, "could not start the local runner {program}");
                None
            }
        }
    }

    /// Puts the runner's new whereabouts, or nothing, in the place of the old.
    fn publish(&self, announcement: Option<Announcement>) {
        self.publisher.send_modify(|runners| {
            runners.retain(|runner| runner.id != self.id);
            if let Some(Announcement { incarnation, address }) = announcement {
                tracing::info!(runner = %self.id, %incarnation, %address, "local runner listens");
                runners.push(LocalRunner { id: self.id.clone(), incarnation, address });
                // By number: `local-2` before `local-10`.
                runners.sort_by(|a, b| (a.id.as_str().len(), &a.id).cmp(&(b.id.as_str().len(), &b.id)));
            }
        });
    }
}

/// What the process does next; waits for ever without one. Dropping the future loses nothing that is not told again, except a part of an
/// announcement, which is read to its end or the process killed.
async fn next_event(process: Option<&mut Process>, id: &RunnerId) -> Event {
    let Some(process) = process else { return std::future::pending().await };
    let Process { child, output, announcement, .. } = process;
    let is_starting = announcement.is_none();
    let announced = async {
        match output.as_mut() {
            Some(output) if is_starting => Announcement::read(output).await,
            _ => std::future::pending::<Result<Announcement, AnnouncementError>>().await,
        }
    };
    tokio::select! {
        // A process that announces and dies at once is heard in this order.
        biased;
        result = announced => match result {
            Ok(line) => {
                *announcement = Some(line);
                Event::Announced
            }
            Err(error) => {
                // A process that ended has closed its output too; how it ended says more.
                *output = None;
                if !matches!(error, AnnouncementError::Closed) {
                    tracing::error!(runner = %id, %error, "local runner did not start as it should");
                }
                Event::Garbled
            }
        },
        status = child.wait() => {
            match status {
                Ok(status) => tracing::info!(runner = %id, %status, "local runner ended"),
                Err(error) => tracing::error!(runner = %id, %error, "could not wait for the local runner"),
            }
            Event::Exited
        }
    }
}

fn terminate(process: Option<&Process>) {
    // A process that was not waited for still has its number.
    if let Some(pid) = process.and_then(|process| process.child.id()).and_then(|pid| i32::try_from(pid).ok()) {
        // Fails only if it has ended already, which the next event will say.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
