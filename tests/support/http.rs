//! A client of one connection a call, and servers that do exactly what a test wants of a plain runner.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::HANG;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of unknown length that the test sends piece by piece; it ends when the sender is dropped.
pub fn channel() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok(http_body::Frame::data(piece)), receiver))
    });
    (sender, http_body_util::StreamBody::new(stream).boxed_unsync())
}

/// The future's value; fails the test when the program hangs.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(HANG, future).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen: {what}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// A request that is being made up.
pub struct Call {
    address: SocketAddr,
    version: Version,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Body,
}

/// A call of `target` (`/path?query`) at `address`: an empty POST over HTTP/1.1, unless it is changed.
pub fn call(address: SocketAddr, target: &str) -> Call {
    let (method, version, headers) = (Method::POST, Version::Http1, HeaderMap::new());
    Call { address, version, method, target: target.to_owned(), headers, body: full("") }
}

/// `GET path` at `address`.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    call(address, path).method(Method::GET).send().await
}

impl Call {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        let name = http::HeaderName::try_from(name).unwrap();
        self.headers.append(name, value.to_string().parse().unwrap());
        self
    }

    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub fn over(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = full(bytes);
        self
    }

    pub fn streaming(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// The same, where an end of the connection is an answer too.
    pub async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let target = self.target.clone();
        within(&format!("an answer to {target}"), async { Ok(collect(self.try_head().await?).await?) }).await
    }

    /// Sends it and waits for the head of the answer.
    pub async fn head(self) -> Response<Incoming> {
        let target = self.target.clone();
        within(&format!("the head of an answer to {target}"), self.try_head()).await.unwrap()
    }

    /// Sends it in a task of its own.
    pub fn start(self) -> JoinHandle<Answer> {
        tokio::spawn(self.send())
    }

    async fn try_head(self) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let Self { address, version, method, target, headers, body } = self;
        let stream = TcpStream::connect(address).await?;
        let mut request = Request::builder().method(method).body(body)?;
        *request.headers_mut() = headers;
        match version {
            Version::Http1 => {
                *request.uri_mut() = target.parse()?;
                request.headers_mut().entry("host").or_insert(address.to_string().parse()?);
                let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                // Ends with the sender or with the answer's body.
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
            Version::Http2 => {
                *request.uri_mut() = format!("http://{address}{target}").parse()?;
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
        }
    }
}

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub async fn collect(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = response.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
}

impl Answer {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Asserts that runpool made this answer itself, with this status and this outcome in header and document; gives the text.
    #[track_caller]
    pub fn problem(&self, status: u16, outcome: &str) -> String {
        assert_eq!((self.status.as_u16(), self.header("runpool-outcome")), (status, outcome), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((&document["outcome"], &document["status"]), (&outcome.into(), &status.into()));
        assert_eq!(document["call_id"], self.header("fn-call-id"));
        document["message"].as_str().unwrap().to_owned()
    }

    /// Asserts that the function answered 200.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!((self.status.as_u16(), self.header("runpool-outcome")), (200, ""), "{self:?}");
        self
    }
}

/// The sum of the series of this metric whose labels contain all of these texts.
pub async fn metric(admin: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let scrape = get(admin, "/metrics").await;
    let series = scrape.text().lines().filter_map(|line| {
        let (labelled, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let is_it = (labelled.is_empty() || labelled.starts_with('{')) && labels.iter().all(|label| labelled.contains(label));
        is_it.then(|| value.parse::<f64>().unwrap())
    });
    series.sum()
}

/// A plain HTTP/1.1 server that answers every request so. It serves until the test ends.
pub async fn plain<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let answer = Arc::new(answer);
    scripted(move |connection| {
        let answer = Arc::clone(&answer);
        async move {
            let service = hyper::service::service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let stream = connection.stream.into_inner();
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// A server that does with every connection what the test wants.
pub async fn scripted<F, A>(script: F) -> SocketAddr
where
    F: Fn(Connection) -> A + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(Connection { stream: BufReader::new(stream) }));
        }
    });
    address
}

/// One connection to a scripted server.
pub struct Connection {
    pub stream: BufReader<TcpStream>,
}

impl Connection {
    /// The head of the next request, or nothing if the other side has closed.
    pub async fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(head)
    }

    /// So many bytes of the body.
    pub async fn body(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may be gone: what that means is for the test to see.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }
}

/// The `content-length` of a head.
pub fn content_length(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap())
}

/// An address on which nobody listens, and that nobody else can take while the socket is held.
pub fn dead_address() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
