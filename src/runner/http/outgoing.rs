//! A request that is ready to go, over whichever connection there will be.

use ::http::header::{CONNECTION, CONTENT_TYPE, HOST};
use ::http::{HeaderName, HeaderValue, Method};
use bytes::{Bytes, BytesMut};

use super::address::RunnerAddress;
use super::conversation::Gives;
use super::sending::Sending;
use crate::http1::{BodyLength, InvalidTarget, RequestWriter};

/// A request that is ready to go.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) sending: Sending,
    pub(super) gives: Gives<'a>,
    /// The protocol that is offered to the runner.
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) rest: Rest,
}

/// What becomes of the rest of a request whose answer is over before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Who has answered wants no more: the connection is closed.
    IsDropped,
    /// The answer says only that the call has begun, or the rest is in memory anyhow: it is sent.
    IsSent,
}

/// Room for what a head has beside the client's fields: the first line, `Host`, the trace, what an agent is told.
const OWN_FIELDS: usize = 256;

/// A buffer for a head with so many bytes of the client's in it, and a short body behind it.
pub(super) fn buffer(of_client: usize, body: usize) -> BytesMut {
    BytesMut::with_capacity(OWN_FIELDS + of_client + body)
}

impl<'a> Outgoing<'a> {
    /// A question to the runner, which may be asked twice.
    pub(super) fn question(
        address: &RunnerAddress,
        method: &'a Method,
        path: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, InvalidTarget> {
        Self::whole(address, method, path, fields, BodyLength::None, &Bytes::new())
    }

    /// A question on a connection of its own, with a document if `body` is not empty.
    pub(super) fn last_question(
        address: &RunnerAddress,
        method: &'a Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Self, InvalidTarget> {
        let close = (CONNECTION, HeaderValue::from_static("close"));
        if body.is_empty() {
            return Self::whole(address, method, path, &[close], BodyLength::None, body);
        }
        let fields = [close, (CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self::whole(address, method, path, &fields, BodyLength::Known(body.len() as u64), body)
    }

    fn whole(
        address: &RunnerAddress,
        method: &'a Method,
        path: &str,
        fields: &[(HeaderName, HeaderValue)],
        length: BodyLength,
        body: &Bytes,
    ) -> Result<Self, InvalidTarget> {
        let mut head = buffer(0, body.len());
        let mut writer = RequestWriter::begin(&mut head, method, &[path])?;
        writer.field(&HOST, address.header());
        for (name, value) in fields {
            writer.field(name, value);
        }
        writer.end(length);
        let sending = Sending::whole(head, body);
        Ok(Self { method, sending, gives: Gives::Nothing, upgrade: None, rest: Rest::IsDropped })
    }
}
