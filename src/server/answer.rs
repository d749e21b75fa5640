//! Sending an answer on an HTTP/1.1 connection.
//!
//! The head and what there is of the body go out in one write. No more of the body is asked for than the client has taken.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode, Version, response};
use http_body::Body;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::time::{Instant, timeout};

use super::connection::Surroundings;
use super::exchange::{Asked, LONGEST_REST};
use super::server::HalfClose;
use super::together::Together;
use super::watch::Watch;
use super::wire::{Reader, Wire, WireIo};
use crate::http1::{
    BodyLength, Persistence, ResponseHead, Tunnel, TunnelEnd, encode_chunk, encode_last_chunk, encode_response,
    remove_forbidden_trailers,
};
use crate::telemetry::turn;

/// How far an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it.
    Whole(Persistence),
    /// Not all of it: the connection must end at once, so that its client sees that.
    Cut,
}

/// Data up to this length is copied behind what is written before it.
const COPIED: usize = 8 * 1024;
/// As much is collected before it is written.
const COLLECTED: usize = 16 * 1024;
/// How long the rest of a request may take that nobody wants.
const REST_LIMIT: Duration = Duration::from_secs(5);
/// How long the time of day is shown without being read again: it is shown in whole seconds.
const DATE_READ: Duration = Duration::from_millis(10);
/// How long a client may take to see that the connection ends.
const LINGER: Duration = Duration::from_secs(1);

/// Sends the answer, and reads what is left of the request. The head is written here and not in the future, which so is smaller by it.
pub(super) fn send<'a, B>(
    wire: &'a mut Wire,
    around: &'a Surroundings,
    answer: Response<B>,
    asked: Asked,
    watch: &'a mut Watch,
) -> impl Future<Output = Sent> + use<'a, B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut head, body) = answer.into_parts();
    let tunnel = head.extensions.remove::<Tunnel>();
    let length = length_of(&head, &body, &asked);
    let persistence = {
        let mut inside = wire.access();
        inside.answer_begins();
        // Nobody waits for the rest of a request that was too slow (RFC 9110 section 15.5.9).
        let is_too_slow = head.status == StatusCode::REQUEST_TIMEOUT && inside.reader() != Reader::Nobody;
        // Nor is more read for nothing than that.
        let is_too_long = inside.reader() == Reader::Abandoned && inside.body_left() > LONGEST_REST;
        let goes_on = asked.persistence == Persistence::KeepAlive
            && length != BodyLength::UntilClose
            && !is_too_slow
            && !is_too_long
            && !around.is_leaving()
            // What such a client has sent before it closed its side is answered.
            && (!inside.is_read_closed || !inside.read.is_empty())
            && !matches!(inside.reader(), Reader::NeverAsked | Reader::Broken | Reader::StoodStill);
        if goes_on || tunnel.is_some() { Persistence::KeepAlive } else { Persistence::Close }
    };
    if matches!(head.status, StatusCode::NO_CONTENT) || head.status.is_informational() {
        head.headers.remove(CONTENT_LENGTH);
    }
    let mut out = BytesMut::with_capacity(512);
    with_date(|date| {
        let head =
            ResponseHead { version: asked.version, status: head.status, headers: &head.headers, length, persistence, date };
        encode_response(&mut out, &head);
    });
    // An answer may stream for long, and needs no head for that.
    drop(head);
    let mut sending = Sending {
        out,
        data: Bytes::new(),
        length,
        left: length.exact(),
        owes_line: false,
        has_ended: false,
        is_cut: false,
        keeps_body: tunnel.is_some(),
        stands_since: None,
        together: Together::default(),
    };
    let mut patience = Patience::new(around, asked.until, watch);
    async move {
        let mut body = pin!(Some(body));
        let sent = poll_fn(|cx| match sending.poll(wire, body.as_mut(), cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => patience.poll_lost(&sending, wire, cx).map(|()| Err(())),
        })
        .await;
        if sent.is_err() {
            if length == BodyLength::UntilClose {
                // The end of the connection would pass for the end of the body.
                wire.access().stream.reset_at_end();
            }
            return Sent::Cut;
        }
        if let Some(end) = tunnel.and_then(|tunnel| tunnel.take()) {
            // What was held for the body lives as long as the tunnel. On the heap, as it is rare and large.
            Box::pin(join(wire, end)).await;
            return Sent::Cut;
        }
        if persistence == Persistence::Close {
            return Sent::Whole(Persistence::Close);
        }
        if wire.access().reader() == Reader::Nobody {
            return Sent::Whole(Persistence::KeepAlive);
        }
        // On the heap, as it is rare and large.
        match Box::pin(finish_request(wire)).await {
            Ok(()) => Sent::Whole(Persistence::KeepAlive),
            Err(()) => Sent::Whole(Persistence::Close),
        }
    }
}

