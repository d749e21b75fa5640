//! A token that a tool, or an agent, shows.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};
use http::HeaderValue;

/// It has no printed form.
#[derive(Clone)]
pub(super) struct SecretToken(String);

impl SecretToken {
    /// The token in a file: its first line.
    ///
    /// # Errors
    /// The file cannot be read, or has none.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read the token in {}", file.display()))?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.is_empty() {
            bail!("{}: expected a token on the first line", file.display());
        }
        Ok(Self(token.to_owned()))
    }

    /// The token in the environment variable `name`, if it is set and not empty.
    pub(super) fn from_variable(name: &str) -> Option<Self> {
        std::env::var(name).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).map(Self)
    }

    /// As a header shows it.
    ///
    /// # Errors
    /// It has characters that no token has.
    pub(super) fn authorization(&self) -> anyhow::Result<HeaderValue> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", self.0)).ok().context("the token has characters that no token has")?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(***)")
    }
}
