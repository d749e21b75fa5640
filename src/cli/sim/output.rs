//! The result as a table, JSON or CSV.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::cli::{output, table};
use crate::sim::{Estimate, Figures, Row};

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// Comma-separated values.
    Csv,
}

/// The figures of the table: name, decimals, value.
type Column = (&'static str, usize, fn(&Figures) -> f64);

const COLUMNS: [Column; 8] = [
    ("p50_ms", 2, |figures| figures.p50),
    ("p99_ms", 1, |figures| figures.p99),
    ("p99.9_ms", 1, |figures| figures.p999),
    ("mean_ms", 1, |figures| figures.mean),
    ("cold_%", 2, |figures| figures.cold_share * 100.0),
    ("attempts", 3, |figures| figures.attempts),
    ("imbalance", 2, |figures| figures.imbalance),
    ("wait_p99_ms", 1, |figures| figures.wait_p99),
];

/// What is worth a column only where it happens.
const COUNTS: [Column; 3] = [
    ("not_placed", 0, |figures| figures.not_placed as f64),
    ("failed", 0, |figures| figures.failed as f64),
    ("saturated", 1, |figures| figures.saturated),
];

pub(super) fn print(format: Format, rows: &[Row]) -> Result<(), output::WriteError> {
    match format {
        Format::Table => output::print(text(rows)),
        Format::Json => output::print(format!("{:#}\n", document(rows))),
        Format::Csv => output::print(csv(rows)),
    }
}

fn text(rows: &[Row]) -> String {
    let columns: Vec<Column> = COLUMNS.into_iter().chain(COUNTS).collect();
    let names: Vec<&str> = ["load", "placer"].into_iter().chain(columns.iter().map(|(name, ..)| *name)).collect();
    let mut lines: Vec<Map<String, Value>> = Vec::new();
    for row in rows {
        let mut line = Map::new();
        line.insert("load".to_owned(), json!(format!("{:.2}", row.load)));
        line.insert("placer".to_owned(), json!(row.contender.to_string()));
        for (name, decimals, of) in &columns {
            let estimate = row.estimate(of);
            let is_count = COUNTS.iter().any(|(count, ..)| count == name);
            if !is_count || estimate.mean > 0.0 {
                line.insert((*name).to_owned(), json!(with_interval(estimate, *decimals)));
            }
        }
        lines.push(line);
    }
    table::table(&lines, &names)
}

fn with_interval(estimate: Estimate, decimals: usize) -> String {
    match estimate.half_width {
        Some(half) => format!("{:.decimals$} ±{half:.decimals$}", estimate.mean),
        None => format!("{:.decimals$}", estimate.mean),
    }
}

fn document(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let figures: Map<String, Value> = COLUMNS
            .into_iter()
            .chain(COUNTS)
            .map(|(name, _, of)| {
                let estimate = row.estimate(of);
                let seeds: Vec<f64> = row.figures.iter().map(of).collect();
                (name.to_owned(), json!({ "mean": estimate.mean, "half_width": estimate.half_width, "seeds": seeds }))
            })
            .collect();
        json!({ "load": row.load, "placer": row.contender.to_string(), "figures": figures,
            "log_hashes": row.log_hashes.iter().map(|hash| format!("{hash:016x}")).collect::<Vec<_>>() })
    };
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

/// One line for each run.
fn csv(rows: &[Row]) -> String {
    let columns: Vec<Column> = COLUMNS.into_iter().chain(COUNTS).collect();
    let mut text = format!("load,placer,seed,{}\n", columns.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(","));
    for row in rows {
        for (seed, figures) in (1..).zip(&row.figures) {
            let values: Vec<String> = columns.iter().map(|(_, _, of)| of(figures).to_string()).collect();
            text.push_str(&format!("{},{},{seed},{}\n", row.load, row.contender, values.join(",")));
        }
    }
    text
}
