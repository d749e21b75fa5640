//! HTTP/2, which is hyper's: limits, idle time, the end.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::connection::Surroundings;
use super::http2_answer::Answers;
use super::http2_stream::{CuttableStreams, OneStream, Streams};
use super::http2_trailers::TrailersWatch;
use super::request_body::RequestBody;
use crate::http1::translate_http2_head;
use crate::tls::Stream;

/// A stream of which the beginning was read already.
struct Begun {
    read: Bytes,
    stream: Stream,
    trailers: TrailersWatch,
}

/// The window of one stream, and of a connection (Envoy's guide for edge proxies has the same).
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait to be sent on one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves an HTTP/2 connection that began with `read`.
pub(super) async fn serve<S, B>(stream: Stream, read: Bytes, around: Surroundings, service: S)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = &around.rules().limits;
    let mut builder = hyper::server::conn::http2::Builder::new(CuttableStreams);
    builder
        .timer(TokioTimer::new())
        // A connection may be idle, and its peer must be there.
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_header_size.bytes()).unwrap_or(u32::MAX));
    let streams = Arc::new(Streams::default());
    let (service, counted) = (Arc::new(service), Arc::clone(&streams));
    let (rules, peer, answers) = (Arc::clone(around.rules()), around.peer(), Arc::new(Answers::default()));
    let looked_after = Arc::clone(&answers);
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, rules, one) = (Arc::clone(&service), Arc::clone(&rules), OneStream::begin(&counted));
        let (answers, peer, began) = (Arc::clone(&looked_after), peer.clone(), Instant::now());
        async move {
            let (mut head, body) = request.into_parts();
            let ours = |answer: Response<Bytes>| answer.map(|body| Either::Right(Full::new(body)));
            let answer = match translate_http2_head(&mut head, &rules.head) {
                Ok(()) => {
                    let request = Request::from_parts(head, RequestBody::http2(body, rules.limits.body_timeout));
                    match timeout_at(began + rules.limits.total_timeout, service.call(request)).await {
                        Ok(answer) => {
                            let mut answer = answer?.map(|body| Either::Left(answers.look_after(body, began, one)));
                            if answer.status() == StatusCode::NO_CONTENT {
                                // It must have none (RFC 9110 section 8.6); clients take the stream for broken, and some the connection.
                                answer.headers_mut().remove(CONTENT_LENGTH);
                            }
                            answer
                        }
                        Err(_) => ours(too_late()),
                    }
                }
                Err(malformed) => ours((rules.refuse)(peer, &malformed)),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(Begun { read, stream, trailers: TrailersWatch::new() }), service));
    let leaves = async {
        tokio::select! {
            () = around.crowd.closing().told() => {}
            () = around.rules().draining.told() => {}
            () = streams.idle_for(limits.idle_timeout) => {}
        }
    };
    let served = async {
        tokio::select! {
            result = connection.as_mut() => result,
            () = leaves => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let result = tokio::select! {
        result = served => result,
        never = answers.watch(limits) => match never {},
    };
    if let Err(error) = result {
        // Clients break connections off all the time; what it meant for a call is told where the call is known.
        tracing::trace!(%error, "an HTTP/2 connection ended with an error");
    }
}

/// What a client gets whose call was not answered in all the time that it may take.
fn too_late() -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    answer
}

impl AsyncRead for Begun {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.read.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        } else {
            let length = this.read.len().min(buffer.remaining());
            buffer.put_slice(&this.read[..length]);
            this.read.advance(length);
        }
        this.trailers.see(&buffer.filled()[before..]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
