//! A configuration: no text makes the loader panic; what is wrong is told with where it stands (P10); and what is printed of one that can be
//! used is a configuration again, with the same values.

use std::path::Path;

use runpool::config::{Config, Loaded, RenderFormat, Sources};

/// What is printed in the place of a secret.
const MASKED: &str = "***";

pub fn hold(bytes: &[u8]) {
    let directory = std::env::temp_dir();
    let file = directory.join(format!("runpool-fuzz-{}-{:?}.toml", std::process::id(), std::thread::current().id()));
    let first = load(&file, bytes);
    if let Some(first) = first {
        let printed = first.render(RenderFormat::Toml);
        assert!(!first.render(RenderFormat::Json).is_empty());
        if !printed.contains(MASKED) {
            let again = load(&file, printed.as_bytes()).unwrap_or_else(|| panic!("what was printed is none:\n{printed}"));
            let values = |loaded: &Loaded| -> Vec<_> {
                loaded.settings().into_iter().map(|setting| (setting.key, setting.value)).collect()
            };
            assert_eq!(values(&again), values(&first), "{printed}");
        }
    }
    let _ = std::fs::remove_file(file);
}

fn load(file: &Path, bytes: &[u8]) -> Option<Loaded> {
    std::fs::write(file, bytes).expect("a temporary file can be written");
    match Config::load(&Sources { file: Some(file.to_owned()), ..Sources::default() }) {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            let text = errors.to_string();
            let name = file.file_name().and_then(|name| name.to_str()).expect("the name is text");
            assert!(text.contains(name), "{text}");
            None
        }
    }
}
