//! The accept loop and the life of a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::limits::ConnectionLimits;
use super::request_body::{RequestBody, rests};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
}

/// Pause after an error of `accept` that concerns the whole process (out of file descriptors, out of memory): trying again at once would
/// spin, as the connection that could not be accepted stays in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections and answers their requests with what `make_service` makes for each of them, until `closing` is cancelled.
/// Then closes the listener, lets every connection finish what it has begun, and returns when the last one ended.
///
/// Dropping the future closes the listener and cuts every connection.
pub async fn serve<M, S, B>(listener: TcpListener, limits: &ConnectionLimits, closing: CancellationToken, make_service: M)
where
    M: Fn(Peer) -> S,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (builder, header_timeout) = (Arc::new(connection_builder(limits)), limits.header_timeout);
    let room = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { break };
        let service = make_service(peer);
        let (builder, closing) = (Arc::clone(&builder), closing.clone());
        connections.spawn(async move {
            let (rests_of, rests) = rests();
            let first_request = CancellationToken::new();
            let has_come = first_request.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                has_come.cancel();
                service.call(rests_of.adopt(request))
            });
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let served = async {
                tokio::select! {
                    result = connection.as_mut() => result,
                    () = closing.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            let result = tokio::select! {
                result = served => result,
                never = rests.read() => match never {},
                () = silence(&first_request, header_timeout) => Ok(()),
            };
            if let Err(error) = result {
                // Clients break connections off all the time; what it meant for a call is told where the call is known.
                tracing::trace!(peer = %peer.address, %error, "connection ended with an error");
            }
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Returns if the first request does not come in time. hyper's own limit begins when it knows which version of HTTP is spoken: a connection that
/// says nothing, or half a preface of HTTP/2, would otherwise hold its place for ever.
async fn silence(first_request: &CancellationToken, header_timeout: Duration) {
    tokio::select! {
        () = first_request.cancelled() => std::future::pending().await,
        () = tokio::time::sleep(header_timeout) => {}
    }
}

/// The next connection, when there is room for one. `None` never comes while the semaphore is open.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are written whole; waiting to fill a segment only adds latency.
                let _ = stream.set_nodelay(true);
                return Some((stream, Peer { address }, permit));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` says only that the connection in hand is gone (accept(2), "Error handling").
fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn connection_builder(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let max_header_size = usize::try_from(limits.max_header_size.bytes()).unwrap_or(usize::MAX);
    builder
        .http1()
        // hyper's timeouts do nothing without a timer.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // A head must fit the read buffer, of which hyper wants at least 8 KiB.
        .max_buf_size(max_header_size.max(8_192))
        .max_headers(limits.max_headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        // An HTTP/2 connection may be idle, and its peer must be there.
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(max_header_size).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn hello(_: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
    }

    /// A listener with one place: whoever keeps it keeps everybody out.
    #[tokio::test]
    async fn a_connection_that_never_makes_a_request_gives_its_place_to_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits =
            ConnectionLimits { max_connections: 1, header_timeout: Duration::from_millis(100), ..ConnectionLimits::default() };
        let closing = CancellationToken::new();
        let server = tokio::spawn({
            let closing = closing.clone();
            async move { serve(listener, &limits, closing, |_| service_fn(hello)).await }
        });
        for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM", "GET / HTTP/1.1\r\nhost: "] {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(beginning.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            // Ends only when the listener closes the connection.
            let _ = silent.read_to_end(&mut said).await;
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
        closing.cancel();
        server.await.unwrap();
    }
}
