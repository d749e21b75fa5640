//! What `runpool config` prints: every effective value and where it came from.

use std::fmt::Write as _;

use serde_json::json;

use super::loaded::{Loaded, Setting};

/// How the values are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderFormat {
    /// TOML, with the origin of each value as a comment behind it.
    Toml,
    /// One JSON object.
    Json,
}

/// Where the comments begin, unless a line is longer.
const COMMENT_COLUMN: usize = 48;

impl Loaded {
    /// The effective values and their origins, secrets masked. Ends with a line break.
    pub fn render(&self, format: RenderFormat) -> String {
        match format {
            RenderFormat::Toml => toml(&self.settings()),
            RenderFormat::Json => {
                let warnings: Vec<String> = self.warnings.iter().map(ToString::to_string).collect();
                let document = json!({ "file": self.file(), "settings": self.settings(), "warnings": warnings });
                format!("{document:#}\n")
            }
        }
    }
}

fn toml(settings: &[Setting]) -> String {
    // A table is opened once, wherever its keys stand in the list.
    let mut tables: Vec<(&str, Vec<(&str, &Setting)>)> = vec![("", Vec::new())];
    for setting in settings {
        let (table, name) = split(&setting.key);
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, entries)) => entries.push((name, setting)),
            None => tables.push((table, vec![(name, setting)])),
        }
    }
    let mut text = String::new();
    for (table, entries) in tables {
        if !table.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{}", header(table));
        }
        for (name, setting) in entries {
            let line = match &setting.value {
                Some(value) => format!("{} = {}", name_in(table, name), toml_value(value)),
                None => format!("# {name} is not set"),
            };
            let _ = writeln!(text, "{line:COMMENT_COLUMN$}  # {}", setting.origin);
        }
    }
    text
}

/// A key's table and its name there. A function's `config` is a table of its own, whose names may hold dots.
fn split(key: &str) -> (&str, &str) {
    if let Some(end) = key.find("].config.") {
        let table_end = end + "].config".len();
        return (key.get(..table_end).unwrap_or(key), key.get(table_end + 1..).unwrap_or_default());
    }
    match key.rfind("].") {
        Some(end) => (key.get(..=end).unwrap_or(key), key.get(end + 2..).unwrap_or_default()),
        None => key.rsplit_once('.').unwrap_or(("", key)),
    }
}

/// `[front.limits]`, `[[function]]`, `[function.config]`.
fn header(table: &str) -> String {
    match table.split_once('[') {
        None => format!("[{table}]"),
        Some((name, rest)) if rest.ends_with("].config") => format!("[{name}.config]"),
        Some((name, _)) => format!("[[{name}]]"),
    }
}

/// A key within its table: names of a function's environment may hold dots, others are tables within it.
fn name_in(table: &str, name: &str) -> String {
    if table.ends_with("].config") {
        return toml_key(name);
    }
    name.split('.').map(toml_key).collect::<Vec<_>>().join(".")
}

fn toml_key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { name.to_owned() } else { toml_value(&name.into()) }
}

fn toml_value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => toml::Value::String(text.clone()).to_string(),
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        // Truth values and numbers are written alike in both; the structs hold no null and no other table.
        other => other.to_string(),
    }
}
