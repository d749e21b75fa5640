//! The head of an answer.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode, Version};

use super::encode::Persistence;
use super::head::{Fields, HeadLimits, MalformedHead, header_map, malformed, take_head, with_room};
use super::length::{BodyLength, content_length, is_chunked};
use crate::protocol::KnownField;

/// The head of an answer, and what it says of its message.
#[derive(Debug)]
pub struct ReceivedResponse {
    /// Status, version and headers, but for a `Connection` that says no more than whether the connection goes on. An answer that came in chunks has no `Content-Length` here, whatever was sent.
    pub response: Response<()>,
    /// How long the body is.
    pub length: BodyLength,
    /// Whether the connection can take another request after this.
    pub persistence: Persistence,
}

impl ReceivedResponse {
    /// Another head will follow (RFC 9110 section 15.2). Not so 101, after which HTTP is over.
    pub fn is_interim(&self) -> bool {
        let status = self.response.status();
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Takes the head of an answer to a request of `method` off the front of `buffer`; `None` if its end has not come, then nothing is taken.
///
/// # Errors
/// It is not HTTP/1.0 or HTTP/1.1, is larger than allowed, or its body could be read in two ways.
pub fn parse_response(
    buffer: &mut BytesMut,
    limits: &HeadLimits,
    method: &Method,
) -> Result<Option<ReceivedResponse>, MalformedHead> {
    match take_head(buffer, limits.max_size, &mut 0)? {
        Some(head) => parse_head(&head, limits, method).map(Some),
        None => Ok(None),
    }
}

/// What a client is told beside what a runner says: the ids of call and request. Room for it is made at once.
const MORE_FIELDS: usize = 2;

fn parse_head(head: &Bytes, limits: &HeadLimits, method: &Method) -> Result<ReceivedResponse, MalformedHead> {
    let (status, version, headers) = with_room(limits.max_fields, |room| {
        let mut parsed = httparse::Response::new(&mut []);
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, room)?;
        Ok((parsed.code.unwrap_or_default(), parsed.version, header_map(head, parsed.headers, MORE_FIELDS)))
    })
    .map_err(malformed)?;
    let mut fields = headers?;
    let status = StatusCode::from_u16(status).map_err(|_| MalformedHead::bad("the status is not a number from 100 to 999"))?;
    let version = if version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let (length, persistence) = answer_length(&mut fields, status, version, method)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = fields.map;
    Ok(ReceivedResponse { response, length, persistence })
}

/// RFC 9112 section 6.3.
fn answer_length(
    fields: &mut Fields,
    status: StatusCode,
    version: Version,
    method: &Method,
) -> Result<(BodyLength, Persistence), MalformedHead> {
    let persistence = Persistence::said_by(version, fields);
    let (headers, known) = (&mut fields.map, fields.known);
    let has_no_body = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_no_body {
        // Nothing is read by it, but it goes on to the client.
        if known.has(KnownField::ContentLength) {
            content_length(headers)?;
        }
        return Ok((BodyLength::None, persistence));
    }
    if known.has(KnownField::TransferEncoding) {
        is_chunked(headers, version)?;
        // Both at once are a known way to smuggle a second answer: the chunks count, and nothing else is read from this connection.
        let persistence = if headers.remove(CONTENT_LENGTH).is_some() { Persistence::Close } else { persistence };
        return Ok((BodyLength::Chunked, persistence));
    }
    Ok(match content_length(headers)? {
        Some(length) => (BodyLength::Known(length), persistence),
        None => (BodyLength::UntilClose, Persistence::Close),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str, method: &Method) -> Option<ReceivedResponse> {
        parse_response(&mut BytesMut::from(text), &HeadLimits::default(), method).ok().flatten()
    }

    #[test]
    fn the_length_of_an_answer_follows_from_its_head_and_its_question() {
        let length = |text: &str, method| parse(text, &method).map(|read| (read.length, read.persistence));
        let (keep, close) = (Persistence::KeepAlive, Persistence::Close);
        for (text, method, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Method::GET, Some((BodyLength::Known(3), keep))),
            ("HTTP/1.1 200\r\ncontent-length: 3\r\n\r\n", Method::HEAD, Some((BodyLength::None, keep))),
            ("HTTP/1.1 304 N\r\ncontent-length: 3\r\n\r\n", Method::GET, Some((BodyLength::None, keep))),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Method::GET, Some((BodyLength::Chunked, keep))),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, Some((BodyLength::UntilClose, close))),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", Method::GET, Some((BodyLength::Known(1), close))),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n",
                Method::GET,
                Some((BodyLength::Known(1), close)),
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Method::GET, None),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", Method::GET, None),
            ("HTTP/1.1 200 OK\nx: y\n\n", Method::GET, None),
            ("ICY 200 OK\r\n\r\n", Method::GET, None),
        ] {
            assert_eq!(length(text, method), expected, "{text:?}");
        }
    }

    #[test]
    fn an_answer_with_two_lengths_has_only_its_chunks_and_is_the_last() {
        let read = parse("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", &Method::GET).unwrap();
        assert_eq!((read.length, read.persistence), (BodyLength::Chunked, Persistence::Close));
        assert!(!read.response.headers().contains_key(CONTENT_LENGTH));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse_response(&mut BytesMut::from(&bytes[..]), &HeadLimits::default(), &Method::GET);
        }
    }
}
