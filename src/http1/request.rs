//! The head of a request.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::encode::Persistence;
use super::head::{Fields, HeadLimits, MalformedHead, header_map, malformed, take_head, tokens, values, with_room};
use super::host::check_authority;
use super::length::{BodyLength, content_length, is_chunked};
use crate::protocol::{KnownField, KnownFields};

/// The head of a request, and what it says of its message.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// Method, target, version and headers, but for a `Connection` that says no more than whether the client goes on. A target in absolute form keeps its authority, and `Host` says the same (RFC 9112 section 3.2.2).
    pub request: Request<()>,
    /// How long the body is; never [`BodyLength::UntilClose`].
    pub length: BodyLength,
    /// Whether the client means to go on after this.
    pub persistence: Persistence,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
    pub is_waiting_for_continue: bool,
}

/// Takes the head of a request off the front of `buffer`; `None` if its end has not come, then nothing is taken.
///
/// # Errors
/// It is not HTTP/1.0 or HTTP/1.1, is larger than allowed, asks for what is not offered to anybody (CONNECT, TRACE, codings of transfer other than
/// `chunked`), or could be read in two ways.
pub fn parse_request(buffer: &mut BytesMut, limits: &HeadLimits) -> Result<Option<ReceivedRequest>, MalformedHead> {
    go_on_parsing_request(buffer, limits, &mut 0)
}

/// The same for a head that comes in pieces: `looked` is 0 at first, and tells the next call how far this one came.
///
/// # Errors
/// As above.
pub fn go_on_parsing_request(
    buffer: &mut BytesMut,
    limits: &HeadLimits,
    looked: &mut usize,
) -> Result<Option<ReceivedRequest>, MalformedHead> {
    let head = match take_head(buffer, limits.max_size, looked) {
        Ok(Some(head)) => head,
        Ok(None) => {
            check_beginning(buffer, limits)?;
            return Ok(None);
        }
        // A target that is too long makes the head too long; the target is to blame.
        Err(error) => return Err(check_beginning(buffer, limits).err().unwrap_or(error)),
    };
    parse_head(&head, limits).map(Some)
}

/// What can be said before the head is complete: that its target is too long (RFC 9110 section 15.5.15).
fn check_beginning(buffer: &[u8], limits: &HeadLimits) -> Result<(), MalformedHead> {
    let line = &buffer[..memchr::memchr(b'\n', buffer).unwrap_or(buffer.len())];
    let is_too_long = line.len() > limits.max_target
        && line.split(|byte| *byte == b' ').nth(1).is_some_and(|target| target.len() > limits.max_target);
    if is_too_long { Err(TARGET_TOO_LONG) } else { Ok(()) }
}

pub(super) const TARGET_TOO_LONG: MalformedHead =
    MalformedHead::new(StatusCode::URI_TOO_LONG, "the target is longer than allowed");

pub(super) const METHOD_NOT_OFFERED: MalformedHead =
    MalformedHead::new(StatusCode::NOT_IMPLEMENTED, "the methods CONNECT and TRACE are not offered here");

fn parse_head(head: &Bytes, limits: &HeadLimits) -> Result<ReceivedRequest, MalformedHead> {
    let mut target = None;
    let (method, version, mut fields) = with_room(limits.max_fields, |room| {
        let mut parsed = httparse::Request::new(&mut []);
        parsed.parse_with_uninit_headers(head, room)?;
        target = parsed.path.map(|path| head.slice_ref(path.as_bytes()));
        let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes());
        Ok((method, parsed.version, header_map(head, parsed.headers, 0)))
    })
    .map_err(|error| of_version(error, head))
    .and_then(|(method, version, headers)| Ok((method, version, headers?)))?;
    let method = method.map_err(|_| MalformedHead::bad("the method is no token"))?;
    let version = if version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    if matches!(method, Method::CONNECT | Method::TRACE) {
        return Err(METHOD_NOT_OFFERED);
    }
    let uri = check_target(&method, target.unwrap_or_default(), limits)?;
    check_host(&mut fields.map, &uri, version)?;
    let length = request_length(&fields.map, fields.known, version)?;
    let persistence = Persistence::said_by(version, &fields);
    let is_waiting_for_continue = fields.known.has(KnownField::Expect) && expectation(&fields.map, version)?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = fields.map;
    Ok(ReceivedRequest { request, length, persistence, is_waiting_for_continue })
}

