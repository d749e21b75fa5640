//! Tokens that are known by their hash only.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Who shows one of these is let in. What is kept is their SHA-256, so that neither a configuration nor a memory dump gives them away.
#[derive(Clone, Default)]
pub struct Tokens {
    hashes: Vec<[u8; 32]>,
}

/// The text is no hash.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected the SHA-256 of a token, 64 hexadecimal digits")]
pub struct InvalidToken;

impl Tokens {
    /// Tokens by their hashes in hexadecimal.
    ///
    /// # Errors
    /// One of the texts is no hash. The error does not show it: it may be the token itself.
    pub fn new<'a>(hashes: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidToken> {
        let hashes = hashes.into_iter().map(|hash| parse(hash).ok_or(InvalidToken)).collect::<Result<_, _>>()?;
        Ok(Self { hashes })
    }

    /// Adds those of a file: one a line; empty lines and what follows a `#` are passed over, and so is what follows the hash (`sha256sum` writes a name).
    ///
    /// # Errors
    /// A line begins with something else than a hash.
    pub fn add_lines(&mut self, text: &str) -> Result<(), InvalidToken> {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            if let Some(hash) = line.split_whitespace().next() {
                self.hashes.push(parse(hash).ok_or(InvalidToken)?);
            }
        }
        Ok(())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether `token` is one of them. Takes the same time whichever, and however much of it is right.
    pub fn has(&self, token: &str) -> bool {
        let shown: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let is_known = self.hashes.iter().fold(Choice::from(0), |found, hash| found | hash.ct_eq(&shown));
        is_known.into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.hashes.len())
    }
}

fn parse(hash: &str) -> Option<[u8; 32]> {
    let hash = hash.trim();
    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hash.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s open-sesame | sha256sum`
    const HASH: &str = "d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7";

    #[test]
    fn a_token_is_known_by_its_hash() {
        let mut tokens = Tokens::new([]).unwrap();
        assert!(!tokens.has("") && tokens.is_empty());
        let other = "0".repeat(64);
        tokens.add_lines(&format!("# for the machines in the cellar\n\n{other}\n{HASH}  -\n")).unwrap();
        assert!(tokens.has("open-sesame"));
        assert!(!tokens.has("open-sesam") && !tokens.has(HASH) && !tokens.has(""));
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_repeated() {
        for wrong in ["open-sesame", "", &"g".repeat(64), &format!("+{}", "0".repeat(63))] {
            let error = Tokens::new([wrong]).unwrap_err();
            assert_eq!(error.to_string(), "expected the SHA-256 of a token, 64 hexadecimal digits");
        }
    }
}
