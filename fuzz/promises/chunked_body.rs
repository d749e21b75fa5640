//! A body in chunks. It is read as the same however it arrives; it ends only where a reader that follows the grammar by the letter sees its end; and
//! what is written is read again.
//!
//! The first byte says in pieces of which length the rest arrives.

use bytes::BytesMut;
use runpool::http1::{BodyDecoder, BodyLength, BodySyntaxError, Decoded, LAST_CHUNK, encode_chunk};

/// The data of a body that ended, and how many bytes it took.
type Whole = (Vec<u8>, usize);

pub fn hold(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let shown = || bytes.escape_ascii().to_string();
    let at_once = decode([bytes].into_iter());
    let piecewise = decode(bytes.chunks(usize::from(*piece).max(1)));
    match (&at_once, &piecewise) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(at_once, piecewise, "{}", shown()),
    }
    let Ok(Some((data, taken))) = at_once else { return };
    assert_eq!(by_the_letter(bytes), Some((data.clone(), taken)), "{}", shown());
    let mut written = BytesMut::new();
    for chunk in data.chunks(usize::from(*piece).max(1)) {
        encode_chunk(&mut written, chunk.len());
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(LAST_CHUNK);
    assert_eq!(decode([&written[..]].into_iter()), Ok(Some((data, written.len()))));
}

/// The body, if it ended within these pieces.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<Whole>, BodySyntaxError> {
    let (mut decoder, mut buffer, mut data, mut came) = (BodyDecoder::new(BodyLength::Chunked), BytesMut::new(), Vec::new(), 0);
    let mut is_over = false;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        while !is_over {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(&bytes);
                }
                Decoded::Trailers(_) => {}
                Decoded::End => is_over = true,
                Decoded::NeedMore => break,
            }
        }
    }
    assert_eq!(decoder.close().is_ok(), is_over);
    Ok(is_over.then_some((data, came - buffer.len())))
}

/// RFC 9112 section 7.1, without a thought for speed, limits or parts.
fn by_the_letter(bytes: &[u8]) -> Option<Whole> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let line = line(bytes, at)?;
        at += line.len() + 2;
        let size = line.split(|byte| *byte == b';').next()?;
        let size = str::from_utf8(size).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let line = line(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some((data, at));
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if colon == 0 || !line[..colon].iter().all(is_token) {
            return None;
        }
    }
}

/// What stands from `at` to the next CRLF; nothing if a control character stands before it.
fn line(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let line = &rest[..rest.windows(2).position(|pair| pair == b"\r\n")?];
    line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)).then_some(line)
}
