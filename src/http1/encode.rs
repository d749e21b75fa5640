//! Writing heads and chunks.
//!
//! What frames a message is written here alone, from its [`BodyLength`]; framing that stands in a header map is passed over. Header values cannot hold
//! line breaks (their type refuses them), so that nothing that is written here can split a message (RFC 9110 section 5.5).

use bytes::{BufMut as _, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

use super::length::BodyLength;

/// Whether a connection goes on after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Another message may follow.
    KeepAlive,
    /// It ends.
    Close,
}

/// The chunk that ends a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The head of an answer that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// What the client speaks. The answer's version is our own all the same (RFC 9110 section 6.2).
    pub version: Version,
    /// The status.
    pub status: StatusCode,
    /// The headers; framing that stands in them is passed over.
    pub headers: &'a HeaderMap,
    /// How long the body is. With [`BodyLength::None`] a `Content-Length` that stands in the headers is written as it is: an answer to HEAD, or a 304, tells
    /// how long the body would be (RFC 9110 section 8.6).
    pub length: BodyLength,
    /// Whether the connection goes on.
    pub persistence: Persistence,
    /// The value of a `Date` that is written if the headers have none (RFC 9110 section 6.6.1).
    pub date: &'a [u8],
}

/// Writes the head of an answer.
pub fn encode_response(into: &mut BytesMut, head: &ResponseHead<'_>) {
    into.put_slice(b"HTTP/1.1 ");
    into.put_slice(head.status.as_str().as_bytes());
    into.put_u8(b' ');
    into.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    into.put_slice(b"\r\n");
    if head.length == BodyLength::None
        && let Some(told) = head.headers.get(CONTENT_LENGTH)
    {
        put_field(into, CONTENT_LENGTH.as_str(), told.as_bytes());
    }
    let has_date = encode_fields(into, head.headers);
    put_framing(into, head.length);
    if !has_date && !head.date.is_empty() {
        put_field(into, DATE.as_str(), head.date);
    }
    match head.persistence {
        Persistence::Close => into.put_slice(b"connection: close\r\n"),
        Persistence::KeepAlive if head.version < Version::HTTP_11 => into.put_slice(b"connection: keep-alive\r\n"),
        Persistence::KeepAlive => {}
    }
    into.put_slice(b"\r\n");
}

/// The fields without framing; returns whether there was a `Date`.
fn encode_fields(into: &mut BytesMut, headers: &HeaderMap) -> bool {
    headers.iter().fold(false, |has_date, (name, value)| {
        let is_connection = *name == CONNECTION && value.as_bytes() != b"upgrade";
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && !is_connection {
            put_field(into, name.as_str(), value.as_bytes());
        }
        has_date || *name == DATE
    })
}

/// What says how long the body is.
pub(super) fn put_framing(into: &mut BytesMut, length: BodyLength) {
    match length {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Known(length) => {
            put_field(into, CONTENT_LENGTH.as_str(), itoa::Buffer::new().format(length).as_bytes());
        }
        BodyLength::Chunked => into.put_slice(b"transfer-encoding: chunked\r\n"),
    }
}

pub(super) fn put_field(into: &mut BytesMut, name: &str, value: &[u8]) {
    into.reserve(name.len() + value.len() + 4);
    into.put_slice(name.as_bytes());
    into.put_slice(b": ");
    into.put_slice(value);
    into.put_slice(b"\r\n");
}

/// Writes the line before a chunk of `size` bytes; CRLF follows the data. A size of 0 would end the body: see [`encode_last_chunk`].
pub fn encode_chunk(into: &mut BytesMut, size: usize) {
    debug_assert!(size > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (size >> (place * 4)) & 0xf;
        into.put_u8(b"0123456789abcdef"[digit]);
    }
    into.put_slice(b"\r\n");
}

/// Writes the last chunk, with these fields after the body.
pub fn encode_last_chunk(into: &mut BytesMut, trailers: &HeaderMap) {
    into.put_slice(b"0\r\n");
    for (name, value) in trailers {
        put_field(into, name.as_str(), value.as_bytes());
    }
    into.put_slice(b"\r\n");
}
