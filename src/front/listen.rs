//! The front behind listeners of its own.

use std::sync::Arc;

use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;

use super::forwarding::ClientHop;
use super::invoke::{ClientIdentity, Front, Visited};
use crate::server::{ConnectionLimits, Draining, HalfClose, Listening, Server};

/// The server of a front: give it to each of its listeners, which then share their limits. From the time that `draining` is set, answers tell clients to close.
pub fn server(front: &Front, limits: ConnectionLimits, draining: Draining) -> Server {
    let front = front.clone();
    Server::new(limits, HalfClose::MayListen, draining, Arc::new(move |peer, malformed| front.refuse(peer.address, malformed)))
}

/// Takes calls from `listener` until `closing` is cancelled, then lets the calls in hand end. Returns when the last one has.
/// Dropping the future cuts them.
pub async fn serve(front: Front, server: Server, listener: impl Into<Listening>, closing: CancellationToken) {
    let calls = front.clone();
    server
        .serve(listener, closing, move |peer| {
            let hop = ClientHop::new(peer.address, peer.is_tls);
            let identity = peer.identity.map(ClientIdentity);
            let visited = Arc::new(Visited { front: calls.clone(), hop, identity });
            service_fn(move |request| visited.handle(request))
        })
        .await;
    front.close().await;
}
