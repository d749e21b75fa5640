//! Headers that belong to one connection and must not pass through a proxy.

use http::header::{CONNECTION, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};

use super::headers::{INTERNAL_PREFIX, RETRY_AFTER_MS};

/// Always hop-by-hop, named in `Connection` or not (RFC 9110 section 7.6.1, and the historical `Keep-Alive` and `Proxy-*`).
const FIXED: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    // Goes with `Upgrade: h2c` (RFC 9113 section 3.1), which no longer exists.
    HeaderName::from_static("http2-settings"),
];

/// Names that a `Connection` header cannot take away: without them the message would mean something else.
const PROTECTED: [HeaderName; 4] =
    [http::header::HOST, http::header::CONTENT_LENGTH, http::header::AUTHORIZATION, http::header::CONTENT_TYPE];

/// Removes the fixed hop-by-hop headers and those that `Connection` names (RFC 9110 section 7.6.1). `TE: trailers` is kept,
/// as gRPC needs it and it says nothing about the connection.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let wants_trailers = headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| !PROTECTED.contains(name))
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in FIXED {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, http::HeaderValue::from_static("trailers"));
    }
}

/// Removes the headers that only runpool itself may write, so that neither a client nor a function can forge them.
pub fn remove_internal(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(INTERNAL_PREFIX)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    headers.remove(RETRY_AFTER_MS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn listed_and_fixed_hop_by_hop_headers_go_and_the_rest_stays() {
        let mut map = headers(&[
            ("connection", "x-secret, Keep-Alive, host, content-length"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("te", "gzip"),
            ("host", "a"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn te_trailers_is_kept() {
        let mut map = headers(&[("te", "trailers")]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map.get("te").unwrap(), "trailers");
    }

    #[test]
    fn nobody_can_forge_a_refusal_or_a_digest() {
        let mut map =
            headers(&[("runpool-refused", "busy"), ("runpool-function", "x"), ("retry-after-ms", "1"), ("retry-after", "1")]);
        remove_internal(&mut map);
        assert_eq!(map.len(), 1);
    }
}
