//! An `http-stream` worker: its start until it listens, and the connection that is kept to it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use tokio_util::task::TaskTracker;

use super::fn_contract::worker_environment;
use super::input::Input;
use super::process::{
    Exit, FunctionLog, INCARNATION_VARIABLE, Launch, Parts, Process, Spawner, StandardInput, Stream, log_lines,
};
use super::run_error::RunError;
use super::worker_connection::{BrokenOff, Lost, WorkerConnection};
use super::workers::WorkerId;
use crate::http1::{BodyLength, MalformedHead};
use crate::model::{ByteSize, Function};

/// What is needed to start processes of functions.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) spawner: Spawner,
    /// Owns every task about a process.
    pub(crate) tasks: TaskTracker,
    /// The mark of this agent's processes.
    pub(crate) incarnation: Arc<str>,
    /// Holds one directory for each worker.
    pub(crate) sockets: Arc<Path>,
    /// The longest head of an answer.
    pub(crate) max_answer_head: ByteSize,
}

/// A worker that listens.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) process: Process,
    pub(crate) log: Arc<FunctionLog>,
    socket: Arc<Path>,
    max_answer_head: ByteSize,
    /// On the heap, since a worker goes through many hands. `None` when it was lost, or could not go on after an answer.
    connection: Option<Box<WorkerConnection>>,
}

/// A started process whose output is logged.
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) log: Arc<FunctionLog>,
    pub(crate) pipes: Pipes,
}

/// Our ends of a job's standard input and output.
#[derive(Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<tokio::process::ChildStdin>,
    pub(crate) stdout: Option<tokio::process::ChildStdout>,
}

/// A directory that is removed when dropped.
struct SocketDirectory(PathBuf);

// === impl Workshop ===

impl Workshop {
    /// Starts a process of `function`. Its standard error goes to the log; its standard output too, unless it is asked for with
    /// standard input [`StandardInput::Piped`].
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) async fn launch(
        &self,
        function: &Function,
        mut environment: Vec<(String, String)>,
        stdin: StandardInput,
    ) -> Result<Started, RunError> {
        environment.push((INCARNATION_VARIABLE.to_owned(), self.incarnation.to_string()));
        let (command, directory) = (function.spec.command.clone(), function.spec.directory.clone());
        let launched = self.spawner.launch(Launch { command, directory, environment, stdin }).await?;
        let ending = || RunError::Prepare("the process was taken away".to_owned());
        let Parts { process, stdin: pipe, stdout, stderr } = launched.into_parts().ok_or_else(ending)?;
        let log = Arc::new(FunctionLog::new(function.name().clone()));
        let pid = process.id();
        if let Some(stderr) = stderr {
            let log = Arc::clone(&log);
            self.tasks.spawn(async move { log_lines(stderr, Stream::Stderr, pid, &log).await });
        }
        let pipes = match stdin {
            StandardInput::Piped => Pipes { stdin: pipe, stdout },
            StandardInput::Empty => {
                if let Some(stdout) = stdout {
                    let log = Arc::clone(&log);
                    self.tasks.spawn(async move { log_lines(stdout, Stream::Stdout, pid, &log).await });
                }
                Pipes::default()
            }
        };
        Ok(Started { process, log, pipes })
    }

    /// Starts a worker and waits until it listens. If it does not, or the future is dropped, it is killed.
    ///
    /// Returns also when the worker is dead, in both cases: the caller has to wait for it, to know that its memory is free.
    pub(crate) async fn start_worker(&self, id: WorkerId, function: &Function) -> (Option<Process>, Result<Worker, RunError>) {
        let directory = match self.make_socket_directory(id) {
            Ok(directory) => directory,
            Err(error) => return (None, Err(error)),
        };
        let socket = directory.0.join("lsnr.sock");
        let started = self.launch(function, worker_environment(function, &socket), StandardInput::Empty).await;
        let Started { process, log, .. } = match started {
            Ok(started) => started,
            Err(error) => return (None, Err(error)),
        };
        self.tasks.spawn({
            let process = process.clone();
            async move {
                process.exited().await;
                drop(directory);
            }
        });
        let kill_if_dropped = KillOnDrop(Some(process.clone()));
        let result =
            self.wait_until_it_listens(&process, &socket, &log, function.spec.init_timeout).await.map(|connection| Worker {
                id,
                process: process.clone(),
                log,
                socket: socket.into(),
                max_answer_head: self.max_answer_head,
                connection: Some(Box::new(connection)),
            });
        if result.is_ok() {
            kill_if_dropped.disarm();
        }
        (Some(process), result)
    }

    async fn wait_until_it_listens(
        &self,
        process: &Process,
        socket: &Path,
        log: &FunctionLog,
        limit: Duration,
    ) -> Result<WorkerConnection, RunError> {
        tokio::select! {
            biased;
            exit = process.exited() => Err(RunError::InitFailed { exit, line: log.last_error_line().await }),
            () = tokio::time::sleep(limit) => Err(RunError::InitTimedOut(limit)),
            connection = first_connection(socket, self.max_answer_head) => {
                connection.map_err(|error| RunError::Prepare(format!("could not connect to its worker: {error}")))
            }
        }
    }

    fn make_socket_directory(&self, id: WorkerId) -> Result<SocketDirectory, RunError> {
        let path = self.sockets.join(id.0.to_string());
        make_private_directory(&path)
            .map_err(|error| RunError::Prepare(format!("could not make the socket directory {}: {error}", path.display())))?;
        Ok(SocketDirectory(path))
    }
}

