//! The text of the file as a tree, with the line of every value.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::ConfigError;
use super::origin::Origin;
use super::tree::{Node, Value};

/// A text that is broken early is often read as broken in many places: the first few help.
const MOST_SYNTAX_ERRORS: usize = 8;

/// Reads the text of `file`. The errors are those of the syntax; with any of them the tree is incomplete.
pub(super) fn read(file: &Arc<Path>, text: &str) -> (Node, Vec<ConfigError>) {
    let lines = Lines::new(text);
    let reading = Reading { file, lines: &lines };
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<ConfigError> = Vec::new();
    for error in syntax_errors {
        let (line, column) = lines.position(error.span().map_or(0, |span| span.start));
        let origin = reading.origin_at(line);
        // One slip can make several errors on its line.
        if errors.len() < MOST_SYNTAX_ERRORS && errors.last().is_none_or(|last| last.origin() != &origin) {
            errors.push(ConfigError::syntax(origin, column, error.message()));
        }
    }
    (reading.table(table.get_ref(), table.span()), errors)
}

struct Reading<'a> {
    file: &'a Arc<Path>,
    lines: &'a Lines,
}

impl Reading<'_> {
    fn origin_at(&self, line: usize) -> Origin {
        Origin::File { file: Arc::clone(self.file), line: Some(line) }
    }

    fn table(&self, table: &DeTable<'_>, span: Range<usize>) -> Node {
        let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), self.entry(key.span(), value))).collect();
        Node { origin: self.origin_at(self.lines.position(span.start).0), value: Value::Table(entries) }
    }

    /// The node of `value`, whose key stands at `key`: what a reader of the file looks for is the key.
    fn entry(&self, key: Range<usize>, value: &Spanned<DeValue<'_>>) -> Node {
        let mut node = self.node(value);
        if !matches!(node.value, Value::List(_)) || !is_list_of_tables(&node.value) {
            node.origin = self.origin_at(self.lines.position(key.start).0);
        }
        node
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let origin = self.origin_at(self.lines.position(value.span().start).0);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => Value::Integer(value),
                // Too large for TOML and for every setting: a number that no reader takes for a whole one.
                Err(_) => Value::Float(integer.as_str().parse().unwrap_or(f64::MAX)),
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(value) => Value::Float(value),
                Err(_) => Value::Text(float.as_str().to_owned()),
            },
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => return self.table(table, value.span()),
        };
        Node { origin, value }
    }
}

/// Whether this is what `[[…]]` makes, of which every element has a line of its own.
fn is_list_of_tables(value: &Value) -> bool {
    matches!(value, Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Table(_))))
}

/// Where the lines of a text begin.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// Line and column of a byte, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or(0);
        (line, offset.saturating_sub(start) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse_path;
    use super::*;

    fn line_of(root: &Node, path: &str) -> usize {
        match &root.find(&parse_path(path)).unwrap().origin {
            Origin::File { line: Some(line), .. } => *line,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "workers = 1\n\n[front]\nlisten = \"a\"\nlimits.max_headers = 5\n[[function]]\nname = \"a\"\n\n[[function]]\n\
                    name = \"b\"\n[pool]\nrunners = [\n  \"x\",\n  \"y\",\n]\n";
        let (root, errors) = read(&Path::new("f.toml").into(), text);
        assert!(errors.is_empty());
        for (path, line) in [
            ("workers", 1),
            ("front", 3),
            ("front.listen", 4),
            ("front.limits.max_headers", 5),
            ("function[0]", 6),
            ("function[0].name", 7),
            ("function[1]", 9),
            ("function[1].name", 10),
            ("pool.runners", 12),
            ("pool.runners[1]", 14),
        ] {
            assert_eq!(line_of(&root, path), line, "{path}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_notation() {
        let (root, errors) = read(&Path::new("f.toml").into(), "a = 1_000\nb = 0xff\nc = 1e3\nd = -2\n");
        assert!(errors.is_empty());
        let value = |key| root.find(&parse_path(key)).unwrap().value.clone();
        assert_eq!([value("a"), value("b"), value("d")], [Value::Integer(1_000), Value::Integer(255), Value::Integer(-2)]);
        assert_eq!(value("c"), Value::Float(1_000.0));
    }
}
