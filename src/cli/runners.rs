//! `runpool runners`: which runners the balancer knows.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::arguments::{AdminArguments, TableFormat};
use super::{http_client, output, table};

/// List the balancer's runners
///
/// The table shows what is looked at first; JSON has all that the balancer knows, such as the last error of each.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool runners\n  runpool runners --admin http://10.0.0.1:8081 --output json")]
pub(super) struct RunnersCommand {
    #[command(flatten)]
    admin: AdminArguments,
}

/// What people look at first, and nothing else: a line should fit on a terminal.
const COLUMNS: [&str; 9] = ["id", "address", "state", "reason", "weight", "in_flight", "slots", "committed", "refusals"];

impl RunnersCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        http_client::block_on(print_list(&self.admin, "runners", told))
    }
}

/// The runners as a table.
fn told(rows: &[Map<String, Value>]) -> String {
    table::table(&rows.iter().map(short).collect::<Vec<_>>(), &COLUMNS)
}

/// A runner in few words: one address, its slots without the rest of its report, all refusals as one number.
fn short(row: &Map<String, Value>) -> Map<String, Value> {
    let mut short: Map<String, Value> =
        COLUMNS.iter().filter_map(|column| Some(((*column).to_owned(), row.get(*column)?.clone()))).collect();
    if row.get("address") == row.get("id") {
        short.remove("address");
    }
    if let Some(slots) = row.get("last_load").and_then(|load| load.get("slots")) {
        short.insert("slots".to_owned(), slots.clone());
    }
    if let Some(refusals) = row.get("refusals").and_then(Value::as_object) {
        let sum: u64 = refusals.values().filter_map(Value::as_u64).sum();
        short.insert("refusals".to_owned(), sum.into());
    }
    short
}

/// Prints the list `name` of the admin API; `told` makes the table.
pub(super) async fn print_list(
    admin: &AdminArguments,
    name: &str,
    told: impl Fn(&[Map<String, Value>]) -> String,
) -> anyhow::Result<ExitCode> {
    let document = admin.target()?.get_json(&format!("/v1/{name}")).await?;
    match admin.output {
        TableFormat::Json => output::print(format!("{document:#}\n"))?,
        TableFormat::Table => output::print(told(&http_client::rows(&document, name)?))?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_fits_on_a_terminal_whatever_is_known_of_a_runner() {
        let runner = |id: &str| {
            json!({
                "id": id, "address": "192.168.100.100:65535", "protocol": "agent", "state": "draining", "reason": "not ready", "weight": 100,
                "is_open": true, "in_flight": 1234, "connections": 1234, "idle_connections": 1000, "attempts": 123_456_789,
                "committed": 123_456_789, "withdrawn": 12, "refusals": { "busy": 12_345_678, "too-late": 5 },
                "last_load": { "in_flight": 1234, "slots": 2048, "warm": 99 },
                "last_error": { "text": "the connection was lost after the call was handed over", "seconds_ago": 1.123_456 },
            })
        };
        let rows = |id: &str| vec![runner(id).as_object().unwrap().clone()];
        let table = told(&rows("01M80TE9PJFW00008ZJ0000002"));
        assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
        assert!(table.contains("12345683") && table.contains("2048"), "{table}");
        let short = told(&rows("192.168.100.100:65535"));
        assert_eq!(short.matches("192.168").count(), 1, "an address that is the id is not told twice: {short}");
    }
}
