//! The tokens that open one thing.

use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::token_hash::{InvalidTokenHash, TokenHash};
use crate::model::InvalidValue;

/// A token of a configuration that opens all there is to open: `{ name = "cellar", hash = "sha256:…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedToken {
    /// What people call whoever has it; written into logs instead of the token.
    pub name: String,
    /// Its hash, as `runpool token make` prints it.
    pub hash: TokenHash,
}

/// Hashes of tokens, in an order that means something to whoever made the list.
#[derive(Clone, Debug, Default)]
pub struct TokenList {
    hashes: Vec<TokenHash>,
}

impl FromIterator<TokenHash> for TokenList {
    fn from_iter<I: IntoIterator<Item = TokenHash>>(hashes: I) -> Self {
        Self { hashes: hashes.into_iter().collect() }
    }
}

impl TokenList {
    /// Adds those of a file: one a line; empty lines and what follows a `#` are passed over, and so is what follows the hash.
    ///
    /// # Errors
    /// A line begins with something else than a hash.
    pub fn add_lines(&mut self, text: &str) -> Result<(), InvalidTokenHash> {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            if let Some(hash) = line.split_whitespace().next() {
                self.hashes.push(hash.parse()?);
            }
        }
        Ok(())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The place of `token` in the list, if it is one of them. Takes the same time whichever it is, and however much of it is right: all
    /// are looked at, and hashes are compared, not tokens.
    pub fn find(&self, token: &str) -> Option<usize> {
        let shown = TokenHash::of(token);
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (index, hash) in (0_u64..).zip(&self.hashes) {
            let is_this = hash.as_bytes().ct_eq(shown.as_bytes());
            place.conditional_assign(&index, is_this);
            found |= is_this;
        }
        bool::from(found).then(|| usize::try_from(place).ok()).flatten()
    }
}

/// What is wrong with the names and hashes of a list under the key `tokens`: each name and each hash once, and no name that would break
/// a line of a log.
pub fn validate_names<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a TokenHash)>) -> Vec<InvalidValue> {
    let mut seen: Vec<(&str, &TokenHash)> = Vec::new();
    let mut invalid = Vec::new();
    for (index, (name, hash)) in tokens.into_iter().enumerate() {
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_name {
            let expected = "a name of 1 to 64 letters, digits, `-`, `_` and `.`";
            invalid.push(InvalidValue::new(format!("tokens[{index}].name"), expected));
        } else if seen.iter().any(|(other, _)| *other == name) {
            invalid.push(InvalidValue::new(format!("tokens[{index}].name"), "each name once"));
        }
        if seen.iter().any(|(_, other)| *other == hash) {
            invalid.push(InvalidValue::new(format!("tokens[{index}].hash"), "each token once"));
        }
        seen.push((name, hash));
    }
    invalid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_at_its_place() {
        let mut tokens = TokenList::default();
        assert!(tokens.find("").is_none() && tokens.is_empty());
        let (first, second) = (TokenHash::of("open-sesame").to_text(), TokenHash::of("please").to_text());
        tokens.add_lines(&format!("# for the machines in the cellar\n\n{first}\n{second}  -\n")).unwrap();
        assert_eq!((tokens.find("open-sesame"), tokens.find("please")), (Some(0), Some(1)));
        for wrong in ["open-sesam", first.as_str(), "", "open-sesame "] {
            assert_eq!(tokens.find(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_line_that_is_no_hash_is_refused() {
        assert_eq!(TokenList::default().add_lines("open-sesame"), Err(InvalidTokenHash));
    }

    #[test]
    fn names_and_tokens_stand_once() {
        let (a, b) = (TokenHash::of("a"), TokenHash::of("b"));
        let keys = |tokens: &[(&str, &TokenHash)]| {
            validate_names(tokens.iter().copied()).into_iter().map(|value| value.key).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys(&[("a", &a), ("b.c-d_e", &b)]), "");
        assert_eq!(keys(&[("a", &a), ("a", &b)]), "tokens[1].name");
        assert_eq!(keys(&[("a", &a), ("b", &a)]), "tokens[1].hash");
        assert_eq!(keys(&[("", &a), ("x y", &b)]), "tokens[0].name tokens[1].name");
    }
}
