//! The front behind a listener of its own.

use std::convert::Infallible;

use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::invoke::{ClientAddress, Front};
use crate::server::{ConnectionLimits, serve as serve_connections};

/// Takes calls from `listener` until `closing` is cancelled, then lets the calls in hand end. Returns when the last one has.
/// Dropping the future cuts them.
pub async fn serve(front: Front, listener: TcpListener, limits: &ConnectionLimits, closing: CancellationToken) {
    serve_connections(listener, limits, closing, |peer| {
        let front = front.clone();
        service_fn(move |mut request| {
            let front = front.clone();
            request.extensions_mut().insert(ClientAddress(peer.address));
            async move { Ok::<_, Infallible>(front.handle(request).await) }
        })
    })
    .await;
    front.close().await;
}
