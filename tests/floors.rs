//! The floors of ARCHITECTURE.md: an import may only point down.

#![allow(clippy::expect_used, reason = "what cannot be had here ends the run, with its reason")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the top to the bottom; floors of one line do not import each other.
const FLOORS: [&[&str]; 18] = [
    &["cli"],
    &["sim"],
    &["config"],
    &["front", "fleet"],
    &["executions"],
    &["placement"],
    &["agent"],
    &["pool"],
    &["runner"],
    &["server"],
    &["http1"],
    &["tls"],
    &["protocol"],
    &["telemetry"],
    &["access"],
    &["files"],
    &["model"],
    &["main"],
];

/// Imports that the map of floors does not allow although they point down, each with the floor it would tie.
const FORBIDDEN: [(&str, &str); 11] = [
    ("placement", "agent"),
    ("agent", "pool"),
    ("agent", "runner"),
    ("placement", "server"),
    ("pool", "server"),
    ("sim", "config"),
    ("sim", "front"),
    ("sim", "fleet"),
    ("sim", "executions"),
    ("sim", "agent"),
    ("sim", "server"),
];

fn level(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&floor))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("the source folder can be read") {
        let path = entry.expect("the source folder can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The floors that a file names as `crate::floor`, comments and documentation aside.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let named = code.split("crate::").skip(1);
    named.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn every_import_points_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (floor, level_here) in FLOORS.iter().enumerate().flat_map(|(level, names)| names.iter().map(move |name| (*name, level))) {
        let folder = source.join(floor);
        if !folder.is_dir() {
            continue;
        }
        for file in rust_files(&folder) {
            let text = fs::read_to_string(&file).expect("a source file can be read");
            looked_at += 1;
            for import in imports(&text) {
                let Some(level_there) = level(&import) else { continue };
                let is_forbidden = FORBIDDEN.contains(&(floor, import.as_str()));
                if import != floor && (level_there <= level_here || is_forbidden) {
                    wrong.push(format!("{} imports {import}, which is not below {floor}", file.display()));
                }
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} files were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_floor_opens_with_a_page_that_says_what_it_is() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&source) {
        let text = fs::read_to_string(&file).expect("a source file can be read");
        assert!(text.starts_with("//!") || text.starts_with("#!"), "{} does not open with a page", file.display());
    }
}
