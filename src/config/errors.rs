//! What is wrong with a configuration, as the user reads it.

use std::fmt;

use super::origin::Origin;

/// One thing that is wrong, or looks suspicious: where, which key, which value (masked if it is a secret), what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    origin: Origin,
    what: What,
    problem: String,
    suggestion: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A key and its value, as printed.
    Value { key: String, value: Option<String> },
    /// A place in a text that is not TOML.
    Syntax { column: usize },
    /// The source itself.
    Source,
}

impl ConfigError {
    /// `key` has `value` (as it may be printed); `problem` says what was expected.
    pub(super) fn value(origin: Origin, key: impl Into<String>, value: Option<String>, problem: impl Into<String>) -> Self {
        Self { origin, what: What::Value { key: key.into(), value }, problem: problem.into(), suggestion: None }
    }

    /// The text is not TOML.
    pub(super) fn syntax(origin: Origin, column: usize, problem: impl Into<String>) -> Self {
        Self { origin, what: What::Syntax { column }, problem: problem.into(), suggestion: None }
    }

    /// A source could not be used at all.
    pub(super) fn source(origin: Origin, problem: impl Into<String>) -> Self {
        Self { origin, what: What::Source, problem: problem.into(), suggestion: None }
    }

    /// The same with the name that was probably meant.
    pub(super) fn suggesting(mut self, name: Option<impl Into<String>>) -> Self {
        self.suggestion = name.map(Into::into);
        self
    }

    /// Where it was found.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key, if it is about one.
    pub fn key(&self) -> Option<&str> {
        match &self.what {
            What::Value { key, .. } => Some(key),
            What::Syntax { .. } | What::Source => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // Nobody wrote it, so that there is no place to show: the key is all there is.
            Origin::Default => {}
            origin => write!(f, "{origin}: ")?,
        }
        match &self.what {
            What::Value { key, value: Some(value) } => write!(f, "{key} = {value}: ")?,
            What::Value { key, value: None } => write!(f, "{key}: ")?,
            What::Syntax { column } => write!(f, "syntax error at column {column}: ")?,
            What::Source => {}
        }
        f.write_str(&self.problem)?;
        match &self.suggestion {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file, then variables, then flags. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// All of `errors`, of which there is one at least, in their order.
    pub fn sorted(mut errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty(), "no errors are no error");
        errors.sort_by(|a, b| a.origin.cmp(&b.origin));
        Self(errors)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    /// One a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{error}")?;
        }
        Ok(())
    }
}
