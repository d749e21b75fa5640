//! Plain servers that speak HTTP/2, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{HeaderMap, Request, Response, Version};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::scripted::{Server, answered, attempt, call, failed, held, piped, refused, runner_with, settings, text};
use crate::model::Outcome;
use crate::runner::http::{HttpRunner, HttpRunnerSettings, HttpVersion, Protocol};
use crate::runner::{AnswerBody, Attempt, CallBody, HealthAnswer, HealthQuestion, RefusedWhy, Runner as _};

fn settings_of_http2() -> HttpRunnerSettings {
    HttpRunnerSettings { http: HttpVersion::Http2, ..settings(Protocol::Plain) }
}

/// Answers as a gRPC server does: every message at once, and a status behind them.
async fn echo(request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["te"], "trailers");
    assert!(!request.headers().contains_key("connection") && !request.headers().contains_key("host"));
    let seen = request.uri().to_string();
    let frames = futures_util::stream::unfold((request.into_body(), false), |(mut body, is_over)| async move {
        if is_over {
            return None;
        }
        match body.frame().await {
            Some(Ok(frame)) if frame.is_data() => Some((Ok(frame), (body, false))),
            Some(Ok(frame)) => {
                let mut trailers = frame.into_trailers().unwrap();
                trailers.insert("grpc-status", "0".parse().unwrap());
                trailers.insert("runpool-load", "x".parse().unwrap());
                Some((Ok(Frame::trailers(trailers)), (body, true)))
            }
            _ => None,
        }
    });
    let mut response = Response::new(AnswerBody::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert("x-seen", seen.parse().unwrap());
    Ok(response)
}

/// A server of HTTP/2 alone, and how many connections it has had.
async fn server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(echo)));
        }
    });
    (address, accepted)
}

fn grpc() -> crate::model::Call {
    let mut call = call();
    call.head.rest = "/greet.Greeter/Hello".to_owned();
    call.head.authority = Some("shop.example".to_owned());
    call.head.headers.insert("te", "trailers".parse().unwrap());
    call.head.headers.insert("content-type", "application/grpc".parse().unwrap());
    call
}

#[tokio::test]
async fn messages_stream_both_ways_at_once_and_trailers_come_behind_them() {
    let (address, accepted) = server().await;
    let runner = runner_with(&address, settings_of_http2());
    let call = grpc();
    for _ in 0..2 {
        let (pipe, stream) = piped();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let stream = stream.with_trailers(std::future::ready(Some(Ok(trailers))));
        let body = CallBody::streaming(stream.boxed_unsync());
        let response = answered(attempt(&runner, &call, &body).await);
        assert_eq!(response.headers()["x-seen"], "http://shop.example/greet.Greeter/Hello");
        let mut answer = response.into_body();
        for word in ["one", "two"] {
            pipe.send(Bytes::from(word)).await.unwrap();
            let frame = answer.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), word);
        }
        assert_eq!(runner.view().in_flight, 1);
        drop(pipe);
        let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (trailers.len(), &trailers["grpc-status"], &trailers["x-sum"]),
            (2, &"0".parse().unwrap(), &"1".parse().unwrap())
        );
        assert!(answer.frame().await.is_none());
        assert_eq!(runner.view().in_flight, 0);
    }
    assert_eq!((accepted.load(Ordering::Relaxed), runner.view().connections), (1, 1));
    runner.close().await;
    assert_eq!(runner.view().connections, 0);
}

#[tokio::test]
async fn calls_at_once_share_one_connection() {
    let (address, accepted) = server().await;
    let runner = runner_with(&address, settings_of_http2());
    let (call, body) = (grpc(), held("hi"));
    let attempts = (0..20).map(|_| async { text(answered(attempt(&runner, &call, &body).await)).await });
    assert!(futures_util::future::join_all(attempts).await.iter().all(|answer| answer == "hi"));
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nobody_there_is_a_refusal_and_what_is_not_http2_a_bad_answer() {
    let nobody = Server::start().await.address();
    let runner = runner_with(&nobody, settings_of_http2());
    let (call, body) = (grpc(), held("x"));
    assert!(matches!(refused(attempt(&runner, &call, &body).await).why, RefusedWhy::Unreachable(_)));

    let server = Server::start().await;
    let runner = runner_with(&server.address(), settings_of_http2());
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        peer.until_closed().await;
    });
    assert_eq!(failed(ended).outcome, Outcome::BadAnswer);
}

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// RST_STREAM of stream 1 with REFUSED_STREAM (RFC 9113 section 6.4).
const REFUSED_1: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// RST_STREAM of stream 1 with INTERNAL_ERROR.
const FAILED_1: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
/// GOAWAY with 0 as the last stream, and NO_ERROR (RFC 9113 section 6.8).
const GONE_AT_0: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What comes of a second connection.
#[derive(PartialEq, Eq)]
enum Next {
    /// None is made.
    None,
    /// Its stream fails.
    Fails,
}

/// A server that answers the head of a call with these frames.
async fn after_head(frames: &[u8], runner: &HttpRunner, server: &Server, next: Next) -> Attempt {
    let (call, body) = (grpc(), held("x"));
    let (ended, _peer) = tokio::join!(attempt(runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.write_bytes(SETTINGS).await;
        peer.until_http2_head().await;
        peer.write_bytes(frames).await;
        let mut other = None;
        if next == Next::Fails {
            let mut second = server.accept().await;
            second.write_bytes(SETTINGS).await;
            second.until_http2_head().await;
            second.write_bytes(FAILED_1).await;
            other = Some(second);
        }
        (peer, other)
    });
    ended
}

#[tokio::test]
async fn a_stream_that_was_refused_did_not_run_and_one_that_failed_may_have() {
    for (frames, is_refused) in [(REFUSED_1, true), (FAILED_1, false)] {
        let server = Server::start().await;
        let runner = runner_with(&server.address(), settings_of_http2());
        let ended = after_head(frames, &runner, &server, Next::None).await;
        if is_refused {
            let why = refused(ended).why;
            assert!(matches!(&why, RefusedWhy::Unreachable(reason) if reason.contains("refused the stream")), "{why}");
        } else {
            assert_eq!(failed(ended).outcome, Outcome::RunnerReset);
        }
    }
}

/// The second connection is the proof: there the stream fails, which ends the call.
#[tokio::test]
async fn a_call_above_the_last_stream_of_goaway_goes_over_a_new_connection() {
    let server = Server::start().await;
    let runner = runner_with(&server.address(), settings_of_http2());
    let ended = after_head(GONE_AT_0, &runner, &server, Next::Fails).await;
    assert_eq!(failed(ended).outcome, Outcome::RunnerReset);
    assert_eq!(runner.view().attempts, 1);
}

#[tokio::test]
async fn its_health_is_asked_for_in_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let well = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(AnswerBody::empty())) });
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), well).await;
    });
    let runner = runner_with(&address, settings_of_http2());
    let question = HealthQuestion::Get("/healthz".parse().unwrap());
    assert_eq!(runner.ask_health(&question, std::time::Duration::from_secs(60)).await, HealthAnswer::Well(None));
}