/// Makes a directory that only its owner can enter.
pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Connects as soon as the worker listens.
///
/// The file's coming into being could be waited for (inotify), but not the `listen` after it, for which there is no event; so this tries, at
/// intervals that are short at first, as a native program is ready within a millisecond, and stay short against a start of an interpreter.
async fn first_connection(socket: &Path, max_answer_head: ByteSize) -> io::Result<WorkerConnection> {
    const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
    const LONGEST_PAUSE: Duration = Duration::from_millis(8);
    let mut pause = SHORTEST_PAUSE;
    loop {
        match WorkerConnection::connect(socket, max_answer_head).await {
            Err(error) if is_not_listening_yet(&error) => {}
            result => return result,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn is_not_listening_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

// === impl Worker ===

/// The worker is gone, and has seen nothing of the call.
#[derive(Debug)]
pub(crate) struct Gone;

/// Why a request had no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The worker does not listen any more.
    Gone,
    /// The connection was lost, or the body of the call could not be had.
    Lost,
    /// What came is no head of an answer.
    Malformed(MalformedHead),
}

impl Worker {
    /// The same worker for the next holder; this one is left without the connection.
    pub(crate) fn hand_over(&mut self) -> Self {
        Self {
            id: self.id,
            process: self.process.clone(),
            log: Arc::clone(&self.log),
            socket: Arc::clone(&self.socket),
            max_answer_head: self.max_answer_head,
            connection: self.connection.take(),
        }
    }

    /// Makes sure that there is a connection: one that the worker closed while it was idle is made anew.
    ///
    /// # Errors
    /// The worker is gone. It has seen nothing of the call.
    pub(crate) async fn prepare(&mut self) -> Result<(), Gone> {
        if self.process.exit().is_some() {
            return Err(Gone);
        }
        if !self.connection.as_ref().is_some_and(|connection| connection.is_quiet()) {
            self.connection = Some(self.connect().await?);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Box<WorkerConnection>, Gone> {
        WorkerConnection::connect(&self.socket, self.max_answer_head).await.map(Box::new).map_err(|_| Gone)
    }

    /// Sends a request of this head, with a body of this length, and waits for the head of the answer. Its body comes by [`Self::poll_data`]. Dropping the
    /// future closes the connection.
    ///
    /// # Errors
    /// See [`SendError`].
    pub(crate) async fn send(&mut self, head: BytesMut, length: BodyLength, body: Input) -> Result<Response<()>, SendError> {
        let mut connection = self.connection.take().ok_or(SendError::Gone)?;
        connection.begin(head, length, body);
        let mut answer = connection.head().await;
        if let Err(Lost::Unused) = answer {
            // The worker closed the connection in the very moment, and nothing was written. Once more, on a fresh one.
            let unused = std::mem::replace(&mut connection, self.connect().await.map_err(|Gone| SendError::Gone)?);
            connection.take_over(*unused);
            answer = connection.head().await;
        }
        self.connection = Some(connection);
        answer.map_err(|lost| match lost {
            Lost::Unused | Lost::Used => SendError::Lost,
            Lost::Malformed(error) => SendError::Malformed(error),
        })
    }

    /// What comes next of the answer's body; `None` at its end.
    ///
    /// # Errors
    /// It breaks off.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BrokenOff>> {
        self.connection.as_mut().map_or(Poll::Ready(Ok(None)), |connection| connection.poll_data(cx))
    }

    /// How many bytes of the answer's body certainly follow, and whether nothing else does.
    pub(crate) fn left(&self) -> (u64, bool) {
        self.connection.as_ref().map_or((0, true), |connection| connection.left())
    }

    /// The answer is over. Returns whether the worker was given all of the request; then it can have another, over the same connection if that goes on.
    pub(crate) fn is_through(&mut self) -> bool {
        let is_sent = self.connection.as_ref().is_some_and(|connection| connection.is_sent());
        self.connection.take_if(|connection| !connection.goes_on());
        if let Some(connection) = &mut self.connection {
            connection.let_go_of_memory();
        }
        is_sent
    }
}

// === Guards ===

struct KillOnDrop(Option<Process>);

impl KillOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.kill();
        }
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a lost process ended: gives it a moment to end by itself, so that its own status is told rather than our signal.
pub(crate) async fn own_exit(process: &Process) -> Option<Exit> {
    const MOMENT: Duration = Duration::from_millis(500);
    tokio::time::timeout(MOMENT, process.exited()).await.ok()
}
