//! Clients that keep their connections and call again as soon as they were answered, while what they call is restarted.
//!
//! Nothing is tried twice: whatever a client meets that is not the answer is an error, and kept. A client opens a new connection when it was told to: by `connection: close`
//! (RFC 9112 section 9.6), or by a GOAWAY that says that its request was not processed (RFC 9113
//! section 6.8).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::eventually;
use super::http::{Answer, Body, Version, collect, full};

/// Clients of one front.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    front: SocketAddr,
    target: &'static str,
    is_over: AtomicBool,
    counts: Counts,
    errors: std::sync::Mutex<Vec<String>>,
}

#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    connected: AtomicUsize,
    told_to_go: AtomicUsize,
}

/// What came of it.
#[derive(Debug)]
pub struct Summary {
    pub answered: usize,
    pub connected: usize,
    /// How often a client was told to open another connection.
    pub told_to_go: usize,
    pub errors: Vec<String>,
}

impl Load {
    /// So many clients; each makes its calls one after the other, over one connection as long as it may.
    pub fn start(front: SocketAddr, target: &'static str, version: Version, clients: usize) -> Self {
        let shared =
            Shared { front, target, is_over: AtomicBool::new(false), counts: Counts::default(), errors: Default::default() };
        let shared = Arc::new(shared);
        let client = |number: usize| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                while !shared.is_over.load(Ordering::Relaxed) {
                    let connection = match version {
                        Version::Http1 => shared.over_http1(number).await,
                        Version::Http2 => shared.over_http2(number).await,
                    };
                    if let Err(error) = connection {
                        shared.errors.lock().unwrap().push(error);
                    }
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { shared, clients }
    }

    /// Waits for so many answers, or errors, from now on.
    pub async fn goes_on(&self, more: usize) {
        let count = || self.shared.counts.answered.load(Ordering::Relaxed) + self.shared.errors.lock().unwrap().len();
        let wanted = count() + more;
        eventually("calls are answered", || async { (count() >= wanted).then_some(()) }).await;
    }

    /// Ends it when every client has its answer.
    pub async fn end(self) -> Summary {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let Counts { answered, connected, told_to_go } = &self.shared.counts;
        let errors = std::mem::take(&mut *self.shared.errors.lock().unwrap());
        Summary { answered: count(answered), connected: count(connected), told_to_go: count(told_to_go), errors }
    }
}

impl Summary {
    /// Asserts that every call had its answer.
    #[track_caller]
    pub fn without_error(self) -> Self {
        assert_eq!(self.errors, Vec::<String>::new(), "of {} answers, {} connections", self.answered, self.connected);
        self
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(self.front).await.map_err(|error| format!("connecting: {error}"))?;
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// Until the load is over, or the connection is.
    async fn over_http1(&self, number: usize) -> Result<(), String> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake::<_, Body>(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        while !self.is_over() {
            let request = Request::post(self.target).header(HOST, "front").body(full(number.to_string())).unwrap();
            sender.ready().await.map_err(|error| format!("the connection ended before a call: {error:?}"))?;
            let response = sender.send_request(request).await.map_err(|error| format!("a call had no answer: {error:?}"))?;
            let answer = collect(response).await.map_err(|error| format!("an answer broke off: {error:?}"))?;
            self.judge(number, &answer)?;
            if answer.headers.get(CONNECTION).is_some_and(|value| value == "close") {
                self.counts.told_to_go.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        drop(sender);
        let _ = connection.await;
        Ok(())
    }

    async fn over_http2(&self, number: usize) -> Result<(), String> {
        let stream = self.connect().await?;
        let handshake = http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        while !self.is_over() {
            let target = format!("http://front{}", self.target);
            let request = Request::post(target).body(full(number.to_string())).unwrap();
            if sender.ready().await.is_err() {
                self.counts.told_to_go.fetch_add(1, Ordering::Relaxed);
                break;
            }
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                // It was given back, or there was a GOAWAY before it was taken: no call.
                Err(unsent) if unsent.message().is_some() || was_told_to_go(unsent.error()) => {
                    self.counts.told_to_go.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(lost) => return Err(format!("a call had no answer: {:?}", lost.error())),
            };
            let answer = collect(response).await.map_err(|error| format!("an answer broke off: {error:?}"))?;
            self.judge(number, &answer)?;
        }
        drop(sender);
        connection.await.unwrap().map_err(|error| format!("the connection broke: {error:?}"))
    }

    fn judge(&self, number: usize, answer: &Answer) -> Result<(), String> {
        if answer.status == StatusCode::OK && answer.text() == number.to_string() {
            self.counts.answered.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Err(format!("{} {:?}", answer.status, answer.text()))
    }
}

/// Whether a request was not sent, or not taken, because of a GOAWAY without an error: then it was certainly not processed (RFC 9113 section 6.8).
fn was_told_to_go(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
}
