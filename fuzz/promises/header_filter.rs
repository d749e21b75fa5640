//! What belongs to a connection, and what only runpool may say, does not pass; what a message needs does; and all the rest does as it was.
//!
//! The bytes are the fields of a message, a line each.

use http::{HeaderMap, HeaderName, HeaderValue};
use runpool::protocol::{remove_hop_by_hop, remove_internal};

/// Gone whatever else is said.
const GONE: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Stays whatever else is said.
const STAYS: [&str; 4] = ["host", "content-length", "authorization", "content-type"];

/// Of the rest, what is changed or gone.
const MAY_GO: [&str; 2] = ["te", "retry-after-ms"];

pub fn hold(bytes: &[u8]) {
    let before: HeaderMap = bytes.split(|byte| *byte == b'\n').take(200).filter_map(field).collect();
    let mut after = before.clone();
    remove_hop_by_hop(&mut after);
    remove_internal(&mut after);
    for name in GONE {
        assert!(!after.contains_key(name), "{name} passed: {before:?}");
    }
    assert!(after.get_all("te").iter().all(|value| value == "trailers"), "{before:?}");
    assert!(!after.keys().any(|name| name.as_str().starts_with("runpool-")), "{before:?}");
    for name in STAYS {
        assert_eq!(values(&before, name), values(&after, name), "{name}: {before:?}");
    }
    let listed: Vec<String> = before
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in before.keys().map(HeaderName::as_str) {
        let is_listed = listed.iter().any(|listed| listed == name);
        if is_listed {
            assert!(STAYS.contains(&name) || name == "te" || !after.contains_key(name) || is_told_by_proxies(name), "{name} passed: {before:?}");
        } else if !GONE.contains(&name) && !MAY_GO.contains(&name) && !name.starts_with("runpool-") {
            assert_eq!(values(&before, name), values(&after, name), "{name} was changed: {before:?}");
        }
    }
    let mut again = after.clone();
    remove_hop_by_hop(&mut again);
    remove_internal(&mut again);
    assert_eq!(again, after, "twice is once");
}

/// What proxies say of a request may not be listed away either.
fn is_told_by_proxies(name: &str) -> bool {
    matches!(name, "via" | "forwarded") || name.starts_with("x-forwarded-")
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a HeaderValue> {
    headers.get_all(name).iter().collect()
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
}
