//! The body of a message, as it is read.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunk_size::size_line;
use super::head::{MalformedHead, header_map, malformed, take_head};
use super::length::BodyLength;

/// Takes one body out of what is read of a connection.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of chunk extensions that may still come.
    extensions_left: usize,
}

/// | state | what comes | next |
/// |---|---|---|
/// | known(n) | data | known(n - length), end at 0 |
/// | chunk size | a size above 0 | chunk data |
/// | chunk size | 0 | trailers |
/// | chunk data(n) | data | chunk data(n - length), chunk end at 0 |
/// | chunk end | CRLF | chunk size |
/// | trailers | fields and an empty line | end |
/// | until close | data | until close |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Known(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    End,
}

/// What came next of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Some of it; never empty.
    Data(Bytes),
    /// Fields after it; the end follows.
    Trailers(HeaderMap),
    /// It is over.
    End,
    /// Nothing until more was read.
    NeedMore,
}

/// The body is not framed as it was announced, or broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodySyntaxError {
    /// A chunk does not begin with its size in hexadecimal digits, or is not ended by CRLF (RFC 9112 section 7.1).
    #[error("a chunk of the body is broken: expected its size in hexadecimal digits and CRLF")]
    Chunk,
    /// More chunk extensions than anybody needs.
    #[error("the chunks of the body have longer extensions than allowed")]
    Extensions,
    /// The fields after the body are none, or too large.
    #[error("the trailers of the body are broken: {0}")]
    Trailers(&'static str),
    /// The connection ended before the body.
    #[error("the body broke off before its end")]
    CutShort,
}

/// The longest extension of one chunk.
const LONGEST_EXTENSION: usize = 1_024;
/// All chunk extensions of a body together.
const MOST_EXTENSIONS: usize = 16 * 1024;
/// The longest trailers.
const LONGEST_TRAILERS: usize = 16 * 1024;
/// The most fields in them.
const MOST_TRAILERS: usize = 64;

impl BodyDecoder {
    /// A decoder of a body of this length.
    pub const fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Known(0) => State::End,
            BodyLength::Known(length) => State::Known(length),
            BodyLength::Chunked => State::ChunkSize,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, extensions_left: MOST_EXTENSIONS }
    }

    /// Whether all of the body was taken.
    pub const fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// How many bytes of data certainly follow, and whether nothing else does.
    pub const fn left(&self) -> (u64, bool) {
        match self.state {
            State::Known(left) => (left, true),
            State::End => (0, true),
            State::ChunkData(left) => (left, false),
            _ => (0, false),
        }
    }

    /// Takes what comes next off the front of `buffer`.
    ///
    /// # Errors
    /// The body is not framed as announced. Nothing more can be read of the connection then.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodySyntaxError> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Known(left) => {
                    let Some((data, left)) = take(buffer, left) else { return Ok(Decoded::NeedMore) };
                    self.state = if left == 0 { State::End } else { State::Known(left) };
                    return Ok(Decoded::Data(data));
                }
                State::UntilClose => {
                    let Some((data, _)) = take(buffer, u64::MAX) else { return Ok(Decoded::NeedMore) };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkData(left) => {
                    let Some((data, left)) = take(buffer, left) else { return Ok(Decoded::NeedMore) };
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    // If it is there already, a reader learns of the end together with the last data.
                    self.end_chunk(buffer)?;
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => {
                    self.end_chunk(buffer)?;
                    if self.state == State::ChunkEnd {
                        return Ok(Decoded::NeedMore);
                    }
                }
                State::ChunkSize => {
                    if !self.begin_chunk(buffer)? {
                        return Ok(Decoded::NeedMore);
                    }
                }
                State::Trailers => {
                    let Some(trailers) = take_trailers(buffer)? else { return Ok(Decoded::NeedMore) };
                    self.state = State::End;
                    return Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) });
                }
            }
        }
    }

    /// The connection ended after what was decoded.
    ///
    /// # Errors
    /// The body was not over.
    pub const fn close(&mut self) -> Result<(), BodySyntaxError> {
        match self.state {
            State::End | State::UntilClose => {
                self.state = State::End;
                Ok(())
            }
            _ => Err(BodySyntaxError::CutShort),
        }
    }

    fn end_chunk(&mut self, buffer: &mut BytesMut) -> Result<(), BodySyntaxError> {
        if self.state != State::ChunkEnd {
            return Ok(());
        }
        match **buffer {
            [b'\r', b'\n', ..] => {
                let _ = buffer.split_to(2);
                self.state = State::ChunkSize;
                if buffer.starts_with(b"0\r\n\r\n") {
                    let _ = buffer.split_to(5);
                    self.state = State::End;
                }
                Ok(())
            }
            [] | [b'\r'] => Ok(()),
            _ => Err(BodySyntaxError::Chunk),
        }
    }

    /// Takes the line of a chunk's size, if it is there.
    fn begin_chunk(&mut self, buffer: &mut BytesMut) -> Result<bool, BodySyntaxError> {
        let Some(end) = memchr::memchr(b'\n', buffer) else {
            // What can no longer become a line is refused now, so that it does not matter how it arrives.
            let (_, extension) = match buffer.strip_suffix(b"\r") {
                Some(line) => size_line(line, true),
                None => size_line(buffer, false),
            }?;
            return if extension.len() > LONGEST_EXTENSION { Err(BodySyntaxError::Extensions) } else { Ok(false) };
        };
        let line = buffer.split_to(end + 1);
        let (size, extension) = size_line(line.strip_suffix(b"\r\n").ok_or(BodySyntaxError::Chunk)?, true)?;
        self.extensions_left = match self.extensions_left.checked_sub(extension.len()) {
            Some(left) if extension.len() <= LONGEST_EXTENSION => left,
            _ => return Err(BodySyntaxError::Extensions),
        };
        let size = size.iter().fold(0_u64, |size, digit| (size << 4) | u64::from(hexadecimal(*digit)));
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(true)
    }
}

