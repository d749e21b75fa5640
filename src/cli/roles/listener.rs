//! One listening socket with the task that serves it.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::{self, ConnectionLimits, Peer};

/// A listener that serves. Dropping it closes the socket and cuts every connection.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    closing: CancellationToken,
    /// The one task of it: a set, so that dropping it ends the task.
    task: JoinSet<()>,
}

impl Listener {
    /// Listens on `address`, for `purpose` as people call it, and answers with what `make_service` makes for each connection.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub(super) async fn open<M, S, B>(
        address: SocketAddr,
        purpose: &'static str,
        limits: &ConnectionLimits,
        make_service: M,
    ) -> anyhow::Result<Self>
    where
        M: Fn(Peer) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let socket = server::bind(address, purpose).await?;
        let address = socket.local_addr().with_context(|| format!("could not ask where the {purpose} listens"))?;
        let closing = CancellationToken::new();
        let (limits, token) = (limits.clone(), closing.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { server::serve(socket, &limits, token, make_service).await });
        Ok(Self { address, closing, task })
    }

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
