//! The arrangement: a server whose every byte the test writes, and calls.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::model::{Call, CallHead, CallId, CallKind, Function, FunctionSpec, HopFields, Intent, TraceContext};
use crate::runner::http::{HttpRunner, HttpRunnerSettings, Protocol, RunnerMetrics};
use crate::runner::{AnswerBody, Attempt, CallBody, CallError, Refused, Runner as _, RunnerCall, StreamingBody};
use crate::telemetry::metrics::{Metrics, MetricsConfig};

/// A listening socket.
pub(super) struct Server(TcpListener);

impl Server {
    pub(super) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) const fn listening(listener: TcpListener) -> Self {
        Self(listener)
    }

    pub(super) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    pub(super) async fn accept(&self) -> Peer {
        Peer { stream: self.0.accept().await.unwrap().0, ahead: Vec::new() }
    }
}

/// The server's end of one connection.
pub(super) struct Peer {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Peer {
    /// The head of the next request, in lower case, without its empty line.
    pub(super) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap().to_lowercase();
            }
            assert!(self.read_more().await > 0, "the connection ended within a head: {:?}", self.ahead);
        }
    }

    /// The next bytes.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(self.read_more().await > 0, "the connection ended within a body");
        }
        self.ahead.drain(..count).collect()
    }

    /// What was sent beyond what the test has read.
    pub(super) fn unread(&self) -> &[u8] {
        &self.ahead
    }

    pub(super) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub(super) async fn write_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads frames of HTTP/2 until the head of a request has come.
    pub(super) async fn until_http2_head(&mut self) {
        const PREFACE: usize = 24;
        const HEADERS: u8 = 1;
        self.bytes(PREFACE).await;
        loop {
            let head = self.bytes(9).await;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            self.bytes(length).await;
            if head[3] == HEADERS {
                return;
            }
        }
    }

    /// Answers with this status line's end, headers and body, the length announced.
    pub(super) async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        self.write(&format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// Reads until the client has closed; returns what came before.
    pub(super) async fn until_closed(mut self) -> Vec<u8> {
        while self.read_more().await > 0 {}
        self.ahead
    }

    async fn read_more(&mut self) -> usize {
        // A reset is an end, too.
        self.stream.read_buf(&mut self.ahead).await.unwrap_or_default()
    }
}

/// Settings with times that no test waits for.
pub(super) fn settings(protocol: Protocol) -> HttpRunnerSettings {
    HttpRunnerSettings {
        connect_timeout: Duration::from_secs(60),
        attempt_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        ..HttpRunnerSettings::new(protocol)
    }
}

pub(super) fn runner_with(address: &str, settings: HttpRunnerSettings) -> HttpRunner {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    HttpRunner::new(address, settings, &RunnerMetrics::declare(&mut metrics)).unwrap()
}

pub(super) async fn agent() -> (Server, HttpRunner) {
    let server = Server::start().await;
    let runner = runner_with(&server.address(), settings(Protocol::Agent));
    (server, runner)
}

pub(super) async fn plain() -> (Server, HttpRunner) {
    let server = Server::start().await;
    let runner = runner_with(&server.address(), settings(Protocol::Plain));
    (server, runner)
}

/// `POST` without headers to the function `greet`, whose id ends in 1.
pub(super) fn call() -> Call {
    Call {
        id: CallId::from_parts(0, 1),
        function: Arc::new(Function::new(FunctionSpec::named("greet".parse().unwrap()))),
        kind: CallKind::Sync,
        intent: Intent::Invoke,
        head: CallHead {
            method: Method::POST,
            rest: String::new(),
            original_target: "/greet".parse().unwrap(),
            authority: None,
            headers: HeaderMap::new(),
            hop: HopFields::default(),
            upgrade: None,
        },
        deadline: None,
        hint: None,
        trace: TRACE,
    }
}

pub(super) const TRACE: TraceContext = TraceContext { trace_id: [1; 16], span_id: [2; 8], is_sampled: true };

pub(super) fn held(text: &'static str) -> CallBody {
    CallBody::Held(Bytes::from_static(text.as_bytes()))
}

pub(super) fn streaming(text: &'static str) -> CallBody {
    CallBody::streaming(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync())
}

/// A body whose length nobody knows, and that comes when the sender sends.
pub(super) fn piped() -> (tokio::sync::mpsc::Sender<Bytes>, StreamingBody) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver: tokio::sync::mpsc::Receiver<Bytes>| async move {
        receiver.recv().await.map(|bytes| (Ok(http_body::Frame::data(bytes)), receiver))
    });
    (sender, http_body_util::StreamBody::new(frames).boxed_unsync())
}

/// One attempt, the first.
pub(super) async fn attempt(runner: &HttpRunner, call: &Call, body: &CallBody) -> Attempt {
    runner.try_exec(RunnerCall { call, body, attempt: 1, room: None, trace: TRACE }).await
}

/// The answer of an attempt that must have one.
pub(super) fn answered(attempt: Attempt) -> ::http::Response<AnswerBody> {
    match attempt {
        Attempt::Committed(Ok(response)) => response,
        other => panic!("expected an answer, got {other:?}"),
    }
}

/// The error of an attempt that must have one.
pub(super) fn failed(attempt: Attempt) -> CallError {
    match attempt {
        Attempt::Committed(Err(error)) => error,
        other => panic!("expected a committed error, got {other:?}"),
    }
}

/// The refusal of an attempt that must have one.
pub(super) fn refused(attempt: Attempt) -> Refused {
    match attempt {
        Attempt::Refused(refused) => refused,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The bytes of an answer's body.
pub(super) async fn text(response: ::http::Response<AnswerBody>) -> String {
    String::from_utf8(response.into_body().collect_bytes().await.unwrap().to_vec()).unwrap()
}
