//! The report of an experiment: one HTML file with everything in it, plots and tables, that loads nothing from anywhere.

mod plot;

use std::fmt::Write as _;

use plot::{Curve, Panel, Point, Scale};

use super::experiment::Row;
use super::measures::Figures;
use super::statistics::Estimate;

/// What stands above the plots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// The title.
    pub title: String,
    /// The command that makes this report again.
    pub command: String,
    /// Lines about the set-up.
    pub notes: Vec<String>,
}

/// A figure that is plotted against load.
struct Plotted {
    title: &'static str,
    scale: Scale,
    of: fn(&Figures) -> f64,
}

const PLOTTED: [Plotted; 6] = [
    Plotted { title: "Added latency, 99 % (ms)", scale: Scale::Logarithmic, of: |figures| figures.p99 },
    Plotted { title: "Added latency, 99.9 % (ms)", scale: Scale::Logarithmic, of: |figures| figures.p999 },
    Plotted { title: "Added latency, median (ms)", scale: Scale::Logarithmic, of: |figures| figures.p50 },
    Plotted { title: "Calls with a cold start (%)", scale: Scale::Linear, of: |figures| figures.cold_share * 100.0 },
    Plotted { title: "Attempts per call", scale: Scale::Logarithmic, of: |figures| figures.attempts },
    Plotted { title: "Imbalance (deviation / mean of calls per second)", scale: Scale::Linear, of: |figures| figures.imbalance },
];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1c2430}\
    pre{background:#f2f4f7;padding:.8rem;white-space:pre-wrap}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(520px,1fr));gap:1rem}\
    svg{width:100%;height:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .7rem;text-align:right;\
    border-bottom:1px solid #dde2e8}td:nth-child(2),th:nth-child(2){text-align:left}small{color:#667}";

/// The report as HTML.
pub fn html(heading: &Heading, rows: &[Row]) -> String {
    let mut text = String::new();
    let title = escape(&heading.title);
    // Writing to a string does not fail.
    let _ =
        write!(text, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\n");
    let _ = write!(text, "<h1>{title}</h1>\n<p>Made by</p>\n<pre>{}</pre>\n", escape(&heading.command));
    for note in &heading.notes {
        let _ = writeln!(text, "<p>{}</p>", escape(note));
    }
    text.push_str("<p>Added latency is everything but warm execution. Bars are 95 % confidence intervals over the seeds (Student's t). All figures \
         are of calls that were answered; those that were not placed are counted beside them.</p>\n<div class=\"plots\">\n");
    for plotted in &PLOTTED {
        let panel = Panel { title: plotted.title, scale: plotted.scale, curves: curves(rows, plotted.of) };
        if let Some(svg) = panel.svg() {
            let _ = writeln!(text, "<figure>{svg}</figure>");
        }
    }
    text.push_str("</div>\n<h2>Figures</h2>\n");
    table(&mut text, rows);
    text.push_str("</html>\n");
    text
}

/// A curve for each placer, in the order in which they first occur.
fn curves(rows: &[Row], of: fn(&Figures) -> f64) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        let name = row.contender.to_string();
        let index = curves.iter().position(|curve| curve.name == name).unwrap_or_else(|| {
            curves.push(Curve { name, points: Vec::new() });
            curves.len() - 1
        });
        // A run that placed nothing has no figure.
        if let Some(Estimate { mean, half_width }) = row.estimate_of_answered(of) {
            curves[index].points.push(Point { x: row.load, y: mean, half_width: half_width.unwrap_or(0.0) });
        }
    }
    curves
}

fn table(text: &mut String, rows: &[Row]) {
    text.push_str("<table><tr><th>load</th><th>placer</th>");
    for plotted in &PLOTTED {
        let _ = write!(text, "<th>{}</th>", escape(plotted.title));
    }
    text.push_str("<th>not placed</th></tr>\n");
    for row in rows {
        let _ = write!(text, "<tr><td>{:.2}</td><td>{}</td>", row.load, escape(&row.contender.to_string()));
        for plotted in &PLOTTED {
            let figure = row.estimate_of_answered(plotted.of).map_or_else(
                || "–".to_owned(),
                |Estimate { mean, half_width }| {
                    let half = half_width.map(|half| format!(" <small>±{half:.2}</small>"));
                    format!("{mean:.2}{}", half.unwrap_or_default())
                },
            );
            let _ = write!(text, "<td>{figure}</td>");
        }
        let is_saturated = row.figures.iter().any(|figures| figures.saturated > 0.0);
        let not_placed: u64 = row.figures.iter().map(|figures| figures.not_placed).sum();
        let _ = writeln!(text, "<td>{not_placed}{}</td></tr>", if is_saturated { " (given up: saturated)" } else { "" });
    }
    text.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::PlacerChoice;
    use crate::sim::Contender;

    #[test]
    fn a_report_has_its_command_its_plots_and_nothing_from_elsewhere() {
        let figures = |p99| Figures { p99, p999: p99 * 2.0, p50: 0.5, attempts: 1.0, answered: 9, ..Figures::default() };
        let row = |load, p99: f64| Row {
            contender: Contender::Placer(PlacerChoice::DelayPull),
            load,
            figures: vec![figures(p99), figures(p99 * 1.1)],
            log_hashes: vec![1, 2],
        };
        let unplaced = Figures { not_placed: 7, ..Figures::default() };
        let nothing = Row { figures: vec![unplaced], load: 0.9, log_hashes: vec![3], ..row(0.9, 0.0) };
        let heading = Heading { title: "a < b".into(), command: "runpool sim --load 0.7".into(), notes: vec![] };
        let text = html(&heading, &[row(0.7, 17.0), row(0.8, 239.0), nothing]);
        assert!(text.contains("a &lt; b") && text.contains("runpool sim --load 0.7") && text.contains("delay-pull"));
        assert_eq!(text.matches("<svg").count(), 6);
        assert!(text.contains("<td>0.90</td><td>delay-pull</td><td>–</td>") && text.contains("<td>7</td>"), "{text}");
        for elsewhere in ["src=", "href=", "@import", "<script"] {
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
    }
}
