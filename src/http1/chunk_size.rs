//! The line before a chunk: its size, and extensions that nobody reads but that have to be a chunk's (RFC 9112 section 7.1.1):
//!
//! ```text
//! chunk-size [ BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ] …
//! ```
//!
//! "Bad" whitespace has to be taken (RFC 9110 section 5.6.3), but only where the grammar has it: what else stands there, another reader might take for the line's end.

use super::body::BodySyntaxError;

/// Where in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind the size, a name or a value: here the line may end.
    End,
    /// The same with whitespace after it: only more may follow.
    Space,
    /// Behind whitespace after a name: a value may follow too.
    NameSpace,
    /// Behind a semicolon.
    Semicolon,
    Name,
    Equals,
    Value,
    Quoted,
    Escaped,
}

/// The digits of a chunk's size, and its extensions, of a line without its end; or of the part of it that is there.
///
/// # Errors
/// It is no such line; or, of a part, can no longer become one.
pub(super) fn size_line(line: &[u8], is_whole: bool) -> Result<(&[u8], &[u8]), BodySyntaxError> {
    let (digits, extensions) = line.split_at(line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count());
    let is_size = digits.len() <= 16 && (!digits.is_empty() || (line.is_empty() && !is_whole));
    if is_size && (extensions.is_empty() || are_extensions(extensions, is_whole)) {
        Ok((digits, extensions))
    } else {
        Err(BodySyntaxError::Chunk)
    }
}

fn are_extensions(text: &[u8], is_whole: bool) -> bool {
    let mut at = At::End;
    for byte in text {
        at = match (at, byte) {
            (At::End | At::Space | At::NameSpace | At::Name | At::Value, b';') => At::Semicolon,
            (At::End | At::Space | At::Value, b' ' | b'\t') => At::Space,
            (At::Name | At::NameSpace, b' ' | b'\t') => At::NameSpace,
            (At::Name | At::NameSpace, b'=') => At::Equals,
            (At::Semicolon | At::Equals, b' ' | b'\t') => at,
            (At::Semicolon | At::Name, byte) if is_token(*byte) => At::Name,
            (At::Equals, b'"') => At::Quoted,
            (At::Equals | At::Value, byte) if is_token(*byte) => At::Value,
            (At::Quoted, b'"') => At::End,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, byte) if *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f) => At::Quoted,
            _ => return false,
        };
    }
    !is_whole || matches!(at, At::End | At::Name | At::Value)
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_line(text: &str) -> bool {
        size_line(text.as_bytes(), true).is_ok()
    }

    #[test]
    fn extensions_have_the_grammar_of_rfc_9112_and_nothing_else_passes() {
        for text in ["3", "3;a", "3;a=b", "3 ; a = b", "3\t;a;b=\"c;d\\\"=\"\t;e", "3; a=\"\"", "3;a=\"\u{e9}\"", "3;a ;b"] {
            assert!(is_line(text), "{text:?}");
        }
        for text in [
            "",
            " 3",
            "3 ",
            "3;",
            "3; ",
            "3;;a",
            "3;;;",
            "3;=b",
            "3;a=",
            "3;a ",
            "3;a=b ",
            "3;a= ",
            "3;a b",
            "3;a=b c",
            "3;a=\"b",
            "3;a=\"b\\",
            "3;a=\"b\"c",
            "3;a=b\"c\"",
            "3 a",
            "3,a",
            "3;a\u{e9}",
            "3;a=\"\u{7f}\"",
            "3;a=\"\r\"",
            "3;a\0",
        ] {
            assert!(!is_line(text), "{text:?}");
        }
    }

    #[test]
    fn what_can_become_a_line_is_waited_for_and_nothing_else() {
        let line = b"1f ; a = b;c=\"d\\\"e\" ;f";
        for length in 0..=line.len() {
            assert!(size_line(&line[..length], false).is_ok(), "{length}");
        }
        for text in ["3;;", "3;a b", "g", ";", "3;a=\"b\"c"] {
            assert!(size_line(text.as_bytes(), false).is_err(), "{text:?}");
        }
    }
}
