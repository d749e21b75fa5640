//! One HTTP/1.1 connection to a worker, driven by whoever waits for the answer: no task, no channel.
//!
//! Reading goes before writing, as on a connection to a runner: a worker that answers before it has read all is heard, and one that has closed an idle connection is
//! found gone before a byte of the call is on it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use socket2::SockRef;
use tokio::net::UnixStream;

use super::input::Input;
use crate::http1::{
    BodyDecoder, BodyLength, BodySyntaxError, Decoded, HeadLimits, MalformedHead, Persistence, SendError, Sending, parse_response,
};
use crate::model::ByteSize;
use crate::tls::poll_read_more;

/// The most fields of an answer's head.
const MAX_FIELDS: usize = 256;

/// A connection to a worker. Dropping it closes it, whatever it was doing.
pub(crate) struct WorkerConnection {
    stream: UnixStream,
    /// What was read and not used yet. Without memory between calls.
    read: BytesMut,
    limits: HeadLimits,
    /// What is left of the request.
    sending: Sending<Input>,
    /// The worker takes no more of it. It may answer all the same.
    is_broken: bool,
    /// What is left of the answer.
    decoder: BodyDecoder,
    persistence: Persistence,
}

/// Why a request had no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The connection was lost before a byte of the request was written.
    Unused,
    /// The connection was lost after that, or the body of the request could not be had.
    Used,
    /// What came is no head of an answer.
    Malformed(MalformedHead),
}

/// The body of an answer does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    /// The connection was lost.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// It is not framed as it was announced.
    #[error(transparent)]
    Syntax(#[from] BodySyntaxError),
    /// What is left of the request's own body could not be had.
    #[error("the body of the call broke off")]
    Input,
}

impl WorkerConnection {
    /// Connects to the socket of a worker, of whose answers no head may be longer than `max_head`.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn connect(socket: &Path, max_head: ByteSize) -> io::Result<Self> {
        let max_size = usize::try_from(max_head.bytes()).unwrap_or(usize::MAX);
        Ok(Self {
            stream: UnixStream::connect(socket).await?,
            read: BytesMut::new(),
            limits: HeadLimits { max_size, max_target: 0, max_fields: MAX_FIELDS },
            sending: Sending::default(),
            is_broken: false,
            decoder: BodyDecoder::new(BodyLength::None),
            persistence: Persistence::KeepAlive,
        })
    }

    /// Whether nothing was heard of the worker since its last answer, as the kernel knows it: it has neither closed, nor said anything unasked, which would be taken for
    /// the answer to the next call. Costs a system call.
    pub(crate) fn is_quiet(&self) -> bool {
        let heard = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        heard.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Has this request sent next: its head, and its body of this length.
    pub(crate) fn begin(&mut self, head: BytesMut, length: BodyLength, body: Input) {
        self.sending = Sending::awaiting(head, length);
        self.sending.give(body);
    }

    /// Has the request sent that `unused` has sent nothing of.
    pub(crate) fn take_over(&mut self, unused: Self) {
        self.sending = unused.sending;
    }

    /// Sends what was begun, and waits for the head of the answer that is not an interim one. Its body comes by [`Self::poll_data`].
    ///
    /// # Errors
    /// See [`Lost`].
    pub(crate) async fn head(&mut self) -> Result<Response<()>, Lost> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Lost>> {
        loop {
            match poll_read_more(&mut self.stream, cx, &mut self.read, 0) {
                Poll::Ready(Ok(1..)) if self.sending.is_begun() => match self.parse().map_err(Lost::Malformed)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue,
                },
                Poll::Ready(_) => return Poll::Ready(Err(if self.sending.is_begun() { Lost::Used } else { Lost::Unused })),
                Poll::Pending => {}
            }
            if self.is_broken {
                return Poll::Pending;
            }
            match self.sending.poll(&mut self.stream, cx) {
                Poll::Ready(Err(SendError::Connection(_))) if !self.sending.is_begun() => return Poll::Ready(Err(Lost::Unused)),
                // What the worker said before is still to be read.
                Poll::Ready(Err(SendError::Connection(_))) => self.is_broken = true,
                Poll::Ready(Err(SendError::Body(_) | SendError::Length(_))) => return Poll::Ready(Err(Lost::Used)),
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The head of the answer, if all of it was read. Interim ones are dropped (RFC 9110 section 15.2).
    fn parse(&mut self) -> Result<Option<Response<()>>, MalformedHead> {
        while let Some(head) = parse_response(&mut self.read, &self.limits, &Method::POST)? {
            if head.is_interim() {
                continue;
            }
            self.decoder = BodyDecoder::new(head.length);
            // After a switch, which nobody asked for, HTTP is over.
            let is_switch = head.response.status() == StatusCode::SWITCHING_PROTOCOLS;
            self.persistence = if is_switch { Persistence::Close } else { head.persistence };
            return Ok(Some(head.response));
        }
        Ok(None)
    }

    /// What comes next of the answer's body, `None` at its end, while the rest of the request is sent. Trailers are passed over: they are no part of the
    /// contract, and could carry what only we may say.
    ///
    /// # Errors
    /// It breaks off.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BrokenOff>> {
        loop {
            match self.decoder.decode(&mut self.read)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Some(data))),
                Decoded::End => return Poll::Ready(Ok(None)),
                Decoded::Trailers(_) => continue,
                Decoded::NeedMore => {}
            }
            self.send_more(cx)?;
            let (expected, _) = self.decoder.left();
            if ready!(poll_read_more(&mut self.stream, cx, &mut self.read, expected))? == 0 {
                self.decoder.close()?;
            }
        }
    }

    fn send_more(&mut self, cx: &mut Context<'_>) -> Result<(), BrokenOff> {
        if self.is_broken || self.sending.is_over() {
            return Ok(());
        }
        match self.sending.poll(&mut self.stream, cx) {
            Poll::Ready(Err(SendError::Body(_) | SendError::Length(_))) => Err(BrokenOff::Input),
            // The worker wants no more of it; its answer may be complete all the same.
            Poll::Ready(Err(SendError::Connection(_))) => {
                self.is_broken = true;
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// How many bytes of the answer's body certainly follow, and whether nothing else does.
    pub(crate) const fn left(&self) -> (u64, bool) {
        self.decoder.left()
    }

    /// Whether all of the request was written.
    pub(crate) fn is_sent(&self) -> bool {
        self.sending.is_over() && !self.is_broken
    }

    /// Gives up the memory of what was read, if nothing of it is left.
    pub(crate) fn let_go_of_memory(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }

    /// Whether another request can follow: both sides have said all, and no more (RFC 9112 section 9.3).
    pub(crate) fn goes_on(&self) -> bool {
        self.persistence == Persistence::KeepAlive && self.is_sent() && self.decoder.is_end() && self.read.is_empty()
    }
}
