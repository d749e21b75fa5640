//! The head of a request. What is accepted is by the letter what a careful client writes; its decision does not depend on how the bytes
//! arrive; and what is written of it is read as the same message.

use bytes::BytesMut;
use http::{Method, Version};
use runpool::http1::{BodyLength, HeadLimits, ReceivedRequest, RequestWriter, check_authority, parse_request};

const LIMITS: HeadLimits = HeadLimits { max_size: 2_048, max_target: 256, max_fields: 20 };

pub fn hold(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let whole = parse_request(&mut buffer, &LIMITS);
    // A decision about a part of the bytes is the decision about all of them.
    for end in (0..bytes.len()).rev().take(64).chain(0..bytes.len().min(64)) {
        match (parse_request(&mut BytesMut::from(&bytes[..end]), &LIMITS), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(part)), Ok(Some(whole))) => assert!(is_same(&part, whole), "{:?}", bytes.escape_ascii().to_string()),
            (part, whole) => panic!("{part:?} of {end} bytes, but {whole:?} of {:?}", bytes.escape_ascii().to_string()),
        }
    }
    let Ok(Some(read)) = whole else { return };
    let taken = &bytes[..bytes.len() - buffer.len()];
    is_careful(taken.strip_prefix(b"\r\n").unwrap_or(taken));
    let (request, headers) = (&read.request, read.request.headers());
    assert!(taken.len() <= LIMITS.max_size + 4 && headers.len() <= LIMITS.max_fields);
    assert!(!matches!(*request.method(), Method::CONNECT | Method::TRACE));
    let hosts: Vec<_> = headers.get_all("host").iter().collect();
    assert!(hosts.len() == 1 || (hosts.is_empty() && request.version() == Version::HTTP_10));
    assert!(hosts.iter().all(|host| check_authority(host.as_bytes()).is_ok()));
    if let Some(authority) = request.uri().authority() {
        assert_eq!(hosts[0].as_bytes(), authority.as_str().as_bytes());
    }
    match read.length {
        BodyLength::None => assert!(!headers.contains_key("content-length") && !headers.contains_key("transfer-encoding")),
        BodyLength::Known(length) => {
            assert!(!headers.contains_key("transfer-encoding"));
            let values: Vec<_> = headers.get_all("content-length").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values.iter().map(|value| value.parse::<u64>()).collect::<Vec<_>>(), [Ok(length)]);
        }
        BodyLength::Chunked => assert!(!headers.contains_key("content-length")),
        BodyLength::UntilClose => panic!("a request has an end"),
    }
    goes_on_as_it_was(&read);
}

fn is_same(one: &ReceivedRequest, other: &ReceivedRequest) -> bool {
    let facts = |read: &ReceivedRequest| {
        let request = &read.request;
        (request.method().clone(), request.uri().clone(), request.version(), request.headers().clone(), read.length)
    };
    facts(one) == facts(other)
}

/// What a proxy would write of it is one message, and the same.
fn goes_on_as_it_was(read: &ReceivedRequest) {
    let request = &read.request;
    let target = match request.uri().path() {
        "*" => "*",
        _ => request.uri().path_and_query().map_or("/", |target| target.as_str()),
    };
    // Without a path, a query stands alone.
    let target = if target.starts_with('?') { format!("/{target}") } else { target.to_owned() };
    let mut headers = request.headers().clone();
    headers.entry("host").or_insert_with(|| "a".parse().unwrap());
    headers.remove("expect");
    headers.remove("connection");
    let mut written = BytesMut::new();
    let Ok(mut writer) = RequestWriter::begin(&mut written, request.method(), &[&target]) else {
        panic!("{target:?} was read as a target and cannot be written");
    };
    for (name, value) in &headers {
        writer.field(name, value);
    }
    writer.end(read.length);
    is_careful(&written);
    let shown = written.escape_ascii().to_string();
    let limits = HeadLimits { max_size: 8_192, max_fields: 30, ..LIMITS };
    let again = parse_request(&mut written, &limits).unwrap_or_else(|error| panic!("{error}: {shown}")).expect("a whole head");
    assert!(written.is_empty(), "{shown}");
    assert_eq!((again.request.method(), again.length), (request.method(), read.length), "{shown}");
    for name in headers.keys() {
        let values = |map: &http::HeaderMap| map.get_all(name).iter().cloned().collect::<Vec<_>>();
        // A length is written as a number, without zeros before it.
        if name != "content-length" && name != "transfer-encoding" {
            assert_eq!(values(again.request.headers()), values(&headers), "{shown}");
        }
    }
}

/// Lines that end with CRLF, three words in the first one, and fields with a token, a colon and no control characters.
fn is_careful(head: &[u8]) {
    let shown = || head.escape_ascii().to_string();
    let lines = head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no end of a head: {}", shown()));
    let text: Vec<&[u8]> = split_lines(lines);
    assert!(!text.iter().any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'))), "{}", shown());
    assert_eq!(text[0].split(|byte| *byte == b' ').count(), 3, "{}", shown());
    for line in &text[1..] {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or_else(|| panic!("no colon: {}", shown()));
        assert!(colon > 0 && line[..colon].iter().all(|byte| is_token(*byte)), "{}", shown());
        assert!(line[colon..].iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)), "{}", shown());
    }
}

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