/// How the body is framed (RFC 9112 section 6.3).
fn length_of<B: Body>(head: &response::Parts, body: &B, asked: &Asked) -> BodyLength {
    let is_bodiless = asked.is_head
        || head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_bodiless {
        return BodyLength::None;
    }
    let told = || head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match body.size_hint().exact().or_else(told) {
        Some(length) => BodyLength::Known(length),
        None if asked.version < Version::HTTP_11 => BodyLength::UntilClose,
        None => BodyLength::Chunked,
    }
}

/// An answer on its way.
struct Sending {
    /// What is written next.
    out: BytesMut,
    /// What is written after that.
    data: Bytes,
    length: BodyLength,
    /// Bytes of the body that are still to come, if it is known.
    left: Option<u64>,
    /// The data in hand is a chunk, which ends with CRLF.
    owes_line: bool,
    /// No more is asked of the body.
    has_ended: bool,
    /// The body is no whole one: the connection ends when what came of it was written.
    is_cut: bool,
    /// The body stays when it has ended: a tunnel follows.
    keeps_body: bool,
    /// Since when the connection takes nothing of what waits.
    stands_since: Option<Instant>,
    together: Together,
}

impl Sending {
    /// Ready when all was written, or cannot be. The body goes with its last byte, before that is written: whatever happens at its end has happened when the client
    /// sees the end. Only that of a tunnel stays.
    fn poll<B>(&mut self, wire: &mut Wire, mut body: Pin<&mut Option<B>>, cx: &mut Context<'_>) -> Poll<Result<(), ()>>
    where
        B: Body<Data = Bytes>,
    {
        self.has_ended |= self.length.is_empty();
        loop {
            while !self.has_ended && !self.is_cut && self.data.is_empty() && self.out.len() < COLLECTED {
                let Some(frames) = body.as_mut().as_pin_mut() else { break };
                let result = match frames.poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => self.end(None),
                    // Whoever made the body has told what happened.
                    Poll::Ready(Some(Err(_))) => Err(()),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => self.take(data),
                        Err(frame) => self.end(frame.into_trailers().ok()),
                    },
                };
                // What came before goes out: a client that got nothing would take its call for one that was never begun, and might make it again.
                self.is_cut |= result.is_err();
            }
            if (self.has_ended && !self.keeps_body) || self.is_cut {
                body.set(None);
            }
            if self.is_flushed() {
                // Of what was taken, some may still be encrypted in memory.
                if !self.is_cut && ready!(self.notes(wire.access().poll_flush(cx))).is_err() {
                    return Poll::Ready(Err(()));
                }
                return match (self.is_cut, self.has_ended) {
                    (true, _) => Poll::Ready(Err(())),
                    (false, true) => Poll::Ready(Ok(())),
                    (false, false) => Poll::Pending,
                };
            }
            ready!(self.together.poll(cx));
            let written = wire.access().poll_write(cx, &mut self.out, &mut self.data);
            if ready!(self.notes(written)).is_err() {
                return Poll::Ready(Err(()));
            }
            if self.data.is_empty() && self.owes_line {
                self.owes_line = false;
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Notes whether the connection took something.
    fn notes<T>(&mut self, step: Poll<T>) -> Poll<T> {
        if step.is_ready() {
            self.stands_since = None;
        } else {
            self.stands_since.get_or_insert_with(turn::now);
        }
        step
    }

    fn is_flushed(&self) -> bool {
        self.out.is_empty() && self.data.is_empty()
    }

    /// Some of the body. An error if it is more than was announced.
    fn take(&mut self, data: Bytes) -> Result<(), ()> {
        if data.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(())?;
            self.has_ended = *left == 0;
        }
        let is_chunk = self.length == BodyLength::Chunked;
        if is_chunk {
            encode_chunk(&mut self.out, data.len());
        }
        if data.len() <= COPIED {
            self.out.extend_from_slice(&data);
            if is_chunk {
                self.out.extend_from_slice(b"\r\n");
            }
        } else {
            self.data = data;
            self.owes_line = is_chunk;
        }
        Ok(())
    }

    /// The body is over. An error if less came than was announced.
    fn end(&mut self, trailers: Option<http::HeaderMap>) -> Result<(), ()> {
        self.has_ended = true;
        if self.left.is_some_and(|left| left > 0) {
            return Err(());
        }
        if self.length == BodyLength::Chunked {
            let mut trailers = trailers.unwrap_or_default();
            remove_forbidden_trailers(&mut trailers);
            encode_last_chunk(&mut self.out, &trailers);
        }
        Ok(())
    }
}

/// How long a client may take nothing, and whether it is there.
struct Patience<'a> {
    around: &'a Surroundings,
    until: Instant,
    watch: &'a mut Watch,
    rest: u64,
}

