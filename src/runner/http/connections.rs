//! The connections to one runner: those that are kept for the next call, and the making of new ones.
//!
//! One connection carries one call at a time. The one used last is used first, so that the surplus of a burst grows old and goes.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::address::RunnerAddress;
use super::outgoing::{HeldBack, OutgoingBody};
use super::record::Record;

/// One open connection. Dropping it closes it at once, whatever it was doing.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<OutgoingBody>,
    /// The task that reads and writes; aborted when the connection is dropped.
    task: AbortOnDropHandle<()>,
    /// A body that the runner answered without asking for: the request will never be complete.
    never_sent: Option<HeldBack>,
}

impl Connection {
    /// Sends a request. Dropping the future before it is done spoils the connection: drop that too.
    pub(super) fn send(
        &mut self,
        request: Request<OutgoingBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<OutgoingBody>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Takes over the body that was held back and not asked for. Until the answer was read, the connection must go on waiting for it.
    pub(super) fn leave_unsent(&mut self, held_back: Option<HeldBack>) {
        self.never_sent = held_back;
    }

    /// Closes the connection; not before the request was sent, if the answer came first (a detached call is answered when it has started).
    fn retire(self) {
        if self.never_sent.is_none() && !self.sender.is_ready() && !self.sender.is_closed() {
            // Without its sender the task ends after this exchange. The tracker waits for it.
            drop(self.task.detach());
        }
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// It took too long.
    #[error("connecting to {address} took longer than {}", crate::model::format_duration(*limit))]
    TimedOut { address: String, limit: Duration },
    /// The name is unknown, or the other side said no.
    #[error("could not connect to {address}: {source}")]
    Failed { address: String, source: std::io::Error },
    /// The connection failed before it was used.
    #[error("could not begin HTTP with {address}: {}", with_causes(source))]
    Http { address: String, source: hyper::Error },
}

/// The limits of the connections to one runner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_idle: usize,
}

/// The connections to one runner.
#[derive(Debug)]
pub(super) struct Connections {
    address: RunnerAddress,
    limits: Limits,
    /// Protects the unused connections, the oldest first; held for moves of pointers.
    idle: Mutex<Idle>,
    /// Waits for the tasks of all connections when the runner is closed.
    tasks: TaskTracker,
    record: Arc<Record>,
}

#[derive(Debug, Default)]
struct Idle {
    kept: VecDeque<(Connection, Instant)>,
    is_closed: bool,
}

/// The longest head of an answer, and the most that is read ahead of who reads an answer.
const READ_BUFFER: usize = 128 * 1024;

/// How long a connection may have been unused without being looked at again. Servers close connections that are idle for seconds; under
/// load no connection is idle for long, and none pays for the look.
const TRUSTED_FOR: Duration = Duration::from_millis(5);

impl Connections {
    pub(super) fn new(address: RunnerAddress, limits: Limits, record: Arc<Record>) -> Self {
        Self { address, limits, idle: Mutex::default(), tasks: TaskTracker::new(), record }
    }

    /// Where they lead.
    pub(super) const fn address(&self) -> &RunnerAddress {
        &self.address
    }

    /// A kept connection that is ready for a request, if there is one. Dropping the future closes it.
    pub(super) async fn take(&self) -> Option<Connection> {
        let (connection, since) = self.pop()?;
        if since.elapsed() >= TRUSTED_FOR {
            // That the other side has closed may be known to the kernel and not yet to the runtime. The runtime asks the kernel
            // before this task goes on; then the connection gives the request back instead of losing it.
            tokio::task::yield_now().await;
        }
        Some(connection)
    }

    fn pop(&self) -> Option<(Connection, Instant)> {
        // What turns out to be closed or too old is retired after the lock.
        let mut useless = Vec::new();
        let mut idle = self.lock();
        let mut position = idle.kept.len();
        let mut taken = None;
        while let Some(below) = position.checked_sub(1) {
            position = below;
            let Some((connection, since)) = idle.kept.get(position) else { break };
            if since.elapsed() >= self.limits.idle_timeout {
                // All below are older.
                useless.extend(idle.kept.drain(..=position));
                break;
            }
            if connection.sender.is_closed() {
                useless.extend(idle.kept.remove(position));
            } else if connection.sender.is_ready() {
                taken = idle.kept.remove(position);
                break;
            }
            // Else the last request is still being sent, or its task has yet to see that it is over, which takes microseconds.
        }
        drop(idle);
        retire_all(useless);
        taken
    }

    /// Keeps a connection whose exchange is over for the next one, if there is room.
    pub(super) fn keep(&self, connection: Connection) {
        if connection.never_sent.is_some() || connection.sender.is_closed() {
            return;
        }
        let mut useless = Vec::new();
        let mut idle = self.lock();
        while idle.kept.front().is_some_and(|(_, since)| since.elapsed() >= self.limits.idle_timeout) {
            useless.extend(idle.kept.pop_front());
        }
        if !idle.is_closed && idle.kept.len() < self.limits.max_idle {
            idle.kept.push_back((connection, Instant::now()));
        } else {
            useless.push((connection, Instant::now()));
        }
        drop(idle);
        retire_all(useless);
    }

    /// Makes a connection. Dropping the future gives it up.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let address = || self.address.to_string();
        let limit = self.limits.connect_timeout;
        let began = Instant::now();
        // Looks names up, and tries each address that a name has.
        let stream = timeout(limit, TcpStream::connect((self.address.host(), self.address.port())))
            .await
            .map_err(|_| ConnectError::TimedOut { address: address(), limit })?
            .map_err(|source| ConnectError::Failed { address: address(), source })?;
        // Requests are written whole; waiting to fill a segment only adds latency.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Http { address: address(), source })?;
        let open = self.record.connected(began.elapsed());
        let task = self.tasks.spawn(async move {
            // Its errors reach whoever waits for the answer.
            let _ = connection.await;
            drop(open);
        });
        Ok(Connection { sender, task: AbortOnDropHandle::new(task), never_sent: None })
    }

    /// How many are kept.
    pub(super) fn idle_count(&self) -> usize {
        self.lock().kept.len()
    }

    /// Closes the kept connections, keeps no more, and waits until every connection has ended.
    pub(super) async fn close(&self) {
        let kept = {
            let mut idle = self.lock();
            idle.is_closed = true;
            std::mem::take(&mut idle.kept)
        };
        retire_all(kept);
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retire_all(connections: impl IntoIterator<Item = (Connection, Instant)>) {
    for (connection, _) in connections {
        connection.retire();
    }
}

/// An error with its causes, for people: hyper keeps the interesting part in the source.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
