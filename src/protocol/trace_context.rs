//! `traceparent`: one header, parsed and written by hand (W3C Trace Context section 3.2).

use crate::model::TraceContext;

/// Reads a `traceparent` of version 00, or the first four fields of a later one (section 3.2.4). `None` if it is malformed:
/// the receiver then starts a trace of its own.
pub fn parse_traceparent(text: &str) -> Option<TraceContext> {
    let bytes = text.as_bytes();
    let is_field_end = |at: usize| bytes.get(at) == Some(&b'-');
    if bytes.len() < 55 || !is_field_end(2) || !is_field_end(35) || !is_field_end(52) {
        return None;
    }
    let [version] = hex::<1>(&bytes[0..2])?;
    if version == 0xff || (version == 0 && bytes.len() != 55) || (bytes.len() > 55 && bytes[55] != b'-') {
        return None;
    }
    let trace_id = hex::<16>(&bytes[3..35])?;
    let span_id = hex::<8>(&bytes[36..52])?;
    let [flags] = hex::<1>(&bytes[53..55])?;
    if trace_id == [0; 16] || span_id == [0; 8] {
        return None;
    }
    Some(TraceContext { trace_id, span_id, is_sampled: flags & 1 == 1 })
}

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Writes a `traceparent` of version 00, in ASCII.
pub fn format_traceparent(context: &TraceContext) -> [u8; LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut put = |at: usize, bytes: &[u8]| {
        for (pair, byte) in text[at..].chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
    };
    put(3, &context.trace_id);
    put(36, &context.span_id);
    put(53, &[u8::from(context.is_sampled)]);
    text
}

/// `2 × N` digits in lower case, as the standard wants them, as bytes.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_standards_example_survives() {
        let context = parse_traceparent(EXAMPLE).unwrap();
        assert!(context.is_sampled);
        assert_eq!(format_traceparent(&context), EXAMPLE.as_bytes());
    }

    #[test]
    fn a_later_version_is_read_and_malformed_ones_are_not() {
        assert!(parse_traceparent(&EXAMPLE.replacen("00", "cc", 1)).is_some());
        assert!(parse_traceparent(&format!("cc{}-what", &EXAMPLE[2..])).is_some());
        for wrong in [
            "",
            "00",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00", "ff", 1),
            &format!("{EXAMPLE}-more"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736é00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(wrong), None, "{wrong}");
        }
    }
}
