//! The result as a table, JSON or CSV.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::cli::{output, table};
use crate::sim::{Estimate, Figures, Row, Shows, Theory};

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

/// A figure: name, decimals, value.
type Column = (&'static str, usize, fn(&Figures) -> f64);

const ADDED: [Column; 8] = [
    ("p50_ms", 2, |figures| figures.p50),
    ("p99_ms", 1, |figures| figures.p99),
    ("p99.9_ms", 1, |figures| figures.p999),
    ("mean_ms", 2, |figures| figures.mean),
    ("wait_p99_ms", 1, |figures| figures.wait_p99),
    COLD,
    ATTEMPTS,
    ("imbalance", 2, |figures| figures.imbalance),
];

const COLD: Column = ("cold_%", 2, |figures| figures.cold_share * 100.0);
const ATTEMPTS: Column = ("attempts", 3, |figures| figures.attempts);

/// What the client sees.
const LATENCY: [Column; 6] = [
    ("latency_mean_ms", 1, |figures| figures.latency[0]),
    ("latency_p90_ms", 1, |figures| figures.latency[1]),
    ("latency_p99_ms", 1, |figures| figures.latency[2]),
    ("latency_p99.9_ms", 1, |figures| figures.latency[3]),
    ("over_5s_%", 2, |figures| figures.over_5s * 100.0),
    ("per_second", 1, |figures| figures.throughput),
];

const FIRST_WAIT: Column = ("first_wait_ms", 1, |figures| figures.first_wait);

/// What is worth a column only where it happens.
const COUNTS: [Column; 3] = [
    ("not_placed", 0, |figures| figures.not_placed as f64),
    ("failed", 0, |figures| figures.failed as f64),
    ("saturated", 1, |figures| figures.saturated),
];

/// Prints the rows; `theory` is what the mean latency must be for a load, in milliseconds.
pub(super) fn print(format: Format, rows: &[Row], theory: Option<Theory>, shows: Shows) -> Result<(), output::WriteError> {
    match format {
        Format::Table => output::print(text(rows, theory, shows)),
        Format::Json => output::print(format!("{:#}\n", document(rows))),
        Format::Csv => output::print(csv(rows)),
    }
}

fn all_columns() -> impl Iterator<Item = Column> {
    ADDED.into_iter().chain(LATENCY).chain([FIRST_WAIT]).chain(COUNTS)
}

/// A table of all figures would be too wide.
fn shown(shows: Shows) -> Vec<Column> {
    let columns = match shows {
        Shows::Added => ADDED.to_vec(),
        Shows::Latency => LATENCY.into_iter().chain([COLD, ATTEMPTS, ADDED[7]]).collect(),
        Shows::FirstWaits => vec![FIRST_WAIT, ADDED[1], COLD, ATTEMPTS],
    };
    columns.into_iter().chain(COUNTS).collect()
}

fn text(rows: &[Row], theory: Option<Theory>, shows: Shows) -> String {
    let columns = shown(shows);
    let names: Vec<&str> = ["load", "placer", "theory_ms"].into_iter().chain(columns.iter().map(|(name, ..)| *name)).collect();
    let mut lines: Vec<Map<String, Value>> = Vec::new();
    for row in rows {
        let mut line = Map::new();
        line.insert("load".to_owned(), json!(format!("{:.2}", row.load)));
        line.insert("placer".to_owned(), json!(row.contender.to_string()));
        if let Some(theory) = theory {
            line.insert("theory_ms".to_owned(), json!(format!("{:.1}", theory(row.load))));
        }
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
        let figures: Map<String, Value> = all_columns()
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
    let columns: Vec<Column> = all_columns().collect();
    let mut text = format!("load,placer,seed,{}\n", columns.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(","));
    for row in rows {
        for (seed, figures) in (1..).zip(&row.figures) {
            let values: Vec<String> = columns.iter().map(|(_, _, of)| of(figures).to_string()).collect();
            text.push_str(&format!("{},{},{seed},{}\n", row.load, row.contender, values.join(",")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Contender;

    fn row() -> Row {
        let figures = |p99| Figures { p99, attempts: 1.0, answered: 5, ..Figures::default() };
        let Ok(contender) = "fn-naive".parse::<Contender>() else { panic!() };
        Row { contender, load: 0.7, figures: vec![figures(10.0), figures(12.0)], log_hashes: vec![1, 2] }
    }

    #[test]
    fn a_table_has_means_with_their_intervals_and_leaves_out_what_did_not_happen() {
        let text = text(&[row()], None, Shows::Added);
        assert!(text.starts_with("LOAD  PLACER    P50 MS"), "{text}");
        assert!(text.contains("11.0 ±12.7") && !text.contains("SATURATED"), "{text}");
    }

    #[test]
    fn csv_has_a_line_for_each_run_and_json_every_seed() {
        let csv = csv(&[row()]);
        assert_eq!(csv.lines().count(), 3);
        assert!(csv.lines().nth(2).unwrap().starts_with("0.7,fn-naive,2,0,12,"), "{csv}");
        let document = document(&[row()]);
        assert_eq!(document["rows"][0]["figures"]["p99_ms"]["seeds"], json!([10.0, 12.0]));
    }
}
