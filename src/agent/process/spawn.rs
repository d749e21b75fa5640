//! Starting processes, on a thread that lives as long as the agent.
//!
//! The parent-death signal fires when the *thread* that forked ends (prctl(2), `PR_SET_PDEATHSIG`), and threads of an async
//! runtime come and go. So one dedicated thread does all the forking; it ends with the [`Spawner`], and with it every leader.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::group::{Groups, Process};

/// Variables of the agent's own environment that its functions see, besides those set for them: where programs, libraries and people's
/// settings are. Nothing else is passed on, since the agent's environment may hold secrets that are not the functions'.
pub(crate) const INHERITED: [&str; 11] =
    ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE"];

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program and its arguments; not empty.
    pub(crate) command: Vec<String>,
    /// The working directory; the agent's own if absent.
    pub(crate) directory: Option<PathBuf>,
    /// Variables besides [`INHERITED`]; a later one of the same name wins.
    pub(crate) environment: Vec<(String, String)>,
    /// Where standard input comes from.
    pub(crate) stdin: StandardInput,
}

/// Where standard input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardInput {
    /// Nowhere: it is at its end.
    Empty,
    /// From us.
    Piped,
}

/// A process could not be started.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// There is no program to start.
    #[error("the function has no command: expected a program and its arguments")]
    NoCommand,
    /// The operating system would not start it.
    #[error("could not start `{program}`{place}: {reason}")]
    Start {
        /// The program.
        program: String,
        /// ` in DIRECTORY`, if one was asked for.
        place: String,
        /// What the operating system said.
        reason: String,
    },
    /// The agent is about to end.
    #[error("the agent is about to end and starts no more processes")]
    Ending,
}

/// A started process with our ends of its pipes. Dropped before [`Launched::into_parts`], it kills the process.
pub(crate) struct Launched {
    parts: Option<Parts>,
}

/// What a started process consists of.
pub(crate) struct Parts {
    pub(crate) process: Process,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

/// Starts processes. Dropping the last one kills every process it started.
#[derive(Clone)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    launch: Launch,
    reply: oneshot::Sender<Result<Launched, LaunchError>>,
}

/// Starts that may queue for the thread, each of which takes about a millisecond.
const MAX_QUEUED_JOBS: usize = 64;

// === impl Launched ===

impl Launched {
    /// The parts; from here on the caller sees to the end of the process.
    pub(crate) fn into_parts(mut self) -> Option<Parts> {
        self.parts.take()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(parts) = &self.parts {
            parts.process.kill();
        }
    }
}

// === impl Spawner ===