/// At most `most` bytes off the front, and what is left of `most`; `None` if there are none.
fn take(buffer: &mut BytesMut, most: u64) -> Option<(Bytes, u64)> {
    if buffer.is_empty() {
        return None;
    }
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
    let data = buffer.split_to(length).freeze();
    Some((data, most - length as u64))
}

/// The value of a digit that is known to be one.
const fn hexadecimal(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// Takes the fields after the last chunk with the empty line that ends them.
fn take_trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, BodySyntaxError> {
    match **buffer {
        [b'\r', b'\n', ..] => {
            let _ = buffer.split_to(2);
            return Ok(Some(HeaderMap::new()));
        }
        [] | [b'\r'] => return Ok(None),
        _ => {}
    }
    let wrong = |error: MalformedHead| BodySyntaxError::Trailers(error.detail());
    let Some(head) = take_head(buffer, LONGEST_TRAILERS, &mut 0).map_err(wrong)? else { return Ok(None) };
    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    match httparse::parse_headers(&head, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => header_map(&head, fields, 0).map(|fields| Some(fields.map)).map_err(wrong),
        Ok(httparse::Status::Partial) => Err(BodySyntaxError::CutShort),
        Err(error) => Err(wrong(malformed(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All of a body that comes in these pieces: its data, whether it ended, and what is left.
    fn read(length: BodyLength, pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), BodySyntaxError> {
        let (mut decoder, mut buffer, mut data) = (BodyDecoder::new(length), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                    Decoded::Trailers(_) => {}
                    Decoded::End | Decoded::NeedMore => break,
                }
            }
        }
        Ok((data, decoder.is_end(), buffer.to_vec()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says_and_takes_nothing_of_what_follows() {
        let whole = |length, text: &str| read(length, &[text.as_bytes()]).unwrap();
        assert_eq!(whole(BodyLength::None, "GET"), (vec![], true, b"GET".to_vec()));
        assert_eq!(whole(BodyLength::Known(3), "abcGET"), (b"abc".to_vec(), true, b"GET".to_vec()));
        assert_eq!(whole(BodyLength::Known(3), "ab"), (b"ab".to_vec(), false, vec![]));
        assert_eq!(whole(BodyLength::Chunked, "3\r\nabc\r\n0\r\n\r\nGET"), (b"abc".to_vec(), true, b"GET".to_vec()));
        assert_eq!(whole(BodyLength::Chunked, "03 ; a=b\r\nabc\r\n0;x\r\nt: 1\r\n\r\nG"), (b"abc".to_vec(), true, b"G".to_vec()));
        assert_eq!(whole(BodyLength::UntilClose, "abc"), (b"abc".to_vec(), false, vec![]));
    }

    #[test]
    fn a_broken_chunk_is_never_guessed_at() {
        for text in [
            "3\nabc\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n",
            "\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "+3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "g\r\n",
            "10000000000000000\r\n",
            "-1\r\n",
            "3;a\0b\r\nabc\r\n",
            "3;;\r\nabc\r\n",
            "0\r\nbroken\r\n\r\n",
            "0\r\nt: 1\n\r\n",
            "0\r\n\n",
        ] {
            assert!(read(BodyLength::Chunked, &[text.as_bytes()]).is_err(), "{text:?}");
        }
        for text in ["10000000000000000;", "3;a\0", "3;a\rb", ";", "\r", "3\rX"] {
            assert_eq!(
                read(BodyLength::Chunked, &[text.as_bytes()]),
                Err(BodySyntaxError::Chunk),
                "before its line is whole: {text:?}"
            );
        }
        let flood = format!("3;{}\r\nabc\r\n", "x".repeat(1_000)).repeat(20);
        assert_eq!(read(BodyLength::Chunked, &[flood.as_bytes()]), Err(BodySyntaxError::Extensions));
    }

    #[test]
    fn a_connection_that_ends_before_the_body_cuts_it() {
        assert_eq!(BodyDecoder::new(BodyLength::Known(1)).close(), Err(BodySyntaxError::CutShort));
        assert_eq!(BodyDecoder::new(BodyLength::Chunked).close(), Err(BodySyntaxError::CutShort));
        assert_eq!(BodyDecoder::new(BodyLength::UntilClose).close(), Ok(()));
    }

    proptest! {
        #[test]
        fn chunks_are_read_as_they_were_written_however_they_arrive(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 1_usize..30,
        ) {
            let mut wire = BytesMut::new();
            for chunk in &chunks {
                super::super::encode_chunk(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(super::super::LAST_CHUNK);
            let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
            prop_assert_eq!(read(BodyLength::Chunked, &pieces), Ok((chunks.concat(), true, vec![])));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = read(BodyLength::Chunked, &[&bytes]);
        }
    }
}
