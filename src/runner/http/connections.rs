//! The connections to one runner: those that are kept for the next call, and the making of new ones.
//!
//! One connection carries one call at a time. The one used last is used first, so that the surplus of a burst is not used again; after five seconds half of it goes
//! every second (as in HAProxy, whose `pool-purge-delay` is five seconds too), so that neither side keeps memory and descriptors for a burst that is over. Each worker
//! keeps its own, since a connection is driven by the runtime that made it: a call wakes no other thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::RunnerAddress;
use super::connection::Connection;
use super::http2::SharedConnection;
use super::record::{OpenConnection, Record};
use crate::telemetry::current_worker;
use crate::telemetry::turn;
use crate::tls::{self, ClientTls, Stream};

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// It took too long.
    #[error("connecting to {address} took longer than {}", crate::model::format_duration(*limit))]
    TimedOut { address: String, limit: Duration },
    /// The name is unknown, or the other side said no.
    #[error("could not connect to {address}: {source}")]
    Failed { address: String, source: std::io::Error },
    /// The other side is not whom it should be, or does not want us.
    #[error("could not connect to {address}: {source}")]
    Tls { address: String, source: tls::ConnectError },
    /// The connection failed before it was used.
    #[error("could not begin HTTP/2 with {address}: {source}")]
    Http2 { address: String, source: hyper::Error },
    /// The runner was closed on our side.
    #[error("{address} was closed on our side")]
    Closed { address: String },
}

/// The limits of the connections to one runner; of the unused ones they hold for each worker.
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
    tls: Option<Arc<ClientTls>>,
    limits: Limits,
    /// By the number of the worker; made when a worker first has a connection.
    workers: Box<[OnceLock<Box<OfWorker>>]>,
    /// Waits for all connections, and for the tasks that few of them have, when the runner is closed.
    tasks: TaskTracker,
    closing: CancellationToken,
    record: Arc<Record>,
}

/// What one worker has.
#[derive(Debug, Default)]
pub(super) struct OfWorker {
    /// Protects the unused connections, the oldest first; held for moves of pointers.
    idle: Mutex<Idle>,
    /// The one connection to a runner that is spoken to in HTTP/2.
    pub(super) shared: SharedConnection,
}

#[derive(Debug, Default)]
struct Idle {
    kept: VecDeque<(Connection, Instant)>,
    is_closed: bool,
    /// A task looks after them now and then.
    is_looked_after: bool,
}

/// Workers are numbered from 1; 0 is every other thread. Beyond the highest number they share, which costs wake-ups and nothing else.
const WORKERS: usize = 65;

/// How long a connection may have been unused without the kernel being asked about it. Servers close connections that are idle for seconds;
/// under load no connection is idle for long, and none pays for the system call.
const TRUSTED_FOR: Duration = Duration::from_millis(5);

/// How often unused connections are looked at, so that those that the other side has closed, or that nobody needs, do not hold file descriptors for long.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What was not used for that long is surplus, of which half goes at a look. The last one stays for `idle_timeout`. Bursts come in series, and each connection that
/// is still there spares the next one the making of it.
const SURPLUS_AFTER: Duration = Duration::from_secs(5);

impl Connections {
    pub(super) fn new(address: RunnerAddress, tls: Option<Arc<ClientTls>>, limits: Limits, record: Arc<Record>) -> Self {
        let workers = (0..WORKERS).map(|_| OnceLock::new()).collect();
        Self { address, tls, limits, workers, tasks: TaskTracker::new(), closing: CancellationToken::new(), record }
    }

    /// Where they lead.
    pub(super) const fn address(&self) -> &RunnerAddress {
        &self.address
    }

    /// What the current worker has.
    pub(super) fn of_worker(&self) -> &OfWorker {
        self.of(current_worker())
    }

    fn of(&self, worker: usize) -> &OfWorker {
        self.workers[worker % WORKERS].get_or_init(Box::default)
    }

