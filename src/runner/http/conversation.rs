//! One request and its answer on one HTTP/1.1 connection, driven by whoever waits for it: no task, no channel.
//!
//! Reading goes before writing. So an answer that comes before the request is complete (RFC 9112 section 9.6) is seen while there is still something to
//! write, and a kept connection that the runner has closed is found closed before a byte of the request is on it.

use std::io;
use std::task::{Context, Poll};

use ::http::{Method, StatusCode};

use super::connection::Connection;
use super::sending::{self, Sending};
use crate::http1::{HeadLimits, MalformedHead, ReceivedResponse, SendError, parse_response};
use crate::runner::{BodyError, CallBody};

/// The longest head of an answer, in bytes, and the most fields in it.
const HEAD_LIMITS: HeadLimits = HeadLimits { max_size: 128 * 1024, max_target: 0, max_fields: 256 };

/// When a body that streams is given to the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives<'a> {
    /// All of the request is here.
    Nothing,
    /// Once the head was written.
    AfterHead(&'a CallBody),
    /// Once the runner said `100 Continue` (RFC 9110 section 10.1.1).
    AfterContinue(&'a CallBody),
}

/// A request and its answer's head under way. Dropping it closes the connection.
pub(super) struct Conversation<'a> {
    pub(super) connection: Connection,
    pub(super) sending: &'a mut Sending,
    gives: Gives<'a>,
    method: &'a Method,
    /// The runner took no more of the request. It may have answered all the same.
    broken: Option<io::Error>,
}

/// Why there is no answer.
pub(super) enum Lost {
    /// The connection was lost before a byte of the request was written.
    Unused(String),
    /// The connection was lost after that.
    Used(String),
    /// The body of the request could not be had.
    Body(BodyError),
    /// What came is no head of an answer.
    Malformed(MalformedHead),
}

impl<'a> Conversation<'a> {
    pub(super) const fn new(connection: Connection, sending: &'a mut Sending, gives: Gives<'a>, method: &'a Method) -> Self {
        Self { connection, sending, gives, method, broken: None }
    }

    /// Whether the request was written to its end, and the connection took it.
    pub(super) fn is_sent(&self) -> bool {
        self.broken.is_none() && self.sending.is_over()
    }

    /// Whether the rest of the request can go on being written after the answer.
    pub(super) fn can_go_on_sending(&self) -> bool {
        self.broken.is_none() && !self.sending.is_without_body() && !self.sending.is_over()
    }

    /// Sends, and waits for the head of the answer that is not an interim one. What was read behind it is left in the connection.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ReceivedResponse, Lost>> {
        loop {
            match self.connection.poll_read_more(cx, 0) {
                Poll::Ready(Ok(1..)) => {
                    if !self.sending.is_begun() {
                        return Poll::Ready(Err(Lost::Unused("the runner spoke before it was asked".to_owned())));
                    }
                    match self.parse() {
                        Ok(Some(head)) => return Poll::Ready(self.ask_for_body(cx).map(|()| head)),
                        Ok(None) => {}
                        Err(malformed) => return Poll::Ready(Err(Lost::Malformed(malformed))),
                    }
                    // There may be more, or the body may have been given.
                    continue;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed("the runner closed it".to_owned()))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(error.to_string()))),
                Poll::Pending => {}
            }
            if self.broken.is_some() {
                return Poll::Pending;
            }
            match self.sending.poll(&mut self.connection.stream, cx) {
                Poll::Ready(Ok(())) => match self.gives {
                    Gives::AfterHead(body) if self.sending.is_awaiting() => sending::give(self.sending, body),
                    _ => return Poll::Pending,
                },
                Poll::Ready(Err(SendError::Body(error))) => return Poll::Ready(Err(Lost::Body(error))),
                Poll::Ready(Err(SendError::Length(wrong))) => return Poll::Ready(Err(Lost::Body(wrong.into()))),
                Poll::Ready(Err(SendError::Connection(error))) if !self.sending.is_begun() => {
                    return Poll::Ready(Err(Lost::Unused(error.to_string())));
                }
                // What the runner said before is still to be read.
                Poll::Ready(Err(SendError::Connection(error))) => self.broken = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The answer has begun. A body that was given in the same moment is asked for first: a client that waits to be asked is asked then or never, as its own
    /// answer begins with ours (RFC 9110 section 10.1.1).
    fn ask_for_body(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        if !matches!(self.gives, Gives::AfterContinue(_)) || !self.can_go_on_sending() {
            return Ok(());
        }
        match self.sending.poll(&mut self.connection.stream, cx) {
            Poll::Ready(Err(SendError::Body(error))) => return Err(Lost::Body(error)),
            Poll::Ready(Err(SendError::Length(wrong))) => return Err(Lost::Body(wrong.into())),
            Poll::Ready(Err(SendError::Connection(error))) => self.broken = Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(())
    }

    /// The head of the answer, if all of it was read. Interim ones are dropped (RFC 9110 section 15.2), after they had their effect.
    fn parse(&mut self) -> Result<Option<ReceivedResponse>, MalformedHead> {
        while let Some(head) = parse_response(&mut self.connection.read, &HEAD_LIMITS, self.method)? {
            if !head.is_interim() {
                return Ok(Some(head));
            }
            if let (StatusCode::CONTINUE, Gives::AfterContinue(body)) = (head.response.status(), self.gives) {
                sending::give(self.sending, body);
            }
        }
        self.connection.let_go_of_memory();
        Ok(None)
    }

    fn closed(&self, why: String) -> Lost {
        match &self.broken {
            _ if !self.sending.is_begun() => Lost::Unused(why),
            Some(error) => Lost::Used(format!("{why}, after it took no more of the request: {error}")),
            None => Lost::Used(why),
        }
    }
}
