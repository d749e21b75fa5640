//! Settings out of environment variables and flags, where everything is text.

use super::errors::ConfigError;
use super::expectation::nearest;
use super::keys::{self, Key, Shape};
use super::origin::Origin;
use super::secrets;
use super::tree::{Node, Value};

/// Before the name of every variable that is ours.
pub(super) const PREFIX: &str = "RUNPOOL_";

/// Variables that are ours and set no key of the configuration:
/// the file itself, the defaults of `--address` and `--admin` of the tools and the token that they show, and the mark that an agent puts on
/// its workers.
pub(super) const OTHER_VARIABLES: [&str; 5] =
    ["RUNPOOL_CONFIG", "RUNPOOL_ADDRESS", "RUNPOOL_ADMIN", "RUNPOOL_TOKEN", "RUNPOOL_INCARNATION"];

/// A flag that sets a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the user wrote it: `--workers`, `--set`.
    flag: String,
    /// The key it sets.
    key: String,
    /// The value; `None` if an assignment had no `=`.
    value: Option<String>,
}

impl Flag {
    /// `flag` (`--workers`) sets `key` to `value`.
    pub fn new(flag: impl Into<String>, key: impl Into<String>, value: impl ToString) -> Self {
        Self { flag: flag.into(), key: key.into(), value: Some(value.to_string()) }
    }

    /// `--set KEY=VALUE`.
    pub fn assignment(text: &str) -> Self {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
            None => (text.trim(), None),
        };
        Self { flag: "--set".to_owned(), key: key.to_owned(), value }
    }
}

/// A value to be laid over what weaker sources say.
pub(super) struct Override {
    key: &'static Key,
    origin: Origin,
    text: String,
}

impl Override {
    /// Lays the value over the tree. A list is written with commas.
    pub(super) fn apply(self, root: &mut Node) {
        let untyped = |text: &str| Node { origin: self.origin.clone(), value: Value::Untyped(text.to_owned()) };
        let node = match self.key.shape {
            Shape::One => untyped(self.text.trim()),
            Shape::List => {
                let parts = self.text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Node { origin: self.origin.clone(), value: Value::List(parts.map(untyped).collect()) }
            }
        };
        root.set(&self.key.path, node);
    }
}

/// What the variables set.
pub(super) fn from_variables(variables: &[(String, String)]) -> (Vec<Override>, Vec<ConfigError>) {
    let (mut overrides, mut errors) = (Vec::new(), Vec::new());
    let ours = variables.iter().filter(|(name, _)| name.starts_with(PREFIX) && !OTHER_VARIABLES.contains(&name.as_str()));
    for (name, text) in ours {
        match keys::all().iter().find(|key| key.variable() == *name) {
            Some(key) => {
                let origin = Origin::Environment { variable: name.clone() };
                overrides.push(Override { key, origin, text: text.clone() });
            }
            None => {
                let known: Vec<String> = keys::all().iter().map(Key::variable).collect();
                let known = known.iter().map(String::as_str).chain(OTHER_VARIABLES);
                let origin = Origin::Environment { variable: name.clone() };
                // Its value is not shown: nobody knows whether it is a secret.
                let problem =
                    "no key of the configuration has this name: expected RUNPOOL_SECTION_KEY, such as RUNPOOL_FRONT_LISTEN";
                errors.push(ConfigError::source(origin, problem).suggesting(nearest(name, known)));
            }
        }
    }
    (overrides, errors)
}

/// What the flags set; a later one wins.
pub(super) fn from_flags(flags: &[Flag]) -> (Vec<Override>, Vec<ConfigError>) {
    let (mut overrides, mut errors) = (Vec::new(), Vec::new());
    for flag in flags {
        let origin = Origin::Flag { flag: flag.flag.clone() };
        let Some(key) = keys::all().iter().find(|key| key.path == flag.key) else {
            let known = keys::all().iter().map(|key| key.path.as_str());
            let value = flag.value.as_ref().map(|value| shown(&flag.key, value));
            errors.push(ConfigError::value(origin, &flag.key, value, "unknown key").suggesting(nearest(&flag.key, known)));
            continue;
        };
        match &flag.value {
            Some(text) => overrides.push(Override { key, origin, text: text.clone() }),
            None => errors.push(ConfigError::value(origin, &flag.key, None, "expected KEY=VALUE")),
        }
    }
    (overrides, errors)
}

fn shown(key: &str, value: &str) -> String {
    if secrets::is_secret(key) { secrets::MASK.to_owned() } else { format!("{:?}", secrets::mask_url(value)) }
}
