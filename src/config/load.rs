//! From the sources to the values.

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use super::environment::Flag;
use super::errors::{ConfigError, ConfigErrors};
use super::expectation::{expected, nearest};
use super::loaded::Loaded;
use super::origin::Origin;
use super::reader::{self, ReadError, Wrong};
use super::root::Config;
use super::tree::{Found, Node, Step};
use super::{checks, environment, secrets, toml_file};

/// Who will use the configuration: what must be there depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nobody yet: what every role can use.
    #[default]
    Any,
    /// The balancer.
    Lb,
    /// The agent.
    Runner,
    /// Both on one machine.
    Up,
}

/// Where a configuration comes from, weakest first.
#[derive(Clone, Default)]
pub struct Sources {
    /// Who will use it.
    pub role: Role,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The process's environment; only names that begin with `RUNPOOL_` are looked at.
    pub environment: Vec<(String, String)>,
    /// Flags that set keys; a later one wins.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// The environment of this process. Text that is not Unicode is read as well as it can be.
    pub fn process_environment() -> Vec<(String, String)> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .filter(|(name, _)| name.starts_with(environment::PREFIX))
            .collect()
    }
}

/// A text with more wrong values than this is not worth reading on.
const MOST_ERRORS: usize = 100;

impl Config {
    /// Reads the configuration out of its sources.
    ///
    /// # Errors
    /// Everything that was found to be wrong. A text that is not TOML hides what else is wrong with its values.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let (mut root, mut errors) = match &sources.file {
            Some(file) => read_file(file),
            None => (Node::empty(), Vec::new()),
        };
        let is_readable = errors.is_empty();
        for (overrides, wrong) in [environment::from_variables(&sources.environment), environment::from_flags(&sources.flags)] {
            errors.extend(wrong);
            overrides.into_iter().for_each(|value| value.apply(&mut root));
        }
        if !is_readable {
            return Err(ConfigErrors::sorted(errors));
        }
        // What is wrong is taken out on the way: what is left can be read.
        let mut config = read_all(&mut root, &mut errors);
        make_directories_absolute(&mut config, sources.file.as_deref());
        let findings = checks::check(&config, &root, sources.role, Tables::after(&errors));
        errors.extend(findings.errors);
        if !errors.is_empty() {
            return Err(ConfigErrors::sorted(errors));
        }
        Ok(Loaded::new(config, root, findings.warnings, sources.file.clone()))
    }
}

/// Whether functions and routes were read whole: only then does it make sense to look at what fits together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    Whole,
    Broken,
}

impl Tables {
    fn after(errors: &[ConfigError]) -> Self {
        let is_in_table = |key: &str| key.starts_with("function") || key.starts_with("route");
        if errors.iter().any(|error| error.key().is_some_and(is_in_table)) { Self::Broken } else { Self::Whole }
    }
}

fn read_file(file: &Path) -> (Node, Vec<ConfigError>) {
    let name: Arc<Path> = file.into();
    let unreadable = |line: Option<usize>, problem: String| {
        let origin = Origin::File { file: Arc::clone(&name), line };
        (Node::empty(), vec![ConfigError::source(origin, problem)])
    };
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(None, format!("could not read the file: {error}")),
    };
    match str::from_utf8(&bytes) {
        Ok(text) => toml_file::read(&name, text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            unreadable(Some(line), "the file is not UTF-8 text: expected TOML".to_owned())
        }
    }
}

/// Reads the configuration, and as often as something is wrong, notes it, takes it out and reads again: so that all errors are told at
/// once, and the rest can still be looked at. Every round takes a node away, so it ends.
fn read_all(root: &mut Node, errors: &mut Vec<ConfigError>) -> Config {
    // The keys taken out of the table that is being read.
    let mut removed: Vec<Vec<Step>> = Vec::new();
    loop {
        let error = match reader::read::<Config>(root) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let path = error.path();
        if !is_consequence(&error, &path, &removed) {
            errors.push(describe(root, &path, &error.wrong));
        }
        if errors.len() >= MOST_ERRORS || root.remove(&path).is_none() {
            return Config::default();
        }
        match path.last() {
            // The elements behind it have moved.
            Some(Step::Index(_)) | None => removed.clear(),
            Some(Step::Key(_)) => removed.push(path),
        }
    }
}

/// Whether a key is missing only because its wrong value was taken out.
fn is_consequence(error: &ReadError, path: &[Step], removed: &[Vec<Step>]) -> bool {
    let Wrong::MissingKey { key } = &error.wrong else { return false };
    removed.iter().any(|gone| gone.split_last() == Some((&Step::Key((*key).to_owned()), path)))
}

fn describe(root: &Node, path: &[Step], wrong: &Wrong) -> ConfigError {
    let key = root.describe(path);
    let (node, found) = root.find_nearest(path);
    // A table that lacks something is not worth showing.
    let is_shown = found == Found::Exactly && !matches!(wrong, Wrong::MissingKey { .. });
    let value = is_shown.then(|| secrets::printed(&key, &node.value));
    let suggestion = match (wrong, path.last()) {
        (Wrong::UnknownKey { known }, Some(Step::Key(name))) => nearest(name, known.iter().copied()),
        (Wrong::UnknownWord { words }, _) => node.text().and_then(|text| nearest(text, words.iter().copied())),
        _ => None,
    };
    let mut problem = expected(wrong, &key);
    if let (Wrong::UnknownKey { known }, None) = (wrong, suggestion) {
        problem = format!("{problem}: expected one of {}", known.join(", "));
    }
    ConfigError::value(node.origin.clone(), key, value, problem).suggesting(suggestion)
}

/// In a file, files and directories are relative to that file; elsewhere, to where the program was started.
fn make_directories_absolute(config: &mut Config, file: Option<&Path>) {
    let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let Config { front, admin, pool, runner, .. } = config;
    let servers = [&mut front.tls, &mut admin.tls, &mut runner.tls];
    let servers = servers.into_iter().flat_map(|tls| [&mut tls.certificate, &mut tls.key, &mut tls.client_ca]);
    let clients = [&mut pool.tls, &mut runner.register.tls];
    let clients = clients.into_iter().flat_map(|tls| [&mut tls.ca, &mut tls.certificate, &mut tls.key]);
    let files = [&mut pool.file.path, &mut pool.registration.token_file, &mut runner.register.token_file];
    let directories = config.functions.iter_mut().map(|function| &mut function.directory);
    for directory in files.into_iter().chain(servers).chain(clients).chain(directories).filter_map(Option::as_mut) {
        // Fails only for an empty path or without a working directory; the check that it exists tells then.
        if let Ok(absolute) = std::path::absolute(base.join(&*directory)) {
            *directory = absolute.components().collect();
        }
    }
}
