//! The result as a table, JSON or CSV.
//!
//! All figures but counts are of answered calls. Where there was none they are not there either: a dash, `null`, an empty field.

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

/// Stands in the table for what nothing is known of.
const UNKNOWN: &str = "-";
/// Stands below a table in which calls were not answered.
const OF_ANSWERED: &str = "\nTimes, shares and attempts are of answered calls only. Beside them are counted, in the mean of the seeds: calls that no runner \
took in time (not placed), and calls that a runner took and lost (failed).\n";

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

/// Of all calls, as the counts are.
const THROUGHPUT: &str = LATENCY[5].0;

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
            let estimate = estimate(row, name, *of);
            if !is_count(name) || estimate.is_some_and(|estimate| estimate.mean > 0.0) {
                let told = estimate.map_or_else(|| UNKNOWN.to_owned(), |estimate| with_interval(estimate, *decimals));
                line.insert((*name).to_owned(), json!(told));
            }
        }
        lines.push(line);
    }
    let has_others = rows.iter().flat_map(|row| &row.figures).any(|figures| figures.not_placed + figures.failed > 0);
    table::table(&lines, &names) + if has_others { OF_ANSWERED } else { "" }
}

fn is_count(name: &str) -> bool {
    COUNTS.iter().any(|(count, ..)| *count == name)
}

fn is_of_answered(name: &str) -> bool {
    !is_count(name) && name != THROUGHPUT
}

fn estimate(row: &Row, name: &str, of: fn(&Figures) -> f64) -> Option<Estimate> {
    if is_of_answered(name) { row.estimate_of_answered(of) } else { Some(row.estimate(of)) }
}

fn value(figures: &Figures, name: &str, of: fn(&Figures) -> f64) -> Option<f64> {
    (figures.answered > 0 || !is_of_answered(name)).then(|| of(figures))
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
                let estimate = estimate(row, name, of);
                let seeds: Vec<Option<f64>> = row.figures.iter().map(|figures| value(figures, name, of)).collect();
                let (mean, half_width) = (estimate.map(|it| it.mean), estimate.and_then(|it| it.half_width));
                (name.to_owned(), json!({ "mean": mean, "half_width": half_width, "seeds": seeds }))
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
            let told = |(name, _, of): &Column| value(figures, name, *of).map_or_else(String::new, |value| value.to_string());
            let values: Vec<String> = columns.iter().map(told).collect();
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
        assert!(text.contains("11.0 ±12.7") && !text.contains("SATURATED") && !text.contains("answered"), "{text}");
    }

    #[test]
    fn a_run_that_placed_nothing_has_no_times_but_counts() {
        let mut row = row();
        row.figures = vec![Figures { not_placed: 5, ..Figures::default() }; 2];
        let table = text(&[row.clone()], None, Shows::Added);
        let line: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["0.70", "fn-naive", "-", "-", "-", "-", "-", "-", "-", "-", "5", "±0"], "{table}");
        assert!(table.contains("of answered calls only"), "{table}");
        let document = document(&[row.clone()]);
        let figures = &document["rows"][0]["figures"];
        assert_eq!(figures["p99_ms"], json!({ "mean": null, "half_width": null, "seeds": [null, null] }));
        assert_eq!((&figures["not_placed"]["mean"], &figures["per_second"]["mean"]), (&json!(5.0), &json!(0.0)));
        assert!(csv(&[row]).lines().nth(1).unwrap().starts_with("0.7,fn-naive,1,,,"));
    }

    #[test]
    fn a_seed_that_placed_nothing_does_not_count_among_the_times() {
        let mut row = row();
        row.figures[1] = Figures { not_placed: 5, ..Figures::default() };
        let document = document(&[row]);
        assert_eq!(document["rows"][0]["figures"]["p99_ms"], json!({ "mean": 10.0, "half_width": null, "seeds": [10.0, null] }));
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
