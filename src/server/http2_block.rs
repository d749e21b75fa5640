//! The names in a header block (RFC 7541 section 6), as far as they can be known without the table that its connection has made.

/// The first entries of the static table are the pseudo-headers (RFC 7541 appendix A).
const PSEUDO_HEADERS: std::ops::RangeInclusive<usize> = 1..=14;
/// The code of `:`, in seven bits (RFC 7541 appendix B).
const COLON: u8 = 0b101_1100;

/// Whether a field in the block is named with a colon before it. A block that cannot be read has none: whoever reads it next says so.
pub(super) fn names_pseudo_header(block: &[u8]) -> bool {
    let mut rest = block;
    while let Some((&first, after)) = rest.split_first() {
        let (prefix, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            // A change of the table's size.
            0x20.. => {
                let Some((_, after)) = integer(first, 5, after) else { return false };
                rest = after;
                continue;
            }
            _ => (4, true),
        };
        let Some((index, mut after)) = integer(first, prefix, after) else { return false };
        if PSEUDO_HEADERS.contains(&index) {
            return true;
        }
        if is_literal {
            if index == 0 {
                let Some((is_huffman, name, behind)) = string(after) else { return false };
                let begins = name.first().is_some_and(|byte| if is_huffman { byte >> 1 == COLON } else { *byte == b':' });
                if begins {
                    return true;
                }
                after = behind;
            }
            let Some((_, _, behind)) = string(after) else { return false };
            after = behind;
        }
        rest = after;
    }
    false
}

/// An integer whose first bits stand in `first` (RFC 7541 section 5.1), and what follows it.
fn integer(first: u8, prefix: u32, mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Some((value, rest));
    }
    // Three more bytes are enough for any block that is allowed.
    for shift in [0, 7, 14] {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// Whether a string is in Huffman coding, its bytes, and what follows it (RFC 7541 section 5.2).
fn string(block: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (&first, rest) = block.split_first()?;
    let (length, rest) = integer(first, 7, rest)?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((first & 0x80 != 0, text, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_known_by_index_by_text_and_by_their_code() {
        for block in [&b"\x82"[..], b"\x04\x01/", b"\x44\x01/", b"\x14\x01/", b"\0\x05:path\x01/", b"\x40\x01:\x01x", b"\x20\x82"]
        {
            assert!(names_pseudo_header(block), "{block:?}");
        }
        // `:path` in Huffman coding.
        assert!(names_pseudo_header(&[0, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/']));
        for block in [&b""[..], b"\x90", b"\0\x03x-t\x011", b"\x0f\x01\x011", b"\xbe", b"\0\x7f\x80", b"\0\x03x"] {
            assert!(!names_pseudo_header(block), "{block:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(block in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = names_pseudo_header(&block);
        }
    }
}
