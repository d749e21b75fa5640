//! Answers that begin before the request has ended, and what of the request goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;

use super::scripted::{agent, answered, attempt, call, held, piped, plain, text};
use crate::runner::{BodyError, CallBody};

#[tokio::test]
async fn request_and_answer_stream_at_the_same_time_and_their_connection_is_used_again() {
    let (server, runner) = plain().await;
    let call = call();
    let (pipe, stream) = piped();
    let body = CallBody::streaming(stream);
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        peer
    });
    let mut answer = answered(ended).into_body();
    for word in ["one", "two"] {
        let (frame, ()) = tokio::join!(answer.frame(), async {
            pipe.send(Bytes::from(word)).await.unwrap();
            assert_eq!(peer.bytes(8).await, format!("3\r\n{word}\r\n").as_bytes());
            peer.write(&format!("3\r\n{word}\r\n")).await;
        });
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(pipe);
    let (rest, ()) = tokio::join!(answer.collect_bytes(), async {
        assert_eq!(peer.bytes(5).await, b"0\r\n\r\n");
        peer.write("0\r\n\r\n").await;
    });
    assert!(rest.unwrap().is_empty());
    let body = held("x");
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        peer.head().await;
        peer.answer("200 OK", "", "again").await;
    });
    assert_eq!(text(answered(ended)).await, "again");
}

/// The client's own `100 Continue` goes out when its body is asked for, and never after its answer has begun.
#[tokio::test]
async fn a_body_is_asked_for_before_an_answer_is_told_that_came_with_the_word_to_go_on() {
    let (server, runner) = agent().await;
    let call = call();
    let is_asked_for = Arc::new(AtomicBool::new(false));
    let stream = futures_util::stream::once({
        let is_asked_for = Arc::clone(&is_asked_for);
        async move {
            is_asked_for.store(true, Ordering::Relaxed);
            Ok(Frame::data(Bytes::from_static(b"body")))
        }
    });
    let body = CallBody::streaming(http_body_util::StreamBody::new(stream).boxed_unsync());
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        peer
    });
    let answer = answered(ended).into_body();
    assert!(is_asked_for.load(Ordering::Relaxed));
    let (whole, ()) = tokio::join!(answer.collect_bytes(), async {
        assert_eq!(peer.bytes(14).await, b"4\r\nbody\r\n0\r\n\r\n");
        peer.write("6\r\nanswer\r\n0\r\n\r\n").await;
    });
    assert_eq!(whole.unwrap(), "answer");
}

#[tokio::test]
async fn a_plain_server_that_has_answered_gets_no_more_of_the_request() {
    let (server, runner) = plain().await;
    let call = call();
    let (pipe, stream) = piped();
    let body = CallBody::streaming(stream);
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("413 Too Large", "", "no").await;
        peer
    });
    let response = answered(ended);
    assert_eq!((response.status().as_u16(), text(response).await.as_str()), (413, "no"));
    assert!(peer.until_closed().await.is_empty());
    assert!(pipe.is_closed());
    assert_eq!(runner.view().connections, 0);
}

/// A server that closes its reading side answers first; what it answered counts, not that it took no more.
#[tokio::test]
async fn an_answer_counts_although_the_runner_has_stopped_reading() {
    let (server, runner) = plain().await;
    let call = call();
    let body = CallBody::Held(Bytes::from(vec![b'x'; 32 * 1024 * 1024]));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.answer("413 Too Large", "connection: close\r\n", "no").await;
        peer.until_closed().await;
    });
    assert_eq!(answered(ended).status(), 413);
}

#[tokio::test]
async fn a_client_that_breaks_off_during_an_answer_breaks_the_answer_off() {
    let (server, runner) = plain().await;
    let call = call();
    let broken = futures_util::stream::iter([Err(BodyError::TooLarge { limit: 4 })]);
    let (pipe, first) = piped();
    let stream = http_body_util::StreamBody::new(futures_util::StreamExt::chain(first.into_data_stream(), broken).boxed_frames());
    let body = CallBody::streaming(stream.boxed_unsync());
    let (ended, peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        peer
    });
    drop(pipe);
    let error = answered(ended).into_body().collect_bytes().await.unwrap_err();
    assert!(matches!(error, BodyError::TooLarge { limit: 4 }), "{error}");
    assert!(!peer.until_closed().await.ends_with(b"0\r\n\r\n"));
}

/// Frames of data out of data.
trait Frames {
    fn boxed_frames(self) -> futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, BodyError>>;
}

impl<S: futures_util::Stream<Item = Result<Bytes, BodyError>> + Send + 'static> Frames for S {
    fn boxed_frames(self) -> futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, BodyError>> {
        Box::pin(futures_util::StreamExt::map(self, |data| data.map(Frame::data)))
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_without_what_must_not_be_in_them() {
    let (server, runner) = plain().await;
    let call = call();
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-sum", "1"), ("host", "other"), ("runpool-refused", "busy")] {
        trailers.insert(name, value.parse().unwrap());
    }
    let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(trailers))];
    let body = CallBody::streaming(http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        assert_eq!(peer.bytes(23).await, b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
        peer.write(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
             grpc-status: 0\r\ncontent-length: 5\r\nrunpool-load: inflight=1, slots=1, warm=0\r\n\r\n",
        )
        .await;
        peer
    });
    let collected = answered(ended).into_body().collect().await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!((trailers.len(), &trailers["grpc-status"]), (1, &"0".parse().unwrap()));
    assert_eq!(collected.to_bytes(), "hi");
    let body = held("x");
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        peer.head().await;
        peer.answer("200 OK", "", "again").await;
    });
    assert_eq!(text(answered(ended)).await, "again");
}

/// The rest of an answer is not read ahead of who reads it.
#[tokio::test]
async fn a_reader_that_waits_stops_the_runner() {
    let (server, runner) = agent().await;
    let (call, body) = (call(), held("x"));
    let (ended, mut peer) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n").await;
        peer
    });
    let answer = answered(ended);
    let whole = "x".repeat(104_857_600);
    tokio::select! {
        biased;
        () = peer.write(&whole) => panic!("100 MiB were taken that nobody has read"),
        () = async { for _ in 0..2_000 { tokio::task::yield_now().await } } => {}
    }
    drop(answer);
}
