//! A token is known by its hash only, so that neither a configuration nor a memory dump gives it away.
//!
//! One round of SHA-256 is enough, without salt and without the work that a password's hash costs: a token is 256 random bits
//! ([`NewToken`]), so there is no list of likely ones to try, and no two are equal.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a token, written `sha256:` and 64 hexadecimal digits. It has no printed form but in a configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// The text is no hash. The error does not show it: it may be the token itself.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected the hash of a token as `runpool token make` prints it: `sha256:` and 64 hexadecimal digits")]
pub struct InvalidTokenHash;

/// What a hash begins with.
const PREFIX: &str = "sha256:";

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As it stands in a configuration.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", hexadecimal(&self.0))
    }
}

impl FromStr for TokenHash {
    type Err = InvalidTokenHash;

    fn from_str(text: &str) -> Result<Self, InvalidTokenHash> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(InvalidTokenHash)?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidTokenHash);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).ok_or(InvalidTokenHash)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidTokenHash)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A token that was just made: the only time that it can be read.
pub struct NewToken(String);

/// Before every token, so that programs that look for secrets in the wrong places know one when they see it.
const TOKEN_PREFIX: &str = "rp_";

impl NewToken {
    /// A token of 256 random bits. Draw them from a source for cryptography.
    pub fn from_draw(bits: [u8; 32]) -> Self {
        Self(format!("{TOKEN_PREFIX}{}", hexadecimal(&bits)))
    }

    /// The token, to be shown to whoever will use it, once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash, to be kept.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewToken(***)")
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s open-sesame | sha256sum`
    const HASH: &str = "sha256:d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7";

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        assert_eq!(TokenHash::of("open-sesame").to_text(), HASH);
        assert_eq!(HASH.parse(), Ok(TokenHash::of("open-sesame")));
        assert_eq!(serde_json::to_value(TokenHash::of("open-sesame")).unwrap(), HASH);
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_repeated() {
        let bare = HASH.strip_prefix("sha256:").unwrap();
        for wrong in ["open-sesame", "", bare, "sha256:", &HASH.replace('d', "g"), &format!("sha256:+{}", "0".repeat(63))] {
            let error = serde_json::from_value::<TokenHash>(wrong.into()).unwrap_err().to_string();
            assert!(error.starts_with("expected the hash of a token") && !error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn neither_a_token_nor_its_hash_is_printed() {
        let token = NewToken::from_draw([7; 32]);
        assert_eq!(token.reveal().len(), 3 + 64);
        assert_eq!(format!("{token:?} {:?}", token.hash()), "NewToken(***) TokenHash(***)");
    }
}
