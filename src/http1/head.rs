//! What the heads of requests and answers have in common: where a head ends, what it may hold, and its header fields.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::usual_names::usual_name;
use crate::protocol::{KnownField, KnownFields};

/// What a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The longest head, in bytes.
    pub max_size: usize,
    /// The longest target of a request, in bytes.
    pub max_target: usize,
    /// The most header fields.
    pub max_fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_size: 64 * 1024, max_target: 16 * 1024, max_fields: 100 }
    }
}

/// A head that cannot be taken. What follows it on its connection cannot be told apart: the connection is to be closed after the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct MalformedHead {
    status: StatusCode,
    detail: &'static str,
}

impl MalformedHead {
    pub(super) const fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail }
    }

    /// Not HTTP.
    pub(super) const fn bad(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// With which status a client is to be told; of an answer's head it says nothing.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, for people.
    pub const fn detail(&self) -> &'static str {
        self.detail
    }
}

/// Header fields on the stack; with more, they go to the heap.
pub(super) const USUAL_FIELDS: usize = 100;

/// A head that did not arrive in time (RFC 9110 section 15.5.9).
pub const HEAD_TOO_SLOW: MalformedHead =
    MalformedHead::new(StatusCode::REQUEST_TIMEOUT, "the head of the request did not arrive in time");

/// A head too long or of too many fields (RFC 6585 section 5).
pub(super) const TOO_LARGE: MalformedHead =
    MalformedHead::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is longer than allowed");

/// Takes a whole head off the front of `buffer`, its empty line included; `None` if its end has not come.
///
/// Every line ends with CRLF: RFC 9112 section 2.2 lets a recipient take a bare LF for one, and who does not do so then sees another message.
/// One empty line before a request is skipped, as that section asks for.
///
/// `looked` is where the first line begins that was not seen whole in an earlier look at the same head, 0 at first: who sends a byte at a time does not have all that
/// came before read again for each.
pub(super) fn take_head(buffer: &mut BytesMut, max_size: usize, looked: &mut usize) -> Result<Option<Bytes>, MalformedHead> {
    let skipped = usize::from(buffer.starts_with(b"\r\n")) * 2;
    let begin = std::mem::take(looked).max(skipped);
    let mut line = begin;
    // One search through all lines costs less than one for each.
    for end in memchr::memchr_iter(b'\n', buffer.get(begin..).unwrap_or_default()).map(|offset| begin + offset) {
        if end == line || buffer[end - 1] != b'\r' {
            return Err(MalformedHead::bad("a line of the head ends without carriage return"));
        }
        if end - skipped >= max_size {
            return Err(TOO_LARGE);
        }
        if end == line + 1 {
            if line == skipped {
                return Err(MalformedHead::bad("there are empty lines instead of a request"));
            }
            // All there is, as usual, needs no memory for being shared.
            let mut head = if end + 1 == buffer.len() { std::mem::take(buffer) } else { buffer.split_to(end + 1) };
            if skipped > 0 {
                let _ = head.split_to(skipped);
            }
            return Ok(Some(head.freeze()));
        }
        line = end + 1;
    }
    *looked = line;
    if buffer.len() - skipped >= max_size { Err(TOO_LARGE) } else { Ok(None) }
}

/// Gives `parse` room for header fields: on the stack, or on the heap if there are too many for that and `max_fields` allows them.
pub(super) fn with_room<'b, T>(
    max_fields: usize,
    mut parse: impl FnMut(&mut [MaybeUninit<httparse::Header<'b>>]) -> Result<T, httparse::Error>,
) -> Result<T, httparse::Error> {
    let mut few = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let room = max_fields.min(USUAL_FIELDS);
    match parse(&mut few[..room]) {
        Err(httparse::Error::TooManyHeaders) if max_fields > USUAL_FIELDS => {
            let mut many: Vec<_> = (0..max_fields).map(|_| MaybeUninit::uninit()).collect();
            parse(&mut many)
        }
        result => result,
    }
}

/// The fields of a head.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// All but those that say no more than whether the connection goes on.
    pub(super) map: HeaderMap,
    /// Which of them are known.
    pub(super) known: KnownFields,
    /// There was `Connection: close`.
    pub(super) closes: bool,
    /// There was `Connection: keep-alive`.
    pub(super) keeps: bool,
}

/// The fields as a map with room for `more`; their values share the memory of `head`.
pub(super) fn header_map(head: &Bytes, fields: &[httparse::Header<'_>], more: usize) -> Result<Fields, MalformedHead> {
    let mut map = HeaderMap::with_capacity(fields.len() + more);
    let (mut known, mut closes, mut keeps) = (KnownFields::default(), false, false);
    for field in fields {
        let (name, meaning) = named(field.name)?;
        if meaning == Some(KnownField::Connection) {
            // As most say it: it is for this hop alone, and need not be kept to be removed.
            let is = |word: &[u8]| field.value.trim_ascii().eq_ignore_ascii_case(word);
            let (is_close, is_keep) = (is(b"close"), is(b"keep-alive"));
            closes |= is_close;
            keeps |= is_keep;
            if is_close || is_keep {
                continue;
            }
        }
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| MalformedHead::bad("a header's value has characters that no value has"))?;
        known = known.with(meaning);
        map.try_append(name, value).map_err(|_| TOO_LARGE)?;
    }
    Ok(Fields { map, known, closes, keeps })
}

/// The name of a field, and what it means to a proxy.
fn named(name: &str) -> Result<(HeaderName, Option<KnownField>), MalformedHead> {
    if let Some(usual) = usual_name(name.as_bytes()) {
        return Ok(usual);
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MalformedHead::bad("a header has no valid name"))?;
    let meaning = KnownField::of(name.as_str());
    Ok((name, meaning))
}

/// What the parser of the head found wrong.
pub(super) fn malformed(error: httparse::Error) -> MalformedHead {
    match error {
        httparse::Error::HeaderName => MalformedHead::bad("a header has no valid name"),
        httparse::Error::HeaderValue => MalformedHead::bad("a header's value has characters that no value has"),
        httparse::Error::NewLine => MalformedHead::bad("a line of the head is broken"),
        httparse::Error::Status => MalformedHead::bad("the status line is broken"),
        httparse::Error::Token => MalformedHead::bad("the first line is broken"),
        httparse::Error::TooManyHeaders => {
            MalformedHead::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are more header fields than allowed")
        }
        httparse::Error::Version => MalformedHead::bad("the version is not HTTP/1.0 or HTTP/1.1"),
    }
}

/// The values of a field that is likely to be there: of the few fields of a usual head it is found faster by looking than by its hash.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
    headers.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
}

/// The tokens of a header that holds a list, in every line of it.
pub(super) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    values(headers, name).flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}