/// A version that HTTP could have, and that is not spoken here, is 505 (RFC 9110 section 15.6.6); anything else is no HTTP.
fn of_version(error: httparse::Error, head: &[u8]) -> MalformedHead {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    match line.rsplit(|byte| *byte == b' ').next() {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if error == httparse::Error::Version
                && major.is_ascii_digit()
                && minor.is_ascii_digit()
                // With a space too many, what stands where the version should is none, however good the last word is.
                && !matches!((major, minor), (b'1', b'0' | b'1')) =>
        {
            MalformedHead::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "the version is not HTTP/1.0 or HTTP/1.1")
        }
        _ => malformed(error),
    }
}

/// Origin form, absolute form of http and https, and `*` for OPTIONS alone (RFC 9112 section 3.2).
fn check_target(method: &Method, target: Bytes, limits: &HeadLimits) -> Result<Uri, MalformedHead> {
    if target.len() > limits.max_target {
        return Err(TARGET_TOO_LONG);
    }
    // A fragment never goes over the wire, and the URI type would drop one silently.
    if target.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
        return Err(MalformedHead::bad("the target has characters that no target has"));
    }
    let is_origin = target.starts_with(b"/");
    let is_asterisk = target.as_ref() == b"*";
    let uri = Uri::from_maybe_shared(target).map_err(|_| MalformedHead::bad("the target is no URI"))?;
    if is_origin || (is_asterisk && *method == Method::OPTIONS) {
        return Ok(uri);
    }
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => match check_authority(authority.as_str().as_bytes()) {
            Ok(()) => Ok(uri),
            Err(_) => Err(MalformedHead::bad("the target's authority is not a host with at most a port")),
        },
        _ => Err(MalformedHead::bad("the target is neither a path nor a URI of http or https")),
    }
}

/// Exactly one `Host` that is an authority, at most one in HTTP/1.0 (RFC 9112 section 3.2); a target's own authority takes its place.
fn check_host(headers: &mut HeaderMap, uri: &Uri, version: Version) -> Result<(), MalformedHead> {
    let hosts = {
        let mut hosts = values(headers, &HOST);
        (hosts.next(), hosts.next())
    };
    match hosts {
        (_, Some(_)) => return Err(MalformedHead::bad("there is more than one host header")),
        (None, None) if version == Version::HTTP_11 => return Err(MalformedHead::bad("there is no host header")),
        (Some(host), None) if check_authority(host.as_bytes()).is_err() => {
            return Err(MalformedHead::bad("the host header is not a host with at most a port"));
        }
        _ => {}
    }
    if let Some(authority) = uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| MalformedHead::bad("the target is no URI"))?;
        headers.insert(HOST, host);
    }
    Ok(())
}

fn request_length(headers: &HeaderMap, known: KnownFields, version: Version) -> Result<BodyLength, MalformedHead> {
    let length = if known.has(KnownField::ContentLength) { content_length(headers)? } else { None };
    if known.has(KnownField::TransferEncoding) && is_chunked(headers, version)? {
        // RFC 9112 section 6.1 lets a server take the chunks. Nobody honest sends both.
        if length.is_some() {
            return Err(MalformedHead::bad("there are both content-length and transfer-encoding"));
        }
        return Ok(BodyLength::Chunked);
    }
    Ok(length.map_or(BodyLength::None, BodyLength::Known))
}

/// Whether the client waits for `100 Continue`. What else it may expect cannot be met: 417 (RFC 9110 section 10.1.1). In HTTP/1.0 an expectation
/// says nothing.
fn expectation(headers: &HeaderMap, version: Version) -> Result<bool, MalformedHead> {
    if version < Version::HTTP_11 {
        return Ok(false);
    }
    if tokens(headers, &EXPECT).all(|token| token.eq_ignore_ascii_case(b"100-continue")) {
        return Ok(true);
    }
    Err(MalformedHead::new(StatusCode::EXPECTATION_FAILED, "the only expectation that can be met is `100-continue`"))
}

