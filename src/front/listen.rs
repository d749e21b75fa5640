//! The front behind listeners of its own.

use std::sync::Arc;

use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;

use super::forwarding::ClientHop;
use super::invoke::{ClientIdentity, Front, Visited};
use crate::server::{ConnectionLimits, Draining, HalfClose, Listening, Peer, Server};

/// The server of a front: give it to each of its listeners, which then share their limits. From the time that `draining` is set, answers tell clients to close.
pub fn server(front: &Front, limits: ConnectionLimits, draining: Draining) -> Server {
    let front = front.clone();
    Server::new(limits, HalfClose::MayListen, draining, Arc::new(move |peer, malformed| front.refuse(peer.address, malformed)))
}

/// The hop from a client to us.
fn hop(peer: &Peer) -> ClientHop {
    let hop = ClientHop::new(peer.address);
    if peer.is_tls { hop.by_tls() } else { hop }
}

/// Takes calls from `listener` until `closing` is cancelled, then lets the calls in hand end. Returns when the last one has.
/// Dropping the future cuts them.
pub async fn serve(front: Front, server: Server, listener: impl Into<Listening>, closing: CancellationToken) {
    let calls = front.clone();
    server
        .serve(listener, closing, move |peer| {
            let visited = Arc::new(Visited { front: calls.clone(), hop: hop(&peer) });
            let identity = peer.identity.map(ClientIdentity);
            service_fn(move |mut request| {
                if let Some(identity) = &identity {
                    request.extensions_mut().insert(identity.clone());
                }
                visited.handle(request)
            })
        })
        .await;
    front.close().await;
}
