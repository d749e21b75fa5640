//! What runners are told of the hop from a client to us, as text.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use http::HeaderValue;

/// The value of a field: one that was received or is told to everybody, or the address of a client.
#[derive(Clone, Debug)]
pub enum HopText {
    /// Shares its memory.
    Value(HeaderValue),
    /// Has none, and is written again for each request: that costs less than to share it, and an idle connection does not keep it.
    Address(AddressText),
}

impl HopText {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Value(value) => value.as_bytes(),
            Self::Address(address) => address.as_str().as_bytes(),
        }
    }

    /// The same as a value that can stand among others.
    pub fn to_value(&self) -> HeaderValue {
        match self {
            Self::Value(value) => value.clone(),
            // Digits, letters, dots and colons are always a value.
            Self::Address(address) => HeaderValue::from_str(address.as_str()).unwrap_or(HeaderValue::from_static("unknown")),
        }
    }
}

impl From<HeaderValue> for HopText {
    fn from(value: HeaderValue) -> Self {
        Self::Value(value)
    }
}

/// The longest text of an address: eight groups of four digits (RFC 5952; with an IPv4 address in it, it would be longer, but such an address is written as IPv4).
const LONGEST: usize = 39;

/// The text of an address, in place.
#[derive(Clone, Copy)]
pub struct AddressText {
    length: u8,
    text: [u8; LONGEST],
}

impl AddressText {
    /// The address; one of IPv4 as IPv4 however the socket has it (RFC 4291 section 2.5.5.2).
    pub fn of(address: IpAddr) -> Self {
        let mut written = Self { length: 0, text: [0; LONGEST] };
        match address.to_canonical() {
            // By hand: this is done for every call.
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        written.put(".");
                    }
                    written.put(itoa::Buffer::new().format(octet));
                }
            }
            // It has the room, which is all that it could want.
            IpAddr::V6(address) => drop(write!(written, "{address}")),
        }
        written
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }

    /// Appends a piece for which there is room.
    fn put(&mut self, piece: &str) {
        let begin = usize::from(self.length);
        self.text[begin..begin + piece.len()].copy_from_slice(piece.as_bytes());
        self.length += u8::try_from(piece.len()).unwrap_or_default();
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if usize::from(self.length) + piece.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.put(piece);
        Ok(())
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ipv4_address_is_written_as_such_however_the_socket_has_it() {
        for (address, text) in [
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::1", "::1"),
            ("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:6666"),
        ] {
            assert_eq!(AddressText::of(address.parse().unwrap()).as_str(), text);
        }
    }

    proptest! {
        #[test]
        fn every_address_has_room(bytes in any::<[u8; 16]>(), four in any::<[u8; 4]>()) {
            for address in [IpAddr::from(bytes), IpAddr::from(four)] {
                let text = AddressText::of(address);
                prop_assert_eq!(text.as_str().parse(), Ok(address.to_canonical()));
                prop_assert_eq!(HopText::Address(text).to_value(), text.as_str());
            }
        }
    }
}
