//! Values with their origins, as a tree: what all sources are turned into before anything is read from them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::origin::Origin;

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A value, as its source writes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A TOML date: no setting wants one.
    Date(String),
    /// Text out of a variable or a flag, where everything is text: whoever reads it decides what it is.
    Untyped(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// One step from a node to one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Node {
    /// An empty table that nobody wrote.
    pub(super) const fn empty() -> Self {
        Self { origin: Origin::Default, value: Value::Table(BTreeMap::new()) }
    }

    /// The node one step below.
    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.get(key),
            (Value::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.get_mut(key),
            (Value::List(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        }
    }

    /// The node at `path`.
    pub(super) fn find(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |node, step| node.child(step))
    }

    /// The deepest node on the way to `path`, and whether it is the one at `path`.
    pub(super) fn find_nearest(&self, path: &[Step]) -> (&Self, Found) {
        let mut node = self;
        for step in path {
            match node.child(step) {
                Some(child) => node = child,
                None => return (node, Found::Above),
            }
        }
        (node, Found::Exactly)
    }

    /// Takes out what is at `path`. `None` if nothing is there.
    pub(super) fn remove(&mut self, path: &[Step]) -> Option<Self> {
        let (last, above) = path.split_last()?;
        let parent = above.iter().try_fold(self, |node, step| node.child_mut(step))?;
        match (&mut parent.value, last) {
            (Value::Table(entries), Step::Key(key)) => entries.remove(key),
            (Value::List(items), Step::Index(index)) if *index < items.len() => Some(items.remove(*index)),
            _ => None,
        }
    }

    /// Puts `node` at the dotted key `key`, in place of what is there, making tables on the way.
    pub(super) fn set(&mut self, key: &str, node: Self) {
        let mut entry = self;
        for name in key.split('.') {
            if !matches!(entry.value, Value::Table(_)) {
                // A table was wanted here and something else written; the later source wins.
                entry.value = Value::Table(BTreeMap::new());
            }
            let Value::Table(entries) = &mut entry.value else { return };
            entry = entries.entry(name.to_owned()).or_insert_with(Self::empty);
        }
        *entry = node;
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Untyped(text) => Some(text),
            _ => None,
        }
    }

    /// What the elements of `[[function]]` and `[[route]]` are called by people: their name, or their path.
    fn label(&self) -> Option<&str> {
        let Value::Table(entries) = &self.value else { return None };
        ["name", "path"].iter().find_map(|key| match entries.get(*key).map(|node| &node.value) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The path as people read it: `front.limits.max_headers`, `function[greet].timeout`, `pool.runners[0]`.
    pub(super) fn describe(&self, path: &[Step]) -> String {
        let mut text = String::new();
        let mut node = Some(self);
        for step in path {
            node = node.and_then(|node| node.child(step));
            // Writing to a String cannot fail.
            let _ = match (step, node.and_then(Self::label)) {
                (Step::Key(key), _) if text.is_empty() => write!(text, "{}", printable(key)),
                (Step::Key(key), _) => write!(text, ".{}", printable(key)),
                (Step::Index(_), Some(label)) => write!(text, "[{}]", printable(label)),
                (Step::Index(index), None) => write!(text, "[{index}]"),
            };
        }
        text
    }
}

/// Whether a search ended at what was searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Exactly,
    Above,
}

/// A path out of its text, as `InvalidValue::key` writes it: `limits.max_headers`, `runners[1]`.
pub(super) fn parse_path(text: &str) -> Vec<Step> {
    let mut path = Vec::new();
    for part in text.split('.') {
        let (name, index) = match part.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
            Some((name, index)) => (name, index.parse().ok()),
            None => (part, None),
        };
        path.push(Step::Key(name.to_owned()));
        path.extend(index.map(Step::Index));
    }
    path
}

impl fmt::Display for Value {
    /// As TOML writes it, on one line and not longer than a line should be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Untyped(text) => f.write_str(&quoted(text)),
            Self::Date(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", item.value)?;
                }
                f.write_str("]")
            }
            Self::Table(_) => f.write_str("{…}"),
        }
    }
}

/// A name as it may be printed: a file from elsewhere must not be able to steer the terminal.
fn printable(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

/// The text in quotes, shortened to what a line can hold.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    let shown: String = text.chars().take(LONGEST).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    format!("{:?}{dots}", shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untyped(text: &str) -> Node {
        Node { origin: Origin::Default, value: Value::Untyped(text.into()) }
    }

    #[test]
    fn what_is_set_is_found_and_can_be_taken_out_again() {
        let mut root = Node::empty();
        root.set("front.limits.max_headers", untyped("7"));
        root.set("front.listen", untyped("x"));
        let path = parse_path("front.limits.max_headers");
        assert_eq!(root.find(&path), Some(&untyped("7")));
        assert_eq!(root.describe(&path), "front.limits.max_headers");
        assert_eq!(root.remove(&path), Some(untyped("7")));
        assert_eq!(root.find(&path), None);
        assert_eq!(root.find_nearest(&path).1, Found::Above);
        assert!(root.find(&parse_path("front.listen")).is_some());
    }

    #[test]
    fn setting_below_a_value_replaces_it() {
        let mut root = Node::empty();
        root.set("front", untyped("x"));
        root.set("front.listen", untyped("y"));
        assert_eq!(root.find(&parse_path("front.listen")), Some(&untyped("y")));
    }

    #[test]
    fn paths_are_read_as_they_are_described() {
        assert_eq!(parse_path("runners[2]"), [Step::Key("runners".into()), Step::Index(2)]);
        assert_eq!(Node::empty().describe(&parse_path("pool.runners[2]")), "pool.runners[2]");
    }
}
