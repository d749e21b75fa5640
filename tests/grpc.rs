//! gRPC through a plain route: trailers, and both sides talking at once.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::http::{Body, channel, full, within};
use support::roles::lb_with;
use support::{Running, eventually};
use tokio::net::{TcpListener, TcpStream};

/// A server of HTTP/2 that answers every request so.
async fn server<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn balancer(directory: &tempfile::TempDir, runner: SocketAddr) -> Running {
    let text = format!(
        "[placement]\nplacer = \"naive\"\n[pool]\nprotocol = \"plain\"\nhttp = \"2\"\nrunners = [\"{runner}\"]\n[[function]]\nname = \"web\"\n\
         [[route]]\npath = \"/\"\nfunction = \"web\"\nforward = \"as-is\"\n"
    );
    lb_with(directory.path(), &text, &["--workers", "1"])
}

async fn client(lb: &Running) -> SendRequest<Body> {
    let stream = TcpStream::connect(lb.front()).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(lb: &Running, body: Body) -> Request<Body> {
    Request::post(format!("http://{}/pkg.Service/Method", lb.front()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "30S")
        .body(body)
        .unwrap()
}

fn trailers(status: &'static str) -> HeaderMap {
    [("grpc-status", status), ("grpc-message", "done")]
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .collect()
}

/// The bytes and then these trailers.
fn with_trailers(frames: Vec<Bytes>, status: &'static str) -> Body {
    let frames = frames.into_iter().map(Frame::data).chain([Frame::trailers(trailers(status))]).map(Ok);
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_and_its_answer_pass_with_the_trailers() {
    let directory = tempfile::tempdir().unwrap();
    let runner = server(async |request: Request<Incoming>| {
        assert_eq!((request.uri().path(), &request.headers()["te"]), ("/pkg.Service/Method", &"trailers".parse().unwrap()));
        assert_eq!(request.headers()["grpc-timeout"], "30S");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut answer = Response::new(with_trailers(vec![body], "0"));
        answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        answer
    })
    .await;
    let lb = balancer(&directory, runner);
    let mut sender = client(&lb).await;
    for length in [0, 5, 100_000] {
        let message = vec![b'm'; length];
        let answer = within("an answer", sender.send_request(request(&lb, full(message.clone())))).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"application/grpc".parse().unwrap()));
        let collected = within("its body", answer.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().map(|trailers| trailers["grpc-status"].clone()), Some("0".parse().unwrap()), "{length}");
        assert_eq!(collected.to_bytes(), message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_head_alone_passes_with_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let runner = server(async |_: Request<Incoming>| {
        let mut answer = Response::new(full(""));
        *answer.headers_mut() = trailers("12");
        answer
    })
    .await;
    let lb = balancer(&directory, runner);
    let answer = within("an answer", client(&lb).await.send_request(request(&lb, full("x")))).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"12".parse().unwrap()));
    assert!(within("its end", answer.into_body().collect()).await.unwrap().to_bytes().is_empty());
}

/// Answers at once, and each message with itself while more may come.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let frames = futures_util::stream::unfold(Some(request.into_body()), |body| async move {
        let mut body = body?;
        match body.frame().await {
            Some(Ok(frame)) => Some((Ok(frame), Some(body))),
            Some(Err(error)) => Some((Err(std::io::Error::other(error)), None)),
            None => Some((Ok(Frame::trailers(trailers("0"))), None)),
        }
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_talk_before_either_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let lb = balancer(&directory, server(echo).await);
    let mut sender = client(&lb).await;
    let (messages, body) = channel();
    // Nothing was sent yet: the answer's head comes all the same.
    let answer = within("the head of an answer before the first message", sender.send_request(request(&lb, body))).await.unwrap();
    let mut answer = answer.into_body();
    for number in 0..100 {
        let message = Bytes::from(format!("message {number}"));
        messages.send(message.clone()).await.unwrap();
        let came = within("the answer to a message", answer.frame()).await.unwrap().unwrap();
        assert_eq!(came.into_data().unwrap(), message);
    }
    drop(messages);
    let last = within("the end", answer.frame()).await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_taken_back_ends_at_the_runner() {
    let directory = tempfile::tempdir().unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let runner = server(move |request: Request<Incoming>| {
        let ended = Arc::clone(&counted);
        async move {
            let mut body = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(_)) = body.frame().await {}
                ended.fetch_add(1, Ordering::Relaxed);
            });
            let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
            Response::new(never.boxed_unsync())
        }
    })
    .await;
    let lb = balancer(&directory, runner);
    let (messages, body) = channel();
    let answer = within("an answer", client(&lb).await.send_request(request(&lb, body))).await.unwrap();
    messages.send(Bytes::from_static(b"x")).await.unwrap();
    drop((answer, messages));
    eventually("the end of the call at the runner", || {
        let is_over = ended.load(Ordering::Relaxed) == 1;
        async move { is_over.then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_does_not_pass_for_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let runner = server(async |_: Request<Incoming>| {
        let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(std::io::Error::other("broken"))];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    })
    .await;
    let lb = balancer(&directory, runner);
    let answer = within("an answer", client(&lb).await.send_request(request(&lb, full("x")))).await;
    // It may be known to be broken before its head goes out.
    match answer {
        Ok(answer) if answer.status().is_success() => {
            assert!(within("its end", answer.into_body().collect()).await.is_err(), "half an answer passed for a whole one");
        }
        Ok(answer) => assert_eq!(answer.status().as_u16(), 502),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
}
