//! The authority that a client names: `Host`, or the target's own.

use std::net::Ipv6Addr;
use std::str::FromStr as _;

/// The text is no `uri-host [ ":" port ]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// There is no host.
    #[error("it names no host")]
    Empty,
    /// `user@host`, which RFC 9110 section 4.2.4 has no place for.
    #[error("it has user information")]
    UserInformation,
    /// Not a name, an IPv4 address or a bracketed IPv6 address.
    #[error("its host is no name and no address")]
    Host,
    /// Not a number of 16 bits.
    #[error("its port is not a number from 0 to 65535")]
    Port,
}

/// Whether `authority` is `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2), and not empty.
///
/// # Errors
/// What is wrong with it. A comma is refused although a registered name may have one: two hosts in one value look like that.
pub fn check_authority(authority: &[u8]) -> Result<(), InvalidAuthority> {
    if authority.is_empty() {
        return Err(InvalidAuthority::Empty);
    }
    if authority.contains(&b'@') {
        return Err(InvalidAuthority::UserInformation);
    }
    let (host, port) = match authority {
        [b'[', rest @ ..] => {
            let end = memchr::memchr(b']', rest).ok_or(InvalidAuthority::Host)?;
            let (inner, after) = rest.split_at(end);
            let inner = std::str::from_utf8(inner).map_err(|_| InvalidAuthority::Host)?;
            Ipv6Addr::from_str(inner).map_err(|_| InvalidAuthority::Host)?;
            match after {
                [b']'] => return Ok(()),
                [b']', b':', port @ ..] => return check_port(port),
                _ => return Err(InvalidAuthority::Host),
            }
        }
        _ => match memchr::memchr(b':', authority) {
            Some(colon) => (&authority[..colon], &authority[colon + 1..]),
            None => (authority, &[][..]),
        },
    };
    if host.is_empty() {
        return Err(InvalidAuthority::Empty);
    }
    check_name(host)?;
    check_port(port)
}

/// The bytes of a registered name.
const NAME: [bool; 256] = {
    let (mut table, others) = ([false; 256], b"-._~!$&'()*+;=");
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// A registered name: unreserved characters, and the sub-delimiters without the comma. Percent-encoding is refused, which RFC 3986 lets such a name have and no name of a
/// machine needs: one server reads another name out of it, and the next does not.
fn check_name(name: &[u8]) -> Result<(), InvalidAuthority> {
    if name.iter().all(|byte| NAME[usize::from(*byte)]) { Ok(()) } else { Err(InvalidAuthority::Host) }
}

/// Digits, maybe none (RFC 3986 section 3.2.3).
fn check_port(port: &[u8]) -> Result<(), InvalidAuthority> {
    let digits_to_number = |number: u32, digit: &u8| {
        let next = number.checked_mul(10)?.checked_add(u32::from(digit.checked_sub(b'0').filter(|value| *value < 10)?))?;
        (next <= 65_535).then_some(next)
    };
    port.iter().try_fold(0_u32, digits_to_number).map(drop).ok_or(InvalidAuthority::Port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_addresses_with_and_without_ports_are_authorities() {
        for fine in
            ["a", "a.example", "a_b-c.d:80", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[2001:db8::1]:8080", "a:", "a.example."]
        {
            assert_eq!(check_authority(fine.as_bytes()), Ok(()), "{fine}");
        }
    }

    #[test]
    fn what_is_no_authority_is_named() {
        for (text, why) in [
            ("", InvalidAuthority::Empty),
            (":80", InvalidAuthority::Empty),
            ("user@a", InvalidAuthority::UserInformation),
            ("a b", InvalidAuthority::Host),
            ("a,b", InvalidAuthority::Host),
            ("a/b", InvalidAuthority::Host),
            ("http://a", InvalidAuthority::Port),
            ("x%4", InvalidAuthority::Host),
            ("a%2eexample", InvalidAuthority::Host),
            ("[::1", InvalidAuthority::Host),
            ("[::g]", InvalidAuthority::Host),
            ("[::1]x", InvalidAuthority::Host),
            ("a\\b", InvalidAuthority::Host),
            ("a:b", InvalidAuthority::Port),
            ("a:65536", InvalidAuthority::Port),
            ("a:80:80", InvalidAuthority::Port),
            ("a:+1", InvalidAuthority::Port),
        ] {
            assert_eq!(check_authority(text.as_bytes()), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = check_authority(&bytes);
        }
    }
}
