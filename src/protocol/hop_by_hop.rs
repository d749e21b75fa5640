//! Headers that belong to one connection and must not pass through a proxy.

use http::header::{CONNECTION, HeaderMap, HeaderName, TE};

use super::known_fields::{KnownField, KnownFields};

/// Names that a `Connection` header cannot take away: without them the message would mean something else.
const PROTECTED: [HeaderName; 4] =
    [http::header::HOST, http::header::CONTENT_LENGTH, http::header::AUTHORIZATION, http::header::CONTENT_TYPE];

/// Removes the fixed hop-by-hop headers and those that `Connection` names (RFC 9110 section 7.6.1). `TE: trailers` is kept,
/// as gRPC needs it and it says nothing about the connection.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_known_hop_by_hop(headers, KnownFields::of(headers));
}

/// The same, where it is known which fields there are.
pub fn remove_known_hop_by_hop(headers: &mut HeaderMap, known: KnownFields) {
    if !known.has_any(KnownFields::HOP_BY_HOP) {
        return;
    }
    if known.has_only(KnownFields::HOP_BY_HOP, KnownField::Connection) && lists_nothing(headers) {
        headers.remove(CONNECTION);
        return;
    }
    let wants_trailers = headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if known.has(KnownField::Connection) {
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
    remove_those_of(headers, KnownFields::HOP_BY_HOP);
    if wants_trailers {
        headers.insert(TE, http::HeaderValue::from_static("trailers"));
    }
}

/// Whether `Connection` says no more than whether the connection goes on. Heads that `http1` has read have no such field left.
fn lists_nothing(headers: &HeaderMap) -> bool {
    let mut values = headers.iter().filter(|(name, _)| *name == CONNECTION).map(|(_, value)| value.as_bytes());
    values.all(|value| value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close"))
}

/// Removes the headers that only runpool itself may write, and those that look like them to a worker, so that neither a client nor a function can forge them.
pub fn remove_internal(headers: &mut HeaderMap) {
    if KnownFields::of(headers).has_any(KnownFields::INTERNAL) {
        remove_those_of(headers, KnownFields::INTERNAL);
    }
}

fn remove_those_of(headers: &mut HeaderMap, set: KnownFields) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| KnownFields::default().and(name).has_any(set)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
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
    fn a_connection_that_only_goes_on_or_ends_is_said_to_nobody_and_takes_nothing_along() {
        for value in ["keep-alive", "Close"] {
            let mut map = headers(&[("connection", value), ("close", "stays"), ("accept", "*/*")]);
            map.append("connection", HeaderValue::from_static("keep-alive"));
            remove_hop_by_hop(&mut map);
            assert_eq!((map.len(), map.contains_key("close"), map.contains_key("accept")), (2, true, true));
        }
        let mut map = headers(&[("connection", "keep-alive"), ("x-secret", "1")]);
        map.append("connection", HeaderValue::from_static("x-secret"));
        remove_hop_by_hop(&mut map);
        assert!(map.is_empty(), "what any line of it lists goes");
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

    #[test]
    fn underscores_forge_nothing_either() {
        let mut map = headers(&[
            ("x_forwarded_for", "10.0.0.1"),
            ("runpool_function", "x"),
            ("runpool-call_id", "x"),
            ("content_length", "7"),
            ("my_field", "stays"),
        ]);
        remove_internal(&mut map);
        assert_eq!(map.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["my_field"]);
    }
}
