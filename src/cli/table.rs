//! Columns for people out of JSON for programs: what a newer balancer adds is shown too.

use serde_json::{Map, Value};

/// The rows as a table: the columns of `preferred` that occur, in this order, then the others by name. A column that no row has
/// anything for is left out. Ends with a line break; one line says so if there is no row.
pub(super) fn table(rows: &[Map<String, Value>], preferred: &[&str]) -> String {
    let columns = columns(rows, preferred);
    if columns.is_empty() {
        return "none\n".to_owned();
    }
    let head: Vec<String> = columns.iter().map(|column| column.replace('_', " ").to_uppercase()).collect();
    let body = rows.iter().map(|row| columns.iter().map(|column| cell(row.get(*column))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| lines.iter().filter_map(|line| line.get(index)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One object, a line for each member.
pub(super) fn sheet(members: &Map<String, Value>) -> String {
    let width = members.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    members.iter().map(|(key, value)| format!("{key:width$}  {}", cell(Some(value))).trim_end().to_owned() + "\n").collect()
}

fn columns<'a>(rows: &'a [Map<String, Value>], preferred: &[&'a str]) -> Vec<&'a str> {
    let is_told = |column: &str| rows.iter().any(|row| !cell(row.get(column)).is_empty());
    let mut others: Vec<&str> = rows.iter().flat_map(Map::keys).map(String::as_str).collect();
    others.sort_unstable();
    others.dedup();
    let others = others.into_iter().filter(|column| !preferred.contains(column));
    preferred.iter().copied().chain(others).filter(|column| is_told(column)).collect()
}

/// A value as a text of one line.
pub(super) fn text(value: &Value) -> String {
    cell(Some(value))
}

/// A value in a cell. Nothing, and lists and objects of nothing, are empty.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(","),
        Some(Value::Object(members)) => {
            members.iter().map(|(key, value)| format!("{}={}", printable(key), cell(Some(value)))).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// A text from elsewhere must not be able to steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(value: Value) -> Vec<Map<String, Value>> {
        value.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn known_columns_come_first_and_unknown_ones_are_shown_too() {
        let rows = rows(json!([
            { "new": [1, 2], "id": "a", "in_flight": 3, "last_error": null },
            { "id": "longer", "in_flight": 12, "refusals": { "busy": 1 } },
        ]));
        assert_eq!(
            table(&rows, &["id", "in_flight", "slots"]),
            "ID      IN FLIGHT  NEW  REFUSALS\na       3          1,2\nlonger  12              busy=1\n"
        );
    }

    #[test]
    fn no_rows_are_told_as_such() {
        assert_eq!(table(&[], &["id"]), "none\n");
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(table(&rows(json!([{ "id": "a\u{1b}[2Jb\n" }])), &[]), "ID\na [2Jb\n");
    }

    #[test]
    fn a_sheet_has_a_line_for_each_member() {
        let members = rows(json!([{ "state": "ready", "warm_workers": {}, "slots": 4 }])).remove(0);
        assert_eq!(sheet(&members), "slots         4\nstate         ready\nwarm_workers\n");
    }
}
