//! A refusal proves that a call did not run (P2): nothing is read as one but a 503 with a reason that is known.
//!
//! The first two bytes are the status, the rest the fields of the answer.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use runpool::protocol::{Refusal, headers};

pub fn hold(bytes: &[u8]) {
    let Some((status, lines)) = bytes.split_at_checked(2) else { return };
    let status = u16::from_le_bytes([status[0], status[1]]);
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let fields: HeaderMap = lines.split(|byte| *byte == b'\n').filter_map(field).collect();
    let Some(refusal) = Refusal::read(status, &fields) else { return };
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(fields.get(headers::REFUSED).is_some_and(|word| word == refusal.reason.as_str()), "{fields:?}");
    let mut written = HeaderMap::new();
    refusal.write(&mut written);
    assert_eq!(Refusal::read(Refusal::STATUS, &written), Some(refusal));
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
}