impl Persistence {
    /// What the sender of a message says of its connection (RFC 9112 section 9.3).
    pub(super) fn said_by(version: Version, fields: &Fields) -> Self {
        let (mut closes, mut keeps) = (fields.closes, fields.keeps);
        if fields.known.has(KnownField::Connection) {
            for token in tokens(&fields.map, &CONNECTION) {
                closes |= token.eq_ignore_ascii_case(b"close");
                keeps |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        match (closes, version) {
            (true, _) => Self::Close,
            (false, Version::HTTP_11) => Self::KeepAlive,
            (false, _) if keeps => Self::KeepAlive,
            (false, _) => Self::Close,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ReceivedRequest, u16> {
        let mut buffer = BytesMut::from(text);
        let parsed = parse_request(&mut buffer, &HeadLimits::default()).map_err(|error| error.status().as_u16())?;
        parsed.ok_or(0)
    }

    #[test]
    fn a_request_is_read_with_its_framing_and_what_follows_stays() {
        let mut buffer = BytesMut::from("\r\nPOST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET");
        let read = parse_request(&mut buffer, &HeadLimits::default()).unwrap().unwrap();
        assert_eq!(read.request.method(), Method::POST);
        assert_eq!(read.request.uri(), "/a?b=c");
        assert_eq!(read.request.headers()[HOST], "x");
        assert_eq!((read.length, read.persistence), (BodyLength::Known(3), Persistence::KeepAlive));
        assert_eq!(&buffer[..], b"abcGET");
    }

    #[test]
    fn nothing_is_taken_before_the_end_of_a_head() {
        let whole = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for end in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..end]);
            assert!(parse_request(&mut buffer, &HeadLimits::default()).unwrap().is_none(), "{end}");
            assert_eq!(buffer.len(), end);
        }
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_what_it_is_whole() {
        for text in [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "\r\nPOST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n",
            "GET / HTTP/1.1\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        ] {
            let (mut buffer, mut looked) = (BytesMut::new(), 0);
            let piecewise = text.bytes().find_map(|byte| {
                buffer.extend_from_slice(&[byte]);
                go_on_parsing_request(&mut buffer, &HeadLimits::default(), &mut looked).transpose()
            });
            let piecewise = piecewise.expect("an end").map_err(|error| error.status().as_u16());
            let told = |read: Result<ReceivedRequest, u16>| read.map(|read| (read.request.uri().clone(), read.length));
            assert_eq!(told(piecewise), told(parse(text)), "{text:?}");
            assert_eq!(looked, 0, "{text:?}");
        }
    }

    #[test]
    fn an_absolute_target_takes_the_place_of_the_host() {
        let read = parse("GET http://b:81/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(read.request.headers()[HOST], "b:81");
        assert_eq!(read.request.uri().path(), "/x");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let with = |line: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n");
        for (line, status) in [
            ("content-length: 3\r\ntransfer-encoding: chunked", 400),
            ("content-length: 3\r\ncontent-length: 3", 400),
            ("transfer-encoding: gzip, chunked", 501),
            ("transfer-encoding: chunked, chunked", 400),
            ("host: b", 400),
            ("x : y", 400),
            ("x: a\r\n folded", 400),
            ("x: a\nb: c", 400),
            ("x: a\rb", 400),
            ("x: a\0b", 400),
            (": y", 400),
            ("expect: 200-ok", 417),
        ] {
            assert_eq!(parse(&with(line)).unwrap_err(), status, "{line:?}");
        }
        for (head, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 505),
            ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
            ("GET /\r\nhost: a\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
            ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 501),
            ("GET / HTTP/1.1\nhost: a\n\n", 400),
            ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        ] {
            assert_eq!(parse(head).unwrap_err(), status, "{head:?}");
        }
        assert!(parse("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").is_ok());
        assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn heads_and_targets_have_limits_of_their_own_words() {
        let limits = HeadLimits { max_size: 256, max_target: 64, max_fields: 2 };
        let status = |text: String| {
            parse_request(&mut BytesMut::from(text.as_str()), &limits).map(|_| ()).map_err(|error| error.status().as_u16())
        };
        assert_eq!(status(format!("GET /{} HTTP/1.1\r\n", "a".repeat(64))), Err(414));
        assert_eq!(status(format!("GET /{}", "a".repeat(500))), Err(414));
        assert_eq!(status(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(300))), Err(431));
        assert_eq!(status("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\ny: 2\r\n\r\n".into()), Err(431));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse_request(&mut BytesMut::from(&bytes[..]), &HeadLimits::default());
        }

        /// Whatever is accepted can be written and is read as the same.
        #[test]
        fn what_is_accepted_is_one_message(lines in proptest::collection::vec("[ -~]{0,20}", 0..6)) {
            let text = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n\r\n", lines.join("\r\n"));
            if let Ok(Some(read)) = parse_request(&mut BytesMut::from(text.as_str()), &HeadLimits::default()) {
                let mut written = BytesMut::new();
                let mut writer = super::super::RequestWriter::begin(&mut written, read.request.method(), &["/"]).unwrap();
                for (name, value) in read.request.headers() {
                    writer.field(name, value);
                }
                writer.end(read.length);
                let again = parse_request(&mut written, &HeadLimits::default()).unwrap().unwrap();
                prop_assert_eq!(again.length, read.length);
            }
        }
    }
}
