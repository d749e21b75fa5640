//! The head of an answer. Its decision does not depend on how the bytes arrive, its body has one end, and what a client gets of it is one
//! message whose body has that end.
//!
//! The first byte says what was asked: an odd one HEAD, an even one GET.

use bytes::BytesMut;
use http::{Method, Version};
use runpool::http1::{BodyLength, HeadLimits, Persistence, encode_response, ResponseHead, parse_response};

const LIMITS: HeadLimits = HeadLimits { max_size: 2_048, max_target: 256, max_fields: 20 };

pub fn hold(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let method = if kind % 2 == 1 { Method::HEAD } else { Method::GET };
    let whole = parse_response(&mut BytesMut::from(bytes), &LIMITS, &method);
    for end in (0..bytes.len()).rev().take(64) {
        match (parse_response(&mut BytesMut::from(&bytes[..end]), &LIMITS, &method), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(part)), Ok(Some(whole))) => {
                assert_eq!((part.response.status(), part.length), (whole.response.status(), whole.length));
                assert_eq!(part.response.headers(), whole.response.headers());
            }
            (part, whole) => panic!("{part:?} of {end} bytes, but {whole:?} of {:?}", bytes.escape_ascii().to_string()),
        }
    }
    let Ok(Some(read)) = whole else { return };
    let (status, headers) = (read.response.status(), read.response.headers());
    let is_bodiless = method == Method::HEAD || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    assert_eq!(read.length == BodyLength::None, is_bodiless, "{status} {:?}", read.length);
    match read.length {
        BodyLength::Chunked => assert!(!headers.contains_key("content-length")),
        BodyLength::UntilClose => assert_eq!(read.persistence, Persistence::Close),
        BodyLength::Known(_) => assert!(!headers.contains_key("transfer-encoding")),
        BodyLength::None => {}
    }
    let length = if read.length == BodyLength::UntilClose { BodyLength::Chunked } else { read.length };
    let mut written = BytesMut::new();
    let (version, persistence) = (Version::HTTP_11, Persistence::KeepAlive);
    encode_response(&mut written, &ResponseHead { version, status, headers, length, persistence, date: b"" });
    let shown = written.escape_ascii().to_string();
    assert!(written.starts_with(b"HTTP/1.1 "), "{shown}");
    let limits = HeadLimits { max_size: 8_192, max_fields: 30, ..LIMITS };
    match parse_response(&mut written, &limits, &method) {
        Ok(Some(again)) => {
            assert!(written.is_empty(), "{shown}");
            assert_eq!((again.response.status(), again.length), (status, length), "{shown}");
        }
        other => panic!("{other:?}: {shown}"),
    }
}