impl<'a> Patience<'a> {
    fn new(around: &'a Surroundings, until: Instant, watch: &'a mut Watch) -> Self {
        watch.set(until.min(turn::now() + around.rules().limits.write_timeout));
        Self { around, until, watch, rest: LONGEST_REST }
    }

    /// Ready when the client is gone, or takes nothing.
    fn poll_lost(&mut self, sending: &Sending, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<()> {
        let mut inside = wire.access();
        match inside.reader() {
            Reader::Abandoned => {
                if inside.poll_rest(cx, &mut self.rest).is_ready() && inside.reader() == Reader::Abandoned {
                    inside.give_up_body();
                }
            }
            Reader::Body { .. } => inside.wake_at_end_of_body(cx),
            Reader::Nobody | Reader::NeverAsked | Reader::Broken | Reader::StoodStill if !inside.is_read_closed => {
                match inside.poll_closed(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) if self.around.rules().half_close == HalfClose::IsGone => return Poll::Ready(()),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            Reader::Nobody | Reader::NeverAsked | Reader::Broken | Reader::StoodStill => {}
        }
        while self.watch.poll_expired(cx).is_ready() {
            let (now, limit) = (Instant::now(), self.around.rules().limits.write_timeout);
            if now >= self.until || sending.stands_since.is_some_and(|since| now >= since + limit) {
                return Poll::Ready(());
            }
            self.watch.set(self.until.min(sending.stands_since.unwrap_or(now) + limit));
        }
        Poll::Pending
    }
}

/// Waits until the request was read, by whoever reads it or for nothing. An error if the connection is of no more use.
async fn finish_request(wire: &mut Wire) -> Result<(), ()> {
    let mut rest = LONGEST_REST;
    let is_read = matches!(wire.access().reader(), Reader::Body { .. });
    let finished = poll_fn(|cx| {
        let mut inside = wire.access();
        match inside.reader() {
            Reader::Nobody => Poll::Ready(Ok(())),
            Reader::NeverAsked | Reader::Broken | Reader::StoodStill => Poll::Ready(Err(())),
            Reader::Abandoned => inside.poll_rest(cx, &mut rest).map_err(drop),
            Reader::Body { .. } => {
                inside.wake_at_end_of_body(cx);
                Poll::Pending
            }
        }
    });
    // Somebody may read for as long as the call takes; the body's own limits hold there.
    if is_read {
        return finished.await;
    }
    timeout(REST_LIMIT, finished).await.unwrap_or(Err(()))
}

/// Closes our side, and reads what comes until the client has seen it: closed at once, a connection on which something is unread is reset, and the answer may be
/// lost with it (RFC 9112 section 9.6).
pub(super) async fn linger(wire: &mut Wire) {
    let is_clean = {
        let inside = wire.access();
        inside.reader() == Reader::Nobody && inside.read.is_empty()
    };
    if WireIo(&mut *wire).shutdown().await.is_err() || wire.access().is_read_closed {
        return;
    }
    let time = if is_clean { LINGER / 4 } else { LINGER };
    let reading = poll_fn(|cx| {
        let mut inside = wire.access();
        let mut read = 0_u64;
        loop {
            inside.read.clear();
            match inside.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(length)) => read += length as u64,
                Poll::Pending => return Poll::Pending,
            }
            if read > LONGEST_REST {
                return Poll::Ready(());
            }
        }
    });
    let _ = timeout(time, reading).await;
}

