//! An agent on a port of its own, a client, and meetings with running functions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentBuilder, AgentConfig, AgentMetrics};
use crate::model::{ByteSize, CallId, Digest, Format, FunctionSpec, Outcome};
use crate::protocol::{AgentStatus, LoadReport, Refusal, RefusalReason};
use crate::telemetry::metrics::{Metrics, MetricsConfig};

/// An http-stream function that does what the call asks for.
pub(super) fn worker(name: &str) -> FunctionSpec {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/worker.py");
    FunctionSpec {
        command: ["python3", "-S", "-E", script].map(str::to_owned).into(),
        init_timeout: Duration::from_secs(60),
        memory: ByteSize::mib(64),
        ..FunctionSpec::named(name.parse().unwrap())
    }
}

/// An exec function that runs a script of the shell.
pub(super) fn job(name: &str, script: &str) -> FunctionSpec {
    FunctionSpec {
        command: ["sh", "-c", script].map(str::to_owned).into(),
        format: Format::Exec,
        memory: ByteSize::mib(64),
        ..FunctionSpec::named(name.parse().unwrap())
    }
}

pub(super) fn config() -> AgentConfig {
    AgentConfig { memory_watch: Duration::from_millis(20), ..AgentConfig::default() }
}

/// An agent that serves.
pub(super) struct TestAgent {
    pub(super) agent: Agent,
    pub(super) address: SocketAddr,
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

/// Starts an agent with these functions.
pub(super) async fn agent(functions: &[FunctionSpec]) -> TestAgent {
    agent_with(config(), functions, |builder| builder).await
}

/// Starts an agent of this configuration, changed by `change`.
pub(super) async fn agent_with(
    config: AgentConfig,
    functions: &[FunctionSpec],
    change: impl FnOnce(AgentBuilder) -> AgentBuilder,
) -> TestAgent {
    let agent = change(builder(config).functions(functions.to_vec())).build().unwrap();
    serve(agent, Duration::from_secs(600)).await
}

pub(super) fn builder(config: AgentConfig) -> AgentBuilder {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    let agent_metrics = AgentMetrics::declare(&mut metrics);
    Agent::builder(config, agent_metrics, Arc::new(metrics))
}

/// Serves an agent on a free port.
pub(super) async fn serve(agent: Agent, patience: Duration) -> TestAgent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closing, served) = (CancellationToken::new(), agent.clone());
    let serving = tokio::spawn({
        let closing = closing.clone();
        async move { served.serve(listener, closing, patience).await }
    });
    let agent = TestAgent { agent, address, closing, serving };
    // Connections wait in the listener's queue, but the gate opens only when the task has begun.
    while agent.get("/readyz").await.status != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    agent
}

static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

impl TestAgent {
    /// A call of `spec`, to be changed and sent.
    pub(super) fn call(&self, spec: &FunctionSpec) -> TestCall {
        let id = CallId::from_parts(NEXT_CALL.fetch_add(1, Ordering::Relaxed), 0);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/call/{}", spec.name))
            .header("host", "test")
            .header("runpool-call", id.to_string())
            .header("runpool-function", Digest::of(spec).as_str());
        TestCall { address: self.address, id, request, body: full("") }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, "").await
    }

    pub(super) async fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "test").body(full(body)).unwrap();
        collect(send(self.address, request).await.unwrap()).await.unwrap()
    }

    pub(super) async fn status(&self) -> AgentStatus {
        serde_json::from_slice(&self.get("/status").await.body).unwrap()
    }

    /// Waits until no call is in hand; there is no event for it across a socket.
    pub(super) async fn until_idle(&self) {
        while self.status().await.active_request_count > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Begins the end; `ended` waits for it.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Drops the future that serves.
    pub(super) async fn abort(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }

    /// Ends the agent and waits until it has ended.
    pub(super) async fn ended(self) {
        self.closing.cancel();
        self.serving.await.unwrap();
    }
}

pub(super) type TestBody = UnsyncBoxBody<Bytes, std::io::Error>;

