//! One HTTP/1.1 connection's bytes, for the task that serves it, and for the body of the request while that is read as it comes.
//!
//! Until there is such a body nobody else has them, and nothing has to be locked: a call that comes whole is read and answered without.
//!
//! No buffer is held while nothing was read: reading goes through memory of the thread, and what came is copied to memory of its own size. An idle connection so
//! costs its socket and its task.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::http1::{BodyDecoder, BodyLength, BodySyntaxError, Decoded, remove_forbidden_trailers};
use crate::telemetry::{current_worker, turn};
use crate::tls::{SCRATCH, Stream};

/// The connection's bytes, in the hands of its task.
#[derive(Debug)]
pub(super) struct Wire(Held);

#[derive(Debug)]
enum Held {
    Alone(Inside),
    WithBody(Shared),
    /// For no longer than it takes to be one of the others.
    Moving,
}

/// Protects what is inside; held for one step of reading or writing, never across an await.
type Shared = Arc<Mutex<Inside>>;

/// The one who may read and write now.
pub(super) enum Access<'a> {
    Alone(&'a mut Inside),
    Locked(MutexGuard<'a, Inside>),
}

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) stream: Stream,
    /// What was read and not taken yet.
    pub(super) read: BytesMut,
    reader: Reader,
    /// The body of the request in hand, if it did not come with its head. On the heap: an idle connection has none.
    body: Option<Box<Body>>,
    /// The client has sent all it will.
    pub(super) is_read_closed: bool,
    /// The runtime wakes the connection's own task when there is something to read.
    will_wake: bool,
}

/// A body that is read as it comes.
#[derive(Debug)]
struct Body {
    decoder: BodyDecoder,
    /// Woken when a reader gives the body up: the connection reads the rest for nothing.
    connection: Option<Waker>,
    /// Who waits for more of it, if somebody does.
    starved: Option<Waker>,
    /// Since when nothing has come that is waited for.
    starved_since: Option<Instant>,
}

/// Who reads the body of the request in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// There is none, or it was read.
    Nobody,
    /// A [`StreamedBody`].
    Body {
        /// The client waits for `100 Continue`, which is sent when the body is first asked for (RFC 9110 section 10.1.1).
        is_waited_for: bool,
    },
    /// Somebody did, and gave it up.
    Abandoned,
    /// Somebody gave it up before it was asked for: the client may send it, or not.
    NeverAsked,
    /// It broke.
    Broken,
    /// It stood still for longer than allowed.
    StoodStill,
}

/// How much of a body is read at once.
const BODY_READ: usize = 128 * 1024;
/// How much is read ahead of who takes it.
const READ_AHEAD: usize = 64 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Wire {
    pub(super) fn new(stream: Stream, read: BytesMut) -> Self {
        let inside = Inside { stream, read, reader: Reader::Nobody, body: None, is_read_closed: false, will_wake: false };
        Self(Held::Alone(inside))
    }

    /// The stream, and what was read of it and not taken; `None` if a body has them too.
    pub(super) fn into_parts(mut self) -> Option<(Stream, BytesMut)> {
        self.take_back();
        if let Held::Alone(inside) = self.0 { Some((inside.stream, inside.read)) } else { None }
    }

    pub(super) fn access(&mut self) -> Access<'_> {
        match &mut self.0 {
            Held::Alone(inside) => Access::Alone(inside),
            Held::WithBody(shared) => Access::Locked(lock(shared)),
            Held::Moving => unreachable!("nobody looks meanwhile"),
        }
    }

    /// A body of this length, which is read as it comes.
    pub(super) fn streamed_body(&mut self, length: BodyLength) -> StreamedBody {
        let shared = match std::mem::replace(&mut self.0, Held::Moving) {
            Held::Alone(inside) => Arc::new(Mutex::new(inside)),
            Held::WithBody(shared) => shared,
            Held::Moving => unreachable!("nobody looks meanwhile"),
        };
        self.0 = Held::WithBody(Arc::clone(&shared));
        StreamedBody { wire: shared, length, has_ended: false }
    }

    /// No longer shares with a body that has gone.
    pub(super) fn take_back(&mut self) {
        if let Held::WithBody(_) = &self.0
            && let Held::WithBody(shared) = std::mem::replace(&mut self.0, Held::Moving)
        {
            self.0 = match Arc::try_unwrap(shared) {
                Ok(inside) => Held::Alone(inside.into_inner().unwrap_or_else(PoisonError::into_inner)),
                Err(shared) => Held::WithBody(shared),
            };
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Inside> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deref for Access<'_> {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        match self {
            Self::Alone(inside) => inside,
            Self::Locked(inside) => inside,
        }
    }
}

