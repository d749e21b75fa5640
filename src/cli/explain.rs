//! `runpool explain`: why a call went where it went.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::arguments::{AdminArguments, TableFormat};
use super::{http_client, output, table};

/// Show why a call went where it went
///
/// The call's id stands on its answer, as `fn-call-id`. A balancer remembers the last calls (admin.explained_calls).
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  runpool explain 01JDGWPZ6S3XW2N5T0Q8R4VYKM\n  runpool explain 01JDGWPZ6S3XW2N5T0Q8R4VYKM --output json"
)]
pub(super) struct ExplainCommand {
    /// The call's id
    #[arg(value_name = "CALL-ID")]
    call_id: String,

    #[command(flatten)]
    admin: AdminArguments,
}

impl ExplainCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (target, path) = (self.admin.target()?, format!("/v1/calls/{}/placement", self.call_id));
        let document = http_client::block_on(target.get_json(&path))?;
        let url = target.url(&path);
        match self.admin.output {
            TableFormat::Json => output::print(format!("{document:#}\n"))?,
            TableFormat::Table => output::print(told(&document).with_context(|| format!("{url} answered with something else"))?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is told on one line each, and how it is called; then the candidates as a table.
const LINES: [(&str, &str); 14] = [
    ("call_id", "call"),
    ("function", "function"),
    ("outcome", "outcome"),
    ("runner", "runner"),
    ("placer", "placer"),
    ("reason", "reason"),
    ("waited_ms", "waited (ms)"),
    ("attempts", "attempts"),
    ("refusals", "refusals"),
    ("start", "start"),
    ("start_ms", "start (ms)"),
    ("runners", "runners"),
    ("runners_with_room", "with room"),
    ("waiting", "calls waiting"),
];

fn told(document: &Value) -> Option<String> {
    let members = document.as_object()?;
    let mut text = String::new();
    for (key, name) in LINES {
        let whole = |value: &Value| match value.as_f64() {
            Some(millis) if key.ends_with("_ms") => format!("{millis:.1}"),
            _ => table::text(value),
        };
        let told = members.get(key).map(whole).filter(|told| !told.is_empty());
        if let Some(told) = told {
            text += &format!("{name:<14} {told}\n");
        }
    }
    let candidates: Vec<_> = members.get("candidates")?.as_array()?.iter().filter_map(Value::as_object).cloned().collect();
    if !candidates.is_empty() {
        text += &format!(
            "\nAs it looked when it was chosen, the chosen one first:\n{}",
            table::table(&candidates, &["runner", "in_flight", "slots", "idle"])
        );
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_read_what_is_known_and_the_candidates() {
        let document = json!({
            "call_id": "X", "reason": "home", "runner": "a:1", "start": null, "start_ms": 4.545_999_999, "attempts": 1,
            "candidates": [{ "runner": "a:1", "in_flight": 1, "slots": 2, "idle": 0 }],
        });
        assert_eq!(
            told(&document).unwrap(),
            "call           X\nrunner         a:1\nreason         home\nattempts       1\nstart (ms)     4.5\n\nAs it looked when it was chosen, the chosen one \
             first:\nRUNNER  IN FLIGHT  SLOTS  IDLE\na:1     1          2      0\n"
        );
    }
}
