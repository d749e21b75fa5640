//! Identifiers of calls and requests.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::model::CallId;
use crate::protocol::headers::REQUEST_ID;
use crate::telemetry::turn;

/// A new call id.
pub(super) fn new_call_id() -> CallId {
    let since_1970 = turn::wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    // A ULID keeps 80 bits of it.
    CallId::from_parts(timestamp_ms, rand::random::<u128>() >> 48)
}

/// The longest request id that is taken from a client: it is written into every log.
const MAX_REQUEST_ID: usize = 128;

/// A call's id as the value of a header.
pub(super) fn id_value(call_id: CallId) -> HeaderValue {
    // One block of memory, however many share it. Twenty-six base 32 digits are always a value.
    let digits = Bytes::from_owner(call_id.digits());
    HeaderValue::from_maybe_shared(digits).unwrap_or(HeaderValue::from_static(""))
}

/// The client's request id, if it sent one that is fit for a log line (visible ASCII, at most 128 characters); else the call's id.
pub(super) fn request_id(headers: &HeaderMap, call_id: &HeaderValue) -> HeaderValue {
    let fits = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_REQUEST_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(fits).unwrap_or(call_id).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_request_id_is_kept_only_if_it_is_fit_for_a_log() {
        let call_id = id_value(new_call_id());
        let id = |value: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&headers, &call_id)
        };
        assert_eq!(id(b"abc-1"), "abc-1");
        for wrong in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(id(wrong), call_id);
        }
        assert_eq!(request_id(&HeaderMap::new(), &call_id), call_id);
    }
}