pub(super) fn full(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that the test sends piece by piece.
pub(super) fn channel() -> (tokio::sync::mpsc::Sender<&'static str>, TestBody) {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece: &'static str = receiver.recv().await?;
        Some((Ok(http_body::Frame::data(Bytes::from_static(piece.as_bytes()))), receiver))
    });
    (sender, http_body_util::StreamBody::new(stream).boxed_unsync())
}

/// A call that is being made up.
pub(super) struct TestCall {
    address: SocketAddr,
    pub(super) id: CallId,
    request: http::request::Builder,
    body: TestBody,
}

impl TestCall {
    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.request = self.request.header(name, value.to_string());
        self
    }

    pub(super) fn method(mut self, method: Method) -> Self {
        self.request = self.request.method(method);
        self
    }

    pub(super) fn path(mut self, path: &str) -> Self {
        self.request = self.request.uri(path);
        self
    }

    pub(super) fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = full(bytes);
        self
    }

    pub(super) fn streaming(mut self, body: TestBody) -> Self {
        self.body = body;
        self
    }

    /// Sends the call and reads the whole answer.
    pub(super) async fn send(self) -> Answer {
        collect(self.head().await).await.unwrap()
    }

    /// Sends the call and waits for the head of the answer.
    pub(super) async fn head(self) -> Response<Incoming> {
        let request = self.request.body(self.body).unwrap();
        send(self.address, request).await.unwrap()
    }

    /// Sends the call in a task of its own.
    pub(super) fn start(self) -> JoinHandle<Answer> {
        tokio::spawn(self.send())
    }
}

pub(super) async fn send(address: SocketAddr, request: Request<TestBody>) -> hyper::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender or with the answer's body.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) async fn collect(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The process that answered.
    pub(super) fn pid(&self) -> i32 {
        self.header("x-pid").parse().unwrap()
    }

    pub(super) fn load(&self) -> LoadReport {
        self.header("runpool-load").parse().unwrap()
    }

    pub(super) fn refusal(&self) -> Option<RefusalReason> {
        Refusal::read(self.status, &self.headers).map(|refusal| refusal.reason)
    }

    /// Asserts that the agent made this answer itself, and returns the text.
    #[track_caller]
    pub(super) fn problem(&self, outcome: Outcome) -> String {
        assert_eq!(self.header("runpool-outcome"), outcome.as_str(), "{self:?}");
        assert_eq!(self.status, outcome.status());
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["message"], document["detail"]);
        document["message"].as_str().unwrap().to_owned()
    }
}

/// A place where functions come to (headers `x-meet` and the like).
pub(super) struct Meeting {
    listener: TcpListener,
    pub(super) port: u16,
}

/// A function that waits for a word.
pub(super) struct Guest {
    stream: BufReader<TcpStream>,
    pub(super) pid: i32,
}

impl Meeting {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// Waits for a function that tells its process id.
    pub(super) async fn guest(&self) -> Guest {
        let mut stream = BufReader::new(self.listener.accept().await.unwrap().0);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        Guest { stream, pid: line.trim().parse().unwrap() }
    }

    /// Waits for a function, unless `end` comes first: on a slow machine a time limit may be over before the function is here.
    pub(super) async fn guest_unless<T>(&self, end: &mut (impl Future<Output = T> + Unpin)) -> Result<Guest, T> {
        tokio::select! {
            guest = self.guest() => Ok(guest),
            ended = end => Err(ended),
        }
    }

    /// Waits for somebody who says nothing.
    pub(super) async fn silent_guest(&self) -> Guest {
        Guest { stream: BufReader::new(self.listener.accept().await.unwrap().0), pid: 0 }
    }
}

impl Guest {
    /// Lets the function go on.
    pub(super) async fn release(mut self) {
        self.stream.write_all(b".").await.unwrap();
    }

    /// Waits until the process is dead: its sockets are closed then.
    pub(super) async fn died(mut self) {
        let mut rest = Vec::new();
        // A killed process may leave a reset behind.
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}
