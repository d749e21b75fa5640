//! Room: a slot that an agent lends to a balancer which asked for it and waits: `runpool-room: 3f9c…; lease_ms=50`.
//!
//! `GET /room?wait_ms=N` with `runpool-balancer: ID` is a long poll. The answer is 200 with the room; 204 when the time is over; or a
//! refusal. The call that names the room's token gets the slot; nobody else does until the lease is over.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Names one slot that was lent. Never given twice by one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomToken(pub u64);

/// One slot, lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomGrant {
    /// What the call has to name.
    pub token: RoomToken,
    /// How long the slot is kept for it, from when the agent answered. Whole milliseconds.
    pub lease: Duration,
}

/// Who asks: one balancer process, 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BalancerId(std::sync::Arc<str>);

/// The text is no token, room or balancer's id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not {expected}")]
pub struct InvalidRoom {
    text: String,
    expected: &'static str,
}

const TOKEN: &str = "a room's token: expected 16 hexadecimal digits";
const GRANT: &str = "a room: expected `TOKEN; lease_ms=N`";
const BALANCER: &str = "a balancer's id: expected 1 to 64 characters of A-Z, a-z, 0-9, `.`, `_` and `-`";

impl fmt::Display for RoomToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RoomToken {
    type Err = InvalidRoom;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_token = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = if is_token { u64::from_str_radix(text, 16).ok() } else { None };
        number.map(Self).ok_or_else(|| InvalidRoom { text: text.to_owned(), expected: TOKEN })
    }
}

impl fmt::Display for RoomGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; lease_ms={}", self.token, self.lease.as_millis())
    }
}

impl FromStr for RoomGrant {
    type Err = InvalidRoom;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidRoom { text: text.to_owned(), expected: GRANT };
        let (token, millis) = text.split_once("; lease_ms=").ok_or_else(wrong)?;
        let token = token.parse().map_err(|_| wrong())?;
        Ok(Self { token, lease: Duration::from_millis(millis.parse().map_err(|_| wrong())?) })
    }
}

impl BalancerId {
    /// An id that was drawn: two processes have the same one in 2^64.
    pub fn from_draw(draw: u64) -> Self {
        Self(format!("{draw:016x}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BalancerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BalancerId {
    type Err = InvalidRoom;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_allowed) {
            return Err(InvalidRoom { text: text.to_owned(), expected: BALANCER });
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_room_is_its_token_and_its_lease() {
        let grant = RoomGrant { token: RoomToken(0x3f9c), lease: Duration::from_millis(50) };
        assert_eq!(grant.to_string(), "0000000000003f9c; lease_ms=50");
        for text in ["", "0000000000003f9c", "3f9c; lease_ms=50", "0000000000003F9C; lease_ms=50", "0000000000003f9c;lease_ms=50"]
        {
            assert!(text.parse::<RoomGrant>().is_err(), "{text}");
        }
        assert!("+000000000003f9c".parse::<RoomToken>().is_err());
        for text in ["", "a b", &"a".repeat(65)] {
            assert!(text.parse::<BalancerId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(token: u64, lease_ms: u64) {
            let grant = RoomGrant { token: RoomToken(token), lease: Duration::from_millis(lease_ms) };
            prop_assert_eq!(grant.to_string().parse(), Ok(grant));
            let balancer = BalancerId::from_draw(token);
            prop_assert_eq!(balancer.as_str().parse(), Ok(balancer));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "([0-9a-f]{16}; lease_ms=)?.*") {
            let _ = (text.parse::<RoomGrant>(), text.parse::<RoomToken>(), text.parse::<BalancerId>());
        }
    }
}