impl DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Inside {
        match self {
            Self::Alone(inside) => inside,
            Self::Locked(inside) => inside,
        }
    }
}

impl Inside {
    /// Reads what there is, at least one byte; 0 at the end. For the task of the connection.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_read_closed {
            return Poll::Ready(Ok(0));
        }
        // The runtime wakes the connection's task already, and knows of nothing to read: to tell it so once more would take its lock. Only on a worker, whose runtime is
        // of one thread: with several, one may be about to take the waker for something that this task has read already.
        if self.will_wake && !self.stream.may_be_readable() {
            return Poll::Pending;
        }
        let read = self.stream.poll_read_onto(cx, &mut self.read);
        // A task that has used up its budget of the runtime, on the way in or by this, is woken without the socket having been asked.
        self.will_wake = read.is_pending() && current_worker() != 0 && has_budget_remaining();
        self.noted(read)
    }

    /// Gives up the memory of what was read, which the head or the body of a request may share, if nothing of it is left.
    pub(super) fn let_go_of_memory(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        if self.reader == Reader::Nobody {
            self.body = None;
        }
    }

    fn noted(&mut self, read: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_read_closed |= matches!(read, Poll::Ready(Ok(0)));
        read
    }

    /// Looks for the client's end while its call is in hand: ready when it has closed its side, or when as much came as may wait.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.read.len() < READ_AHEAD {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        // A client that sends so much more than it may is heard when its turn comes.
        Poll::Pending
    }

    /// Begins with the body of a request; what is there of it may be all: then it is returned.
    pub(super) fn begin_body(&mut self, length: BodyLength, is_waited_for: bool) -> Option<Bytes> {
        (self.reader, self.body) = (Reader::Nobody, None);
        if let BodyLength::Known(length) = length
            && let Ok(length) = usize::try_from(length)
            && length <= self.read.len()
        {
            return Some(self.read.split_to(length).freeze());
        }
        let decoder = BodyDecoder::new(length);
        if decoder.is_end() {
            return Some(Bytes::new());
        }
        self.reader = Reader::Body { is_waited_for };
        self.body = Some(Box::new(Body { decoder, connection: None, starved: None, starved_since: None }));
        None
    }

    /// Who reads the body now.
    pub(super) const fn reader(&self) -> Reader {
        self.reader
    }

    /// Have the connection woken when the body is given up.
    pub(super) fn wake_at_end_of_body(&mut self, cx: &Context<'_>) {
        if matches!(self.reader, Reader::Body { .. })
            && let Some(body) = &mut self.body
            && !body.connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            body.connection = Some(cx.waker().clone());
        }
    }

    /// The answer has begun: `100 Continue` would be no more than noise in it.
    pub(super) const fn answer_begins(&mut self) {
        if let Reader::Body { is_waited_for: true } = self.reader {
            self.reader = Reader::NeverAsked;
        }
    }

    /// The next frame of the body.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyReadError>>> {
        match self.reader {
            Reader::Body { is_waited_for } => {
                if is_waited_for {
                    // A few bytes on a connection that nothing waits on: if they do not go out whole, it is of no use.
                    if let Err(error) = self.send_continue(cx) {
                        return self.broken(BodyReadError::Connection(error));
                    }
                    self.reader = Reader::Body { is_waited_for: false };
                }
            }
            Reader::NeverAsked => return self.broken(BodyReadError::NotAskedFor),
            Reader::Broken => return Poll::Ready(Some(Err(BodyReadError::Broken(BodySyntaxError::CutShort)))),
            Reader::StoodStill => return Poll::Ready(Some(Err(BodyReadError::StoodStill))),
            Reader::Nobody | Reader::Abandoned => return Poll::Ready(None),
        }
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            body.starved = None;
            match body.decoder.decode(&mut self.read) {
                Ok(Decoded::Data(data)) => {
                    if body.decoder.is_end() {
                        self.reader = Reader::Nobody;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(mut trailers)) => {
                    self.reader = Reader::Nobody;
                    remove_forbidden_trailers(&mut trailers);
                    return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    self.reader = Reader::Nobody;
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => match self.poll_fill_body(cx) {
                    Poll::Ready(Ok(0)) => return self.broken(BodyReadError::Broken(BodySyntaxError::CutShort)),
                    Poll::Ready(Ok(_)) => {
                        if let Some(body) = &mut self.body {
                            body.starved_since = None;
                        }
                    }
                    Poll::Ready(Err(error)) => return self.broken(BodyReadError::Connection(error)),
                    Poll::Pending => {
                        if let Some(body) = &mut self.body {
                            body.starved = Some(cx.waker().clone());
                            body.starved_since.get_or_insert_with(turn::now);
                        }
                        return Poll::Pending;
                    }
                },
                Err(error) => return self.broken(BodyReadError::Broken(error)),
            }
        }
    }

    /// Reads more of a body: straight into memory of its own if much of it is to come.
    fn poll_fill_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // It may be for another task than the connection's own.
        self.will_wake = false;
        let left = self.body_left();
        if left <= SCRATCH as u64 || self.is_read_closed {
            let read = self.poll_fill(cx);
            self.will_wake = false;
            return read;
        }
        self.read.reserve(usize::try_from(left).unwrap_or(BODY_READ).min(BODY_READ));
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read);
        self.noted(read)
    }

    /// Bytes of the body that are still to come, at least.
    pub(super) fn body_left(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.decoder.left().0)
    }

    /// Since when nothing has come of the body, if somebody waits for it.
    pub(super) fn starved_since(&self) -> Option<Instant> {
        let body = self.body.as_ref().filter(|_| matches!(self.reader, Reader::Body { .. }))?;
        body.starved_since
    }

    /// No more of the body is read.
    pub(super) const fn give_up_body(&mut self) {
        self.reader = Reader::Broken;
    }

    /// No more of the body is read, since nothing of it comes: who waits for it gets an error that says so.
    pub(super) fn body_stands_still(&mut self) {
        self.reader = Reader::StoodStill;
        if let Some(starved) = self.body.as_mut().and_then(|body| body.starved.take()) {
            starved.wake();
        }
    }

    fn broken(&mut self, error: BodyReadError) -> Poll<Option<Result<Frame<Bytes>, BodyReadError>>> {
        self.reader = Reader::Broken;
        Poll::Ready(Some(Err(error)))
    }

    /// Sends `100 Continue`.
    pub(super) fn send_continue(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.stream).poll_write(cx, CONTINUE) {
            Poll::Ready(Ok(length)) if length == CONTINUE.len() => Ok(()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Reads the rest of a body that was given up, and forgets it. Ready when it is over; an error if it breaks, or is longer than `left`.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>, left: &mut u64) -> Poll<io::Result<()>> {
        let too_much = || Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        if self.body_left() > *left {
            return too_much();
        }
        loop {
            let Some(body) = &mut self.body else {
                self.reader = Reader::Nobody;
                return Poll::Ready(Ok(()));
            };
            match body.decoder.decode(&mut self.read) {
                Ok(Decoded::Data(data)) => match left.checked_sub(data.len() as u64) {
                    Some(still) => *left = still,
                    None => return too_much(),
                },
                Ok(Decoded::Trailers(_) | Decoded::End) => {
                    self.reader = Reader::Nobody;
                    return Poll::Ready(Ok(()));
                }
                Ok(Decoded::NeedMore) => {
                    if ready!(self.poll_fill(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Err(error) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
            }
            if self.body.as_ref().is_none_or(|body| body.decoder.is_end()) {
                self.reader = Reader::Nobody;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends what was written and is held: TLS may hold what the socket did not take.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Writes of `head`, then of `data`, and takes away what was written.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, head: &mut BytesMut, data: &mut Bytes) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = match (head.is_empty(), data.is_empty()) {
            (false, true) => ready!(stream.poll_write(cx, head))?,
            (true, _) => ready!(stream.poll_write(cx, data))?,
            (false, false) => ready!(stream.poll_write_vectored(cx, &[io::IoSlice::new(head), io::IoSlice::new(data)]))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = written.min(head.len());
        head.advance(of_head);
        data.advance(written - of_head);
        Poll::Ready(Ok(written))
    }
}

/// Why the body of a request could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyReadError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(#[source] io::Error),
    /// It is not framed as announced, or broke off.
    #[error("{0}")]
    Broken(BodySyntaxError),
    /// Nothing of it came for longer than allowed.
    #[error("nothing of the body came for longer than allowed")]
    StoodStill,
    /// It was asked for after the answer had begun, and the client had waited to be asked.
    #[error("the client was never asked to send it")]
    NotAskedFor,
}

/// A body that is read as it comes. Dropped before its end, it leaves the rest to its connection.
#[derive(Debug)]
pub(super) struct StreamedBody {
    wire: Shared,
    length: BodyLength,
    has_ended: bool,
}

impl StreamedBody {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyReadError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let mut inside = lock(&self.wire);
        let frame = ready!(inside.poll_frame(cx));
        self.has_ended = inside.reader == Reader::Nobody || !matches!(frame, Some(Ok(_)));
        if self.has_ended
            && let Some(connection) = inside.body.as_mut().and_then(|body| body.connection.take())
        {
            connection.wake();
        }
        Poll::Ready(frame)
    }

    pub(super) const fn is_end(&self) -> bool {
        self.has_ended
    }

    /// The length that was announced, less what was read; a known length counts down.
    pub(super) fn left(&self) -> Option<u64> {
        if self.has_ended {
            return Some(0);
        }
        matches!(self.length, BodyLength::Known(_)).then(|| lock(&self.wire).body_left())
    }
}

impl Drop for StreamedBody {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut inside = lock(&self.wire);
        if let Reader::Body { is_waited_for } = inside.reader {
            inside.reader = if is_waited_for { Reader::NeverAsked } else { Reader::Abandoned };
            if let Some(connection) = inside.body.as_mut().and_then(|body| body.connection.take()) {
                connection.wake();
            }
        }
    }
}

/// The connection as bytes, when HTTP is over.
pub(super) struct WireIo<'a>(pub(super) &'a mut Wire);

impl AsyncRead for WireIo<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.0.access();
        if inside.read.is_empty() {
            return Pin::new(&mut inside.stream).poll_read(cx, buffer);
        }
        let length = inside.read.len().min(buffer.remaining());
        buffer.put_slice(&inside.read.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WireIo<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.access().stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.access().stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.access().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{become_worker, next_worker};
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::coop::consume_budget;

    /// A connection of which exactly as much was read as fits in at once: the runtime believes that there is more.
    async fn drained() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, server) = (client.unwrap(), accepted.unwrap().0);
        client.write_all(&[b'x'; SCRATCH]).await.unwrap();
        while server.peek(&mut [0; SCRATCH]).await.unwrap() < SCRATCH {}
        let mut wire = Wire::new(Stream::Tcp(server), BytesMut::new());
        assert_eq!(poll_fn(|cx| wire.access().poll_fill(cx)).await.unwrap(), SCRATCH);
        (client, wire)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_stands_still_from_the_time_on_that_it_is_waited_for() {
        let (mut client, mut wire) = drained().await;
        wire.access().read.clear();
        assert!(wire.access().begin_body(BodyLength::Chunked, false).is_none());
        let mut body = wire.streamed_body(BodyLength::Chunked);
        let step = Duration::from_secs(1);
        assert_eq!(wire.access().starved_since(), None, "nobody has asked");
        let began = Instant::now();
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(body.poll_frame(cx).is_pending())).await);
            assert_eq!(wire.access().starved_since(), Some(began), "to be asked again changes nothing");
            tokio::time::advance(step).await;
        }
        client.write_all(b"3\r\nabc\r\n").await.unwrap();
        let frame = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "abc");
        assert_eq!(wire.access().starved_since(), None, "it has come");
        assert!(poll_fn(|cx| Poll::Ready(body.poll_frame(cx).is_pending())).await);
        assert_eq!(wire.access().starved_since(), Some(began + 3 * step));
    }

    /// The runtime lets a task do so much at a time: at whichever step that is used up, the next byte wakes the task.
    #[test]
    fn a_task_that_has_used_up_its_budget_still_hears_of_the_next_byte() {
        std::thread::spawn(|| {
            become_worker(next_worker());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for used in 0..=130 {
                    let (mut client, mut wire) = drained().await;
                    let (told, asked_twice) = tokio::sync::oneshot::channel();
                    let (mut told, mut is_first) = (Some(told), true);
                    let reading = tokio::spawn(poll_fn(move |cx| {
                        if std::mem::take(&mut is_first) {
                            for _ in 0..used {
                                let _ = pin!(consume_budget()).poll(cx);
                            }
                            cx.waker().wake_by_ref();
                            return wire.access().poll_fill(cx);
                        }
                        let read = wire.access().poll_fill(cx);
                        if let Some(told) = told.take() {
                            told.send(()).unwrap();
                        }
                        read
                    }));
                    asked_twice.await.unwrap();
                    client.write_all(b"y").await.unwrap();
                    let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
                    let read = read.unwrap_or_else(|_| panic!("with {used} used, nobody was woken"));
                    assert_eq!(read.unwrap().unwrap(), 1, "{used}");
                }
            });
        })
        .join()
        .unwrap();
    }
}