/// Passes bytes both ways until both sides are closed.
async fn join(wire: &mut Wire, end: TunnelEnd) {
    let TunnelEnd { mut io, unread, held } = end;
    let mut client = WireIo(wire);
    let joined = async {
        client.write_all(&unread).await?;
        copy_bidirectional(&mut client, &mut io).await
    };
    // Either side ends a tunnel as it likes.
    let _: io::Result<(u64, u64)> = joined.await;
    drop(held);
}

/// Gives the value of `Date` for now, or for [`DATE_READ`] ago at most.
fn with_date(write: impl FnOnce(&[u8])) {
    thread_local! {
        static DATE: RefCell<ShownDate> = const { RefCell::new(ShownDate { read: None, second: 0, text: String::new() }) };
    }
    DATE.with_borrow_mut(|date| {
        let now = turn::now();
        if date.read.is_none_or(|read| now.saturating_duration_since(read) >= DATE_READ) {
            date.read = Some(now);
            let wall = SystemTime::now();
            let second = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            if date.second != second {
                date.second = second;
                date.text = httpdate::fmt_http_date(wall);
            }
        }
        write(date.text.as_bytes());
    });
}

/// The date as it was shown last.
struct ShownDate {
    /// When the clock was read.
    read: Option<Instant>,
    /// What it showed, in seconds since 1970.
    second: u64,
    /// The same as text; empty before it was read.
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use crate::tls::Stream;

    #[tokio::test(start_paused = true)]
    async fn an_answer_stands_still_from_the_time_on_that_its_client_takes_nothing() {
        const LARGE: usize = 32 * 1024 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, mut wire) = (client.unwrap(), Wire::new(Stream::Tcp(accepted.unwrap().0), BytesMut::new()));
        let mut sending = Sending {
            out: BytesMut::new(),
            data: Bytes::from(vec![b'x'; LARGE]),
            length: BodyLength::Known(LARGE as u64),
            left: Some(0),
            owes_line: false,
            has_ended: true,
            is_cut: false,
            keeps_body: false,
            stands_since: None,
            together: Together::default(),
        };
        let mut body = pin!(None::<Full<Bytes>>);
        let (began, step) = (Instant::now(), Duration::from_secs(1));
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(sending.poll(&mut wire, body.as_mut(), cx).is_pending())).await);
            assert_eq!(sending.stands_since, Some(began), "to be asked again changes nothing");
            tokio::time::advance(step).await;
        }
        let left = sending.data.len();
        let mut read = vec![0; LARGE - left];
        client.read_exact(&mut read).await.unwrap();
        // The kernel tells of the room when it likes.
        while sending.data.len() == left {
            poll_fn(|cx| Poll::Ready(sending.poll(&mut wire, body.as_mut(), cx).is_pending())).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(sending.stands_since, Some(began + 3 * step), "it went on, and stands still anew");
        let (sent, received) = tokio::join!(poll_fn(|cx| sending.poll(&mut wire, body.as_mut(), cx)), async {
            let mut rest = vec![0; left];
            client.read_exact(&mut rest).await
        });
        assert!(sent.is_ok() && received.is_ok());
        assert_eq!(sending.stands_since, None);
    }
}
