//! The accept loop and the life of a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{Surroundings, serve_connection};
use super::limits::ConnectionLimits;
use super::request_body::RequestBody;
use super::server::{Draining, HalfClose, Place, Rules, Server};
use super::stream::Stream;
use crate::http1::MalformedHead;
use crate::model::Outcome;
use crate::protocol::Problem;
use crate::tls::{PeerIdentity, ServerTls};

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whose certificate it showed, if it showed one; verified.
    pub identity: Option<Arc<PeerIdentity>>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

/// A socket that listens, and what is spoken on it.
#[derive(Debug)]
pub struct Listening {
    socket: TcpListener,
    /// None: cleartext.
    tls: Option<Arc<ServerTls>>,
}

impl Listening {
    /// TLS on this socket, if there is any.
    pub const fn new(socket: TcpListener, tls: Option<Arc<ServerTls>>) -> Self {
        Self { socket, tls }
    }
}

impl From<TcpListener> for Listening {
    /// Cleartext.
    fn from(socket: TcpListener) -> Self {
        Self::new(socket, None)
    }
}

/// A connection before its first request.
struct Accepted {
    stream: Stream,
    peer: Peer,
    place: Place,
}

/// Pause after an error of `accept` that concerns the whole process (out of file descriptors, out of memory): trying again at once would
/// spin, as the connection that could not be accepted stays in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Server {
    /// Accepts connections and answers their requests with what `make_service` makes for each of them, until `closing` is cancelled.
    /// Then closes the listener, lets every connection finish what it has begun, and returns when the last one ended.
    ///
    /// Dropping the future closes the listener and cuts every connection.
    pub async fn serve<M, S, B>(&self, listener: impl Into<Listening>, closing: CancellationToken, make_service: M)
    where
        M: Fn(Peer) -> S,
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Listening { socket, tls } = listener.into();
        let (mut connections, mut handshakes) = (JoinSet::new(), JoinSet::new());
        loop {
            let accepted = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                Some(ended) = handshakes.join_next() => match ended {
                    Ok(Some(accepted)) => accepted,
                    Ok(None) | Err(_) => continue,
                },
                accepted = accept(&socket, &self.rules) => match (accepted, &tls) {
                    (None, _) => break,
                    (Some(accepted), None) => accepted.cleartext(),
                    (Some(accepted), Some(tls)) => {
                        // Elsewhere: nobody waits for another's handshake.
                        handshakes.spawn(accepted.encrypted(Arc::clone(tls)));
                        continue;
                    }
                },
            };
            let Accepted { stream, peer, place } = accepted;
            let around = Surroundings { rules: Arc::clone(&self.rules), peer: peer.clone(), closing: closing.clone() };
            let service = make_service(peer);
            connections.spawn(async move {
                serve_connection(stream, around, service).await;
                drop(place);
            });
        }
        drop(socket);
        // Nothing was asked on those that are not connections yet.
        drop(handshakes);
        while connections.join_next().await.is_some() {}
    }
}

/// Serves a listener of its own, for peers of ours: who closes is gone, and a head that cannot be taken is answered by a problem document.
pub async fn serve<M, S, B>(
    listener: impl Into<Listening>,
    limits: &ConnectionLimits,
    closing: CancellationToken,
    make_service: M,
) where
    M: Fn(Peer) -> S,
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let refuse = Arc::new(|_: Peer, malformed: &MalformedHead| refusal(malformed));
    let server = Server::new(limits.clone(), HalfClose::IsGone, Draining::default(), refuse);
    server.serve(listener, closing, make_service).await;
}

/// A head that cannot be taken, as a problem document.
fn refusal(malformed: &MalformedHead) -> Response<Bytes> {
    let problem = Problem::new(Outcome::BadRequest, malformed.detail()).with_status(malformed.status());
    let (headers, body) = problem.to_parts();
    let mut answer = Response::new(body);
    *answer.status_mut() = malformed.status();
    *answer.headers_mut() = headers;
    answer
}

/// What was accepted, before anything was said.
struct Incoming {
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
}

impl Incoming {
    fn cleartext(self) -> Accepted {
        let Self { stream, address, place } = self;
        Accepted { stream: Stream::Tcp(stream), peer: Peer { address, identity: None, is_tls: false }, place }
    }

    /// The connection after its handshake; `None` if it came to nothing.
    async fn encrypted(self, tls: Arc<ServerTls>) -> Option<Accepted> {
        let Self { stream, address, place } = self;
        match tls.accept(stream).await {
            Ok((stream, identity)) => {
                let peer = Peer { address, identity, is_tls: true };
                Some(Accepted { stream: Stream::Tls(Box::new(stream)), peer, place })
            }
            Err(error) => {
                // Counted by the metrics; scanners make many.
                tracing::debug!(%address, "{error}");
                None
            }
        }
    }
}

/// The next connection, when there is room for one. `None` never comes while the semaphore is open.
async fn accept(listener: &TcpListener, rules: &Rules) -> Option<Incoming> {
    let permit = Arc::clone(&rules.places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(place) = rules.place_of(address.ip(), permit) else {
                    tracing::debug!(%address, "closed a connection: its client has as many as it may");
                    // The permit went with it; the next turn takes one.
                    return Box::pin(accept(listener, rules)).await;
                };
                // Answers are written whole; waiting to fill a segment only adds latency.
                let _ = stream.set_nodelay(true);
                return Some(Incoming { stream, address, place });
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::service::service_fn;
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
