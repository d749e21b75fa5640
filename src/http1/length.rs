//! How long a body is, and the headers that say so (RFC 9112 section 6).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::head::{MalformedHead, values};

/// Where the end of a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// After so many bytes.
    Known(u64),
    /// After the last chunk.
    Chunked,
    /// Where the connection ends; answers only.
    UntilClose,
}

impl BodyLength {
    /// Whether there is nothing to read.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Known(0))
    }

    /// The length in bytes, if it is known.
    pub const fn exact(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Known(length) => Some(length),
            Self::Chunked | Self::UntilClose => None,
        }
    }
}

/// The one number of `Content-Length`; `None` without the header.
///
/// Several of them are refused even if they agree: RFC 9112 section 6.3 allows to take them as one or to refuse, and who takes them as one
/// passes on what somebody else reads differently.
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, MalformedHead> {
    let mut lengths = values(headers, &CONTENT_LENGTH);
    let Some(value) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(MalformedHead::bad("there is more than one content-length"));
    }
    number(value).map(Some).ok_or_else(|| MalformedHead::bad("the content-length is not one decimal number"))
}

/// Digits only: no sign, no space, no list (RFC 9110 section 8.6).
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Whether the body comes in chunks: the one coding that is understood here. Others may be named by RFC 9112 section 6.1 and are refused with 501,
/// which is what that section says of codings that are not understood.
pub(super) fn is_chunked(headers: &HeaderMap, version: Version) -> Result<bool, MalformedHead> {
    let mut codings = values(headers, &TRANSFER_ENCODING);
    let Some(value) = codings.next() else { return Ok(false) };
    if version < Version::HTTP_11 {
        return Err(MalformedHead::bad("HTTP/1.0 has no transfer-encoding"));
    }
    if codings.next().is_some() {
        return Err(MalformedHead::bad("there is more than one transfer-encoding"));
    }
    let coding = value.as_bytes();
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let last = coding.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    let others = coding.split(|byte| *byte == b',').filter(|name| !name.trim_ascii().eq_ignore_ascii_case(b"chunked")).count();
    if coding.trim_ascii().is_empty() || !last.eq_ignore_ascii_case(b"chunked") || others == 0 {
        return Err(MalformedHead::bad("the transfer-encoding is not `chunked`, so that the end of the body is unknown"));
    }
    Err(MalformedHead::new(StatusCode::NOT_IMPLEMENTED, "the only transfer-encoding understood here is `chunked`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: http::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_length_is_one_number_in_digits() {
        let length = |values: &[&'static str]| content_length(&map(CONTENT_LENGTH, values)).ok();
        assert_eq!(length(&[]), Some(None));
        assert_eq!(length(&["0"]), Some(Some(0)));
        assert_eq!(length(&["0042"]), Some(Some(42)));
        assert_eq!(length(&["18446744073709551615"]), Some(Some(u64::MAX)));
        for wrong in ["", "+5", "-5", "0x5", "5 5", "5,5", "5, 5", "five", "18446744073709551616"] {
            assert_eq!(length(&[wrong]), None, "{wrong}");
        }
        assert_eq!(length(&["5", "5"]), None);
        assert_eq!(length(&["5", "6"]), None);
    }

    #[test]
    fn chunked_is_the_only_coding_and_stands_alone() {
        let coding = |values: &[&'static str], version| {
            is_chunked(&map(TRANSFER_ENCODING, values), version).map_err(|error| error.status().as_u16())
        };
        assert_eq!(coding(&[], Version::HTTP_11), Ok(false));
        assert_eq!(coding(&["chunked"], Version::HTTP_11), Ok(true));
        assert_eq!(coding(&["Chunked"], Version::HTTP_11), Ok(true));
        assert_eq!(coding(&["gzip, chunked"], Version::HTTP_11), Err(501));
        for wrong in ["", "gzip", "chunked, chunked", "chunked, gzip", "chunked,", "xchunked", "chunked;q=1", "identity"] {
            assert_eq!(coding(&[wrong], Version::HTTP_11), Err(400), "{wrong}");
        }
        assert_eq!(coding(&["chunked", "chunked"], Version::HTTP_11), Err(400));
        assert_eq!(coding(&["chunked"], Version::HTTP_10), Err(400));
    }
}
