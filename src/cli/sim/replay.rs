//! `runpool sim --replay FILE`: whether a fresh placing loop decides what a live one decided.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::output;
use crate::sim::replay;

pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let replayed = replay(path)?;
    for difference in &replayed.differences {
        output::print(format!("{difference}\n"))?;
    }
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    output::print(format!(
        "{}, {}, {} with a difference\n",
        count(replayed.loops, "loop"),
        count(replayed.events, "event"),
        replayed.differences.len()
    ))?;
    Ok(if replayed.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
