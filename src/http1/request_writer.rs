//! Writing the head of a request, piece by piece: its fields come from several places, and none of them is copied into a map first.

use std::fmt::{Display, Write as _};

use bytes::{BufMut as _, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method};

use super::encode::{put_field, put_framing};
use super::length::BodyLength;
use crate::model::HopText;

/// The head of a request that is being written. What frames the body is written by [`end`](Self::end) alone.
#[derive(Debug)]
pub struct RequestWriter<'b> {
    into: &'b mut BytesMut,
}

/// The target has a space, a control character or a fragment: written, it would be another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has a space, a control character or a fragment")]
pub struct InvalidTarget;

/// The text has characters that no value of a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has characters that no value of a header has")]
pub struct InvalidText;

impl<'b> RequestWriter<'b> {
    /// Begins a request for the target whose parts these are: a path with its query, or `*` (RFC 9112 section 3.2).
    ///
    /// # Errors
    /// The target cannot be written. Then nothing was.
    pub fn begin(into: &'b mut BytesMut, method: &Method, target: &[&str]) -> Result<Self, InvalidTarget> {
        let is_fine = |byte: u8| byte > b' ' && byte != 0x7f && byte != b'#';
        if !target.iter().all(|part| part.bytes().all(is_fine)) {
            return Err(InvalidTarget);
        }
        into.put_slice(method.as_str().as_bytes());
        into.put_u8(b' ');
        for part in target {
            into.put_slice(part.as_bytes());
        }
        into.put_slice(b" HTTP/1.1\r\n");
        Ok(Self { into })
    }

    /// Begins a request with this line, of our own: method, target and version.
    pub fn begin_with(into: &'b mut BytesMut, line: &'static str) -> Self {
        into.put_slice(line.as_bytes());
        into.put_slice(b"\r\n");
        Self { into }
    }

    /// Writes a field, unless it would frame the body.
    pub fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            put_field(self.into, name.as_str(), value.as_bytes());
        }
    }

    /// Writes a field whose name is our own, in lower case, and frames no body.
    pub fn own_field(&mut self, name: &'static str, value: &HopText) {
        put_field(self.into, name, value.as_bytes());
    }

    /// Writes a field under its name behind a prefix, in lower case, with which no name frames a body.
    pub fn prefixed_field(&mut self, prefix: &'static str, name: &HeaderName, value: &HeaderValue) {
        self.into.put_slice(prefix.as_bytes());
        put_field(self.into, name.as_str(), value.as_bytes());
    }

    /// Writes a field with this text as its value.
    ///
    /// # Errors
    /// The text is more than visible ASCII characters, spaces and tabs (RFC 9110 section 5.5). Then nothing was written.
    pub fn text(&mut self, name: &HeaderName, text: impl Display) -> Result<(), InvalidText> {
        let before = self.into.len();
        self.into.put_slice(name.as_str().as_bytes());
        self.into.put_slice(b": ");
        let value = self.into.len();
        let written = write!(self.into, "{text}");
        if written.is_err() || !is_text(&self.into[value..]) {
            self.into.truncate(before);
            return Err(InvalidText);
        }
        self.into.put_slice(b"\r\n");
        Ok(())
    }

    /// The same with a text that is there.
    ///
    /// # Errors
    /// As those of [`Self::text`].
    pub fn bytes(&mut self, name: &HeaderName, text: &[u8]) -> Result<(), InvalidText> {
        if !is_text(text) {
            return Err(InvalidText);
        }
        put_field(self.into, name.as_str(), text);
        Ok(())
    }

    /// Ends the head, with what frames a body of this length.
    pub fn end(self, length: BodyLength) {
        put_framing(self.into, length);
        self.into.put_slice(b"\r\n");
    }
}

/// Looks at all of it, also when it has found something: so it is many bytes at a time.
fn is_text(value: &[u8]) -> bool {
    value.iter().fold(true, |is_text, byte| is_text & ((*byte == b'\t') | (b' '..0x7f).contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, HOST};

    #[test]
    fn a_request_is_its_line_its_fields_and_its_framing() {
        let mut into = BytesMut::new();
        let mut writer = RequestWriter::begin(&mut into, &Method::POST, &["/call/", "greet", "?a=%20"]).unwrap();
        writer.text(&HOST, "a:1").unwrap();
        writer.field(&ACCEPT, &HeaderValue::from_static("*/*"));
        writer.field(&CONTENT_LENGTH, &HeaderValue::from_static("99"));
        writer.end(BodyLength::Known(3));
        assert_eq!(into, "POST /call/greet?a=%20 HTTP/1.1\r\nhost: a:1\r\naccept: */*\r\ncontent-length: 3\r\n\r\n");
    }

    #[test]
    fn nothing_that_is_written_can_become_two_requests() {
        let mut into = BytesMut::new();
        for target in ["/a b", "/a\r\nx: y", "/a#b", "/\0", "/\u{7f}"] {
            assert_eq!(RequestWriter::begin(&mut into, &Method::GET, &[target]).unwrap_err(), InvalidTarget, "{target:?}");
        }
        let mut writer = RequestWriter::begin(&mut into, &Method::GET, &["/"]).unwrap();
        for text in ["a\r\nb: c", "a\nb", "\0", "naïve"] {
            assert_eq!(writer.text(&HOST, text), Err(InvalidText), "{text:?}");
            assert_eq!(writer.bytes(&HOST, text.as_bytes()), Err(InvalidText), "{text:?}");
        }
        writer.end(BodyLength::None);
        assert_eq!(into, "GET / HTTP/1.1\r\n\r\n");
    }
}
