//! Identifiers: calls, runners and their incarnations.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The text was not an identifier of this kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not {what}: expected 26 characters of Crockford's base 32 (a ULID)")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

/// The identifier of one call: a ULID, so that identifiers sort by the time of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallId(Halves);

/// The identifier of one life of a runner process. A runner that starts again has a new one; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IncarnationId(Halves);

/// A ULID in two halves, the higher one first. As one number it would be aligned to 16 bytes, and so would all that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Halves(u64, u64);

impl Halves {
    const fn of(ulid: Ulid) -> Self {
        Self((ulid.0 >> 64) as u64, ulid.0 as u64)
    }

    fn ulid(self) -> Ulid {
        Ulid(u128::from(self.0) << 64 | u128::from(self.1))
    }
}

macro_rules! ulid_identifier {
    ($name:ident, $what:literal) => {
        impl $name {
            /// An identifier from its parts: milliseconds since 1970 and 80 random bits. The caller owns clock and randomness.
            pub const fn from_parts(timestamp_ms: u64, random: u128) -> Self {
                Self(Halves::of(Ulid::from_parts(timestamp_ms, random)))
            }

            /// Its digits, in ASCII.
            pub fn digits(self) -> [u8; ulid::ULID_LEN] {
                let mut digits = [0; ulid::ULID_LEN];
                self.0.ulid().array_to_str(&mut digits);
                digits
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str(self.0.ulid().array_to_str(&mut buffer))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Ulid::from_string(text)
                    .map(|ulid| Self(Halves::of(ulid)))
                    .map_err(|_| InvalidId { what: $what, text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

ulid_identifier!(CallId, "a call id");
ulid_identifier!(IncarnationId, "an incarnation id");

/// What a balancer knows a runner by: the name its pool gives it, by default its address. Two runners of one snapshot never share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerId(Arc<str>);

impl RunnerId {
    /// An identifier from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_ids_are_26_characters_that_sort_by_time() {
        let earlier = CallId::from_parts(1_000, u128::MAX >> 48);
        let later = CallId::from_parts(1_001, 0);
        assert_eq!(earlier.to_string().len(), 26);
        assert!(earlier.to_string() < later.to_string());
        assert_eq!(earlier.to_string().parse(), Ok(earlier));
    }

    #[test]
    fn a_wrong_call_id_is_named() {
        let error = "nope".parse::<CallId>().unwrap_err();
        assert_eq!(error.to_string(), "`nope` is not a call id: expected 26 characters of Crockford's base 32 (a ULID)");
    }
}
