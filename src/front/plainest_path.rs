//! The path that a server might make of a path.
//!
//! Paths are matched and forwarded byte for byte. A plain server may decode, fold and merge what it gets (RFC 3986 section 6.2), so that a path which
//! matches one route here is that of another there. Where the other route asks who is calling, that would be a way around it. So what is forwarded is
//! also looked at in the plainest form that any server could read in it.

/// Rounds of decoding: `%2574` becomes `%74` and then `t`.
const ROUNDS: usize = 3;

/// `path` with every escape decoded, backslashes as slashes, parameters of segments dropped, `.` and `..` resolved, and empty segments gone.
/// Not for forwarding: it means less than the path.
pub(super) fn plainest_path(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..ROUNDS {
        let decoded = decode(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        match after {
            [high, low, after @ ..] if *first == b'%' && value(*high).is_some() && value(*low).is_some() => {
                decoded.push(value(*high).unwrap_or_default() * 16 + value(*low).unwrap_or_default());
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_disguise_of_a_path_is_the_path() {
        for disguised in [
            "/tok/s",
            "/%74ok/s",
            "/%2574ok/s",
            "/x/../tok/s",
            "/./tok/s",
            "//tok/s",
            "/tok//s",
            "/x/%2e%2e/tok/s",
            "/..%2ftok/s",
            "/\\tok\\s",
            "/x/..;a/tok/s",
            "/tok;v=1/s",
            "/%2Ftok/s",
            "/../../tok/s",
        ] {
            assert_eq!(plainest_path(disguised), "/tok/s", "{disguised}");
        }
        assert_eq!(plainest_path("/"), "/");
        assert_eq!(plainest_path(""), "/");
        assert_eq!(plainest_path("/a%zz%"), "/a%zz%");
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "[ -~]{0,40}") {
            prop_assert!(plainest_path(&path).starts_with('/'));
        }
    }
}
