//! What a configuration struct says about itself: this value is well formed and cannot be used.

/// A value of a configuration that cannot be used. Each configuration struct has a `validate` that lists them; `config` knows where the
/// value came from and tells the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    /// The value's key, relative to the struct: `listen`, `limits.max_headers`.
    pub key: String,
    /// What would have been right, to be read after "expected": `at least 1`.
    pub expected: String,
    /// The key whose value it does not go with, if that is what is wrong: where somebody wrote it is shown if nobody wrote this one.
    pub beside: Option<String>,
}

impl InvalidValue {
    /// The value of `key` should have been `expected`.
    pub fn new(key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { key: key.into(), expected: expected.into(), beside: None }
    }

    /// It does not go with the value of the key `other` of the same struct.
    #[must_use]
    pub fn beside(mut self, other: impl Into<String>) -> Self {
        self.beside = Some(other.into());
        self
    }

    /// The same value, seen from the struct that holds this one under `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        let within = |key: &str| format!("{parent}.{key}");
        (self.key, self.beside) = (within(&self.key), self.beside.as_deref().map(within));
        self
    }
}