    /// Whether the runner was closed on our side.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// A kept connection that the other side has not closed, as far as can be known.
    pub(super) fn take(&self) -> Option<Connection> {
        let idle = &self.of_worker().idle;
        let now = turn::now();
        loop {
            let (connection, since) = lock(idle).kept.pop_back()?;
            let unused = now.saturating_duration_since(since);
            if unused >= self.limits.idle_timeout {
                // All below are older.
                let old = std::mem::take(&mut lock(idle).kept);
                drop((connection, old));
                return None;
            }
            if (unused < TRUSTED_FOR && !connection.stream.has_decrypted()) || connection.stream.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over for the next one, if there is room.
    pub(super) fn keep(self: &Arc<Self>, mut connection: Connection) {
        if !connection.read.is_empty() || connection.stream.has_decrypted() {
            // More than the answer came: whose it is, nobody can say.
            return;
        }
        connection.let_go_of_memory();
        let (worker, now) = (connection.worker, turn::now());
        let idle = &self.of(worker).idle;
        // What is not kept is closed after the lock.
        let mut old = None;
        let mut locked = lock(idle);
        if locked.is_closed || self.limits.max_idle == 0 {
            drop(locked);
            return;
        }
        let is_old = |since: &Instant| now.saturating_duration_since(*since) >= self.limits.idle_timeout;
        if locked.kept.len() >= self.limits.max_idle || locked.kept.front().is_some_and(|(_, since)| is_old(since)) {
            old = locked.kept.pop_front();
        }
        locked.kept.push_back((connection, now));
        let wants_looking_after = !locked.is_looked_after && worker == current_worker();
        locked.is_looked_after |= wants_looking_after;
        drop(locked);
        drop(old);
        if wants_looking_after {
            self.look_after(worker);
        }
    }

    /// Closes, now and then, what the other side has closed or what has grown old, as long as there is anything.
    fn look_after(self: &Arc<Self>, worker: usize) {
        let (connections, closing) = (Arc::downgrade(self), self.closing.clone());
        let interval = LOOK_INTERVAL.min(self.limits.idle_timeout).max(Duration::from_millis(10));
        let looking = async move {
            loop {
                sleep(interval).await;
                let Some(connections) = connections.upgrade() else { return };
                if !connections.look(worker) {
                    return;
                }
            }
        };
        self.tasks.spawn(async move { closing.run_until_cancelled(looking).await });
    }

    /// Looks once; whether anything is left to be looked after.
    fn look(&self, worker: usize) -> bool {
        let mut locked = lock(&self.of(worker).idle);
        let is_useful = |(connection, since): &(Connection, Instant)| {
            since.elapsed() < self.limits.idle_timeout && connection.stream.seems_quiet()
        };
        let (mut kept, useless): (Vec<_>, Vec<_>) = std::mem::take(&mut locked.kept).into_iter().partition(is_useful);
        let unused = kept.iter().take_while(|(_, since)| since.elapsed() >= SURPLUS_AFTER).count();
        let surplus: Vec<_> = kept.drain(..unused / 2).collect();
        locked.is_looked_after = !kept.is_empty();
        let is_left = locked.is_looked_after;
        locked.kept = kept.into();
        drop(locked);
        drop((useless, surplus));
        is_left
    }

    /// Makes a connection for HTTP/1.1. Dropping the future gives it up.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let (stream, open) = self.open().await?;
        Ok(Connection::new(stream, current_worker(), open, self.tasks.token()))
    }

    /// Opens the way for a connection.
    pub(super) async fn open(&self) -> Result<(Stream, OpenConnection), ConnectError> {
        let address = || self.address.to_string();
        let limit = self.limits.connect_timeout;
        let began = Instant::now();
        let stream =
            timeout(limit, self.open_stream()).await.map_err(|_| ConnectError::TimedOut { address: address(), limit })??;
        Ok((stream, self.record.connected(began.elapsed())))
    }

    /// Runs a task that the close waits for.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// What runs tasks that the close waits for.
    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    async fn open_stream(&self) -> Result<Stream, ConnectError> {
        // What is large, and not in every way to a runner, is on the heap: in a burst, as many connections are made at once as calls wait for them.
        let stream = match self.address.socket_address() {
            Some(address) => TcpStream::connect(address).await,
            // Looks the name up, and tries each address that it has.
            None => Box::pin(TcpStream::connect((self.address.host(), self.address.port()))).await,
        };
        let stream = stream.map_err(|source| ConnectError::Failed { address: self.address.to_string(), source })?;
        // Requests are written whole; waiting to fill a segment only adds latency.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return Ok(Stream::Tcp(stream)) };
        let stream = Box::pin(tls.connect(self.address.host(), stream)).await;
        let stream = stream.map_err(|source| ConnectError::Tls { address: self.address.to_string(), source })?;
        Ok(Stream::encrypted(stream))
    }

    /// How many are kept.
    pub(super) fn idle_count(&self) -> usize {
        self.workers.iter().filter_map(OnceLock::get).map(|of_worker| lock(&of_worker.idle).kept.len()).sum()
    }

    /// Closes the kept connections, keeps no more, and waits until every connection has ended.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        for worker in 0..WORKERS {
            let of_worker = self.of(worker);
            let kept = {
                let mut idle = lock(&of_worker.idle);
                idle.is_closed = true;
                std::mem::take(&mut idle.kept)
            };
            drop(kept);
            of_worker.shared.close();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn lock(idle: &Mutex<Idle>) -> std::sync::MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
