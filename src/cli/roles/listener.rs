//! One listening address with what serves it: a task, or worker threads.

use std::net::{self, SocketAddr};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::{self, Sharing, Workers};

/// A listener that serves. Dropping it closes the sockets and cuts every connection.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    closing: CancellationToken,
    serving: Serving,
}

/// Who serves.
#[derive(Debug)]
enum Serving {
    /// The one task of it: a set, so that dropping it ends the task.
    Task(JoinSet<()>),
    Workers(Workers),
}

/// Sockets that listen and are not served yet: clients wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct Bound {
    address: SocketAddr,
    sockets: Vec<net::TcpListener>,
}

impl Bound {
    /// Listens on `address` with one socket, for `purpose` as people call it.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub(super) fn bind(address: SocketAddr, purpose: &'static str) -> anyhow::Result<Self> {
        Self::bind_several(address, 1, Sharing::Alone, purpose)
    }

    /// The same with several sockets, each for a worker.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub(super) fn bind_several(
        address: SocketAddr,
        count: usize,
        sharing: Sharing,
        purpose: &'static str,
    ) -> anyhow::Result<Self> {
        Self::of(server::bind(address, count, sharing, purpose)?, purpose)
    }

    /// Sockets that somebody else has opened.
    ///
    /// # Errors
    /// They are no sockets that listen.
    pub(super) fn of(sockets: Vec<net::TcpListener>, purpose: &'static str) -> anyhow::Result<Self> {
        let first = sockets.first().with_context(|| format!("there is no socket for {purpose}"))?;
        let address = first.local_addr().with_context(|| format!("could not ask where {purpose} listens"))?;
        Ok(Self { address, sockets })
    }

    /// Serves the first socket with the future that `serve` makes: it is to end when the token is cancelled and every connection has ended.
    ///
    /// # Errors
    /// The runtime cannot wait for the socket.
    pub(super) fn serve<F>(self, serve: impl FnOnce(TcpListener, CancellationToken) -> F) -> anyhow::Result<Listener>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { address, sockets } = self;
        let socket = sockets.into_iter().next().context("there is no socket")?;
        let socket = TcpListener::from_std(socket).context("could not wait for connections")?;
        let closing = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(socket, closing.clone()));
        Ok(Listener { address, closing, serving: Serving::Task(task) })
    }

    /// Serves each socket on a thread of its own, with what `serve` makes there.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn serve_on_workers<F>(
        self,
        serve: impl Fn(TcpListener, CancellationToken) -> F + Send + Sync + 'static,
    ) -> anyhow::Result<Listener>
    where
        F: Future<Output = ()> + 'static,
    {
        let Self { address, sockets } = self;
        let closing = CancellationToken::new();
        let parts = sockets.into_iter().map(|socket| (socket, closing.clone())).collect();
        let workers = Workers::start(parts, move |(socket, closing): (net::TcpListener, CancellationToken)| {
            // A socket that listens can be waited for, unless the process is out of everything.
            let socket = TcpListener::from_std(socket).inspect_err(|error| tracing::error!(%error, "a worker cannot listen"));
            let serving = socket.ok().map(|socket| serve(socket, closing));
            async move {
                if let Some(serving) = serving {
                    serving.await;
                }
            }
        })
        .context("could not start the workers")?;
        Ok(Listener { address, closing, serving: Serving::Workers(workers) })
    }
}

impl Listener {
    /// Where it listens: the real port, if 0 was asked for.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the sockets and waits until every connection has finished what it has begun. Dropping the future cuts what is left.
    pub(super) async fn close(mut self) {
        self.closing.cancel();
        match &mut self.serving {
            Serving::Task(task) => while task.join_next().await.is_some() {},
            Serving::Workers(workers) => workers.ended().await,
        }
    }
}
