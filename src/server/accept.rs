//! The accept loop and the life of a connection.

use std::convert::Infallible;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{Surroundings, serve_connection};
use super::crowd::Crowd;
use super::hand_over::hold_off;
use super::limits::ConnectionLimits;
use super::request_body::RequestBody;
use super::server::{Draining, HalfClose, Place, Rules, Server};
use super::watch::tick;
use crate::http1::MalformedHead;
use crate::model::Outcome;
use crate::protocol::Problem;
use crate::tls::{PeerIdentity, ServerTls, Stream};

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
    place: Place,
    identity: Option<Arc<PeerIdentity>>,
}

/// Pause after an error of `accept` that concerns the whole process (out of file descriptors, out of memory): trying again at once would
/// spin, as the connection that could not be accepted stays in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Server {
    /// Accepts connections and answers their requests with what `make_service` makes for each of them, until `closing` is cancelled.
    /// Then takes what waits in the listener's queue, closes it, lets every connection finish what it has begun, and returns when the last one ended.
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
        let crowd = Crowd::new(tick(self.rules.limits.shortest_time()));
        let _cut = crowd.cut_at_end();
        let saying = async {
            closing.cancelled().await;
            crowd.close();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            never = saying => match never {},
            never = crowd.keep_time() => match never {},
            () = self.serve_crowd(listener.into(), &crowd, make_service) => {}
        }
    }

    async fn serve_crowd<M, S, B>(&self, listener: Listening, crowd: &Crowd, make_service: M)
    where
        M: Fn(Peer) -> S,
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Listening { socket, tls } = listener;
        let mut handshakes = JoinSet::new();
        let begin = |accepted: Accepted| {
            let Accepted { stream, place, identity } = accepted;
            let around = Surroundings { place, identity, crowd: crowd.clone() };
            let service = make_service(around.peer());
            tokio::spawn(crowd.join(serve_connection(stream, around, service)));
        };
        let take_in = |handshakes: &mut JoinSet<Option<Accepted>>, incoming: Incoming| match &tls {
            None => begin(incoming.cleartext()),
            // Elsewhere: nobody waits for another's handshake.
            Some(tls) => drop(handshakes.spawn(incoming.encrypted(Arc::clone(tls)))),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = crowd.closing().told() => break,
                Some(ended) = handshakes.join_next() => {
                    if let Ok(Some(accepted)) = ended {
                        begin(accepted);
                    }
                    continue;
                }
                accepted = accept(&socket, tls.is_some(), &self.rules) => accepted,
            };
            let Some(incoming) = accepted else { break };
            take_in(&mut handshakes, incoming);
        }
        if let Some(time) = hold_off(&socket, self.sharing) {
            let mut over = std::pin::pin!(tokio::time::sleep(time));
            loop {
                tokio::select! {
                    biased;
                    Some(incoming) = accept(&socket, tls.is_some(), &self.rules) => take_in(&mut handshakes, incoming),
                    () = &mut over => break,
                }
            }
        }
        // For the kernel, and for their clients, these are connections already: closing the listener would reset them.
        if let Ok(socket) = socket.into_std() {
            while let Some(incoming) = accept_waiting(&socket, tls.is_some(), &self.rules).await {
                take_in(&mut handshakes, incoming);
            }
        }
        // They end in time by themselves.
        while let Some(ended) = handshakes.join_next().await {
            if let Ok(Some(accepted)) = ended {
                begin(accepted);
            }
        }
        crowd.ended().await;
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
    place: Place,
}

impl Incoming {
    fn cleartext(self) -> Accepted {
        let Self { stream, place } = self;
        Accepted { stream: Stream::Tcp(stream), place, identity: None }
    }

    /// The connection after its handshake; `None` if it came to nothing.
    async fn encrypted(self, tls: Arc<ServerTls>) -> Option<Accepted> {
        let Self { stream, place } = self;
        match tls.accept(stream).await {
            Ok((stream, identity)) => Some(Accepted { stream: Stream::encrypted(stream), place, identity }),
            Err(error) => {
                // Counted by the metrics; scanners make many.
                tracing::debug!(address = %place.address, "{error}");
                None
            }
        }
    }
}

/// The next connection, when there is room for one. `None` never comes while the semaphore is open.
async fn accept(listener: &TcpListener, is_tls: bool, rules: &Arc<Rules>) -> Option<Incoming> {
    let mut permit = rules.places.acquire().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => match admit(stream, address, is_tls, permit, rules) {
                Some(accepted) => return Some(accepted),
                None => permit = rules.places.acquire().await.ok()?,
            },
            Err(error) => pause_after(&error).await,
        }
    }
}

/// The next connection of those that wait, when there is room for one; `None` if there is no more. Asks the kernel, which knows of connections that the runtime was
/// not told of yet.
async fn accept_waiting(listener: &net::TcpListener, is_tls: bool, rules: &Arc<Rules>) -> Option<Incoming> {
    let mut permit = rules.places.acquire().await.ok()?;
    loop {
        let accepted = listener.accept().and_then(|(stream, address)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, address))
        });
        match accepted {
            Ok((stream, address)) => match admit(stream, address, is_tls, permit, rules) {
                Some(accepted) => return Some(accepted),
                None => permit = rules.places.acquire().await.ok()?,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Gives a connection its places; `None` if its client has as many as it may.
fn admit(
    stream: TcpStream,
    address: SocketAddr,
    is_tls: bool,
    permit: SemaphorePermit<'_>,
    rules: &Arc<Rules>,
) -> Option<Incoming> {
    let Some(place) = rules.place_of(address, is_tls, permit) else {
        tracing::debug!(%address, "closed a connection: its client has as many as it may");
        return None;
    };
    // Answers are written whole; waiting to fill a segment only adds latency.
    let _ = stream.set_nodelay(true);
    Some(Incoming { stream, place })
}

async fn pause_after(error: &io::Error) {
    if !is_about_one_connection(error) {
        tracing::warn!(%error, "could not accept a connection; pausing");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Whether an error of `accept` says only that the connection in hand is gone (accept(2), "Error handling").
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
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