impl Spawner {
    /// Starts the thread. The processes' guards run on `runtime` and are owned by `tasks`.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn start(runtime: Handle, tasks: TaskTracker, groups: Arc<Groups>) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(MAX_QUEUED_JOBS);
        // Detached on purpose: it ends when the last sender is gone, and nothing has to wait for that.
        std::thread::Builder::new().name("function-spawner".to_owned()).spawn(move || {
            while let Some(Job { launch, reply }) = queue.blocking_recv() {
                let result = start(&launch).and_then(|child| {
                    let _runtime = runtime.enter();
                    adopt(child, &runtime, &tasks, &groups).map_err(|error| launch_error(&launch, &error))
                });
                // Nobody waits any more: dropping what was started kills it.
                let _ = reply.send(result);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Starts a process. Dropping the future kills the process if it was started.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub(crate) async fn launch(&self, launch: Launch) -> Result<Launched, LaunchError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { launch, reply }).await.map_err(|_| LaunchError::Ending)?;
        answer.await.map_err(|_| LaunchError::Ending)?
    }
}

/// Forks and executes.
fn start(launch: &Launch) -> Result<Child, LaunchError> {
    let (program, arguments) = launch.command.split_first().ok_or(LaunchError::NoCommand)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .process_group(0)
        .stdin(match launch.stdin {
            StandardInput::Empty => Stdio::null(),
            StandardInput::Piped => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = &launch.directory {
        command.current_dir(directory);
    }
    end_with_parent(&mut command, getpid());
    command.spawn().map_err(|error| launch_error(launch, &error))
}

/// Has the child killed when the thread that starts it ends, and forbids it core dumps (they would be of the functions' memory, and fill
/// the disk).
#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command, parent: Pid) {
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // If the agent died between fork and prctl, no signal will come.
        if getppid() != parent {
            return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
        }
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run, and no lock may be taken nor memory allocated. The closure makes
    // three bare system calls (prctl, getppid, setrlimit); its errors are plain numbers (`From<Errno>` does not allocate).
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Takes our ends of the pipes and sets the guard.
fn adopt(mut child: Child, runtime: &Handle, tasks: &TaskTracker, groups: &Arc<Groups>) -> io::Result<Launched> {
    let pipes = take_pipes(&mut child);
    let process = groups.adopt(&child);
    let (guarded, owner) = (process.clone(), Arc::clone(groups));
    tasks.spawn_on(async move { owner.guard(guarded, child).await }, runtime);
    match pipes {
        Ok((stdin, stdout, stderr)) => Ok(Launched { parts: Some(Parts { process, stdin, stdout, stderr }) }),
        Err(error) => {
            process.kill();
            Err(error)
        }
    }
}

type Pipes = (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>);

fn take_pipes(child: &mut Child) -> io::Result<Pipes> {
    Ok((
        child.stdin.take().map(ChildStdin::from_std).transpose()?,
        child.stdout.take().map(ChildStdout::from_std).transpose()?,
        child.stderr.take().map(ChildStderr::from_std).transpose()?,
    ))
}

fn launch_error(launch: &Launch, error: &io::Error) -> LaunchError {
    let place = launch.directory.as_ref().map(|directory| format!(" in {}", directory.display())).unwrap_or_default();
    LaunchError::Start { program: launch.command.first().cloned().unwrap_or_default(), place, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::process::Exit;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

    pub(crate) fn shell(script: &str) -> Launch {
        Launch {
            command: vec!["sh".into(), "-c".into(), script.into()],
            directory: None,
            environment: vec![("GIVEN".into(), "yes".into())],
            stdin: StandardInput::Empty,
        }
    }

    fn spawner() -> (Spawner, TaskTracker, Arc<Groups>) {
        let (tasks, groups) = (TaskTracker::new(), Arc::new(Groups::default()));
        let spawner = Spawner::start(Handle::current(), tasks.clone(), Arc::clone(&groups)).unwrap();
        (spawner, tasks, groups)
    }

    #[tokio::test]
    async fn a_process_sees_only_what_it_is_given() {
        let (spawner, _tasks, _groups) = spawner();
        let parts = spawner.launch(shell("env; ulimit -c; ps -o pgid= -p $$ >&2; exit 3")).await.unwrap().into_parts().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        parts.stdout.unwrap().read_to_string(&mut out).await.unwrap();
        parts.stderr.unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!(parts.process.exited().await, Exit::Status(3));
        assert!(out.contains("GIVEN=yes\n") && out.contains("PATH="), "{out}");
        assert!(!out.contains("CARGO"), "the agent's own environment leaked: {out}");
        assert!(out.ends_with("\n0\n"), "core dumps are allowed: {out}");
        assert_eq!(err.trim(), parts.process.id().to_string(), "not the leader of its group");
    }

    #[tokio::test]
    async fn killing_a_process_kills_its_children_too() {
        let (spawner, tasks, groups) = spawner();
        let parts = spawner.launch(shell("sleep 1000 & echo started; wait")).await.unwrap().into_parts().unwrap();
        let mut stdout = BufReader::new(parts.stdout.unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!(groups.ids(), [parts.process.id()]);
        parts.process.kill();
        assert_eq!(parts.process.exited().await, Exit::Signal(9));
        // The child held the pipe: its end is the proof of its death.
        assert_eq!(stdout.read_to_string(&mut line).await.unwrap(), 0);
        assert!(groups.ids().is_empty());
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn children_of_a_process_that_ended_by_itself_are_killed() {
        let (spawner, _tasks, _groups) = spawner();
        let parts = spawner.launch(shell("sleep 1000 & exit 0")).await.unwrap().into_parts().unwrap();
        let mut out = String::new();
        parts.stdout.unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(parts.process.exited().await, Exit::Status(0));
    }

    #[tokio::test]
    async fn processes_end_with_their_spawner_whatever_became_of_their_guards() {
        let (spawner, _tasks, _groups) = spawner();
        let parts = spawner.launch(shell("echo started; sleep 1000")).await.unwrap().into_parts().unwrap();
        let mut stdout = BufReader::new(parts.stdout.unwrap());
        stdout.read_line(&mut String::new()).await.unwrap();
        drop(spawner);
        assert_eq!(parts.process.exited().await, Exit::Signal(9));
    }

    #[tokio::test]
    async fn what_was_started_for_nobody_is_killed() {
        let (spawner, tasks, _groups) = spawner();
        let launched = spawner.launch(shell("sleep 1000")).await.unwrap();
        drop(launched);
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let (spawner, _tasks, _groups) = spawner();
        let launch = Launch { command: vec!["/no/such/program".into()], directory: Some("/tmp".into()), ..shell("") };
        let error = spawner.launch(launch).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("could not start `/no/such/program` in /tmp: No such file"), "{error}");
        let error = spawner.launch(Launch { command: vec![], ..shell("") }).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("the function has no command"), "{error}");
    }
}
