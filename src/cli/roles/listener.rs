//! One listening socket with the task that serves it.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server;

/// A listener that serves. Dropping it closes the socket and cuts every connection.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    closing: CancellationToken,
    /// The one task of it: a set, so that dropping it ends the task.
    task: JoinSet<()>,
}

/// A socket that listens and is not served yet: clients wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct Bound {
    address: SocketAddr,
    socket: TcpListener,
}

impl Bound {
    /// Listens on `address`, for `purpose` as people call it.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub(super) async fn bind(address: SocketAddr, purpose: &'static str) -> anyhow::Result<Self> {
        let socket = server::bind(address, purpose).await?;
        let address = socket.local_addr().with_context(|| format!("could not ask where {purpose} listens"))?;
        Ok(Self { address, socket })
    }

    /// Serves with the future that `serve` makes: it is to end when the token is cancelled and every connection has ended.
    pub(super) fn serve<F>(self, serve: impl FnOnce(TcpListener, CancellationToken) -> F) -> Listener
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { address, socket } = self;
        let closing = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(socket, closing.clone()));
        Listener { address, closing, task }
    }
}

impl Listener {
    /// Where it listens: the real port, if 0 was asked for.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the socket and waits until every connection has finished what it has begun. Dropping the future cuts what is left.
    pub(super) async fn close(mut self) {
        self.closing.cancel();
        while self.task.join_next().await.is_some() {}
    }
}
