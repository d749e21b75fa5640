//! A configuration that was read, with where each value came from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::errors::ConfigError;
use super::keys;
use super::origin::Origin;
use super::root::Config;
use super::secrets;
use super::tree::{Node, Step, parse_path};

/// A configuration that can be used.
///
/// Its `Debug` form is its printed form: secrets are masked.
#[derive(Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What looks like a mistake and does not stop the program.
    pub warnings: Vec<ConfigError>,
    file: Option<PathBuf>,
    root: Node,
}

/// One effective value, as it may be shown to anybody: secrets are masked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The dotted key: `front.limits.max_headers`, `function[greet].timeout`.
    pub key: String,
    /// The value; `None` if there is none by default.
    pub value: Option<serde_json::Value>,
    /// Where it came from.
    pub origin: Origin,
}

impl Loaded {
    pub(super) const fn new(config: Config, root: Node, warnings: Vec<ConfigError>, file: Option<PathBuf>) -> Self {
        Self { config, warnings, file, root }
    }

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where the value of a dotted key came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.root.find(&parse_path(key)).map_or(Origin::Default, |node| node.origin.clone())
    }

    /// That something is wrong with the value of a dotted key, told at the place where it was written.
    pub fn wrong(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let value = self.root.find(&parse_path(key)).map(|node| secrets::printed(key, &node.value));
        ConfigError::value(self.origin(key), key, value, problem)
    }

    /// Every effective value with its origin: the settings in the order of the documentation, then tokens, routes and functions.
    pub fn settings(&self) -> Vec<Setting> {
        let effective = serde_json::to_value(&self.config).unwrap_or_default();
        let mut settings: Vec<Setting> = Vec::new();
        for key in keys::all() {
            let value = key.path.split('.').try_fold(&effective, |value, name| value.get(name));
            settings.push(self.setting(&parse_path(&key.path), value));
        }
        for table in ["front.tokens", "admin.tokens", "pool.registration.tokens", "route", "function"] {
            let elements = table.split('.').try_fold(&effective, |value, name| value.get(name));
            let elements = elements.and_then(serde_json::Value::as_array);
            for (index, element) in elements.into_iter().flatten().enumerate() {
                let mut path: Vec<Step> = table.split('.').map(|name| Step::Key(name.to_owned())).collect();
                path.push(Step::Index(index));
                self.element(&mut path, element, &mut settings);
            }
        }
        settings
    }

    /// The settings of one element: of `[[function]]`, `[[front.tokens]]` and their like.
    fn element(&self, path: &mut Vec<Step>, value: &serde_json::Value, settings: &mut Vec<Setting>) {
        let Some(entries) = value.as_object() else {
            settings.push(self.setting(path, Some(value)));
            return;
        };
        // What an element is called comes first, as people write it.
        let is_name = |key: &str| key == "name" || key == "path";
        let (names, others): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| is_name(key));
        for (key, value) in names.into_iter().chain(others) {
            path.push(Step::Key(key.clone()));
            self.element(path, value, settings);
            path.pop();
        }
    }

    fn setting(&self, path: &[Step], value: Option<&serde_json::Value>) -> Setting {
        let origin = self.root.find(path).map_or(Origin::Default, |node| node.origin.clone());
        let key = self.root.describe(path);
        let value = value.filter(|value| !value.is_null()).map(|value| secrets::masked(&key, value.clone()));
        Setting { key, value, origin }
    }

    /// The keys that differ from `next` and that a reload cannot change: all but functions, routes, tokens and runners.
    pub fn needs_restart(&self, next: &Self) -> Vec<String> {
        let (mut before, mut after) = (self.config.clone(), next.config.clone());
        for config in [&mut before, &mut after] {
            config.routes.clear();
            config.functions.clear();
            config.pool.runners.clear();
        }
        let values = |config: &Config| serde_json::to_value(config).unwrap_or_default();
        let (before, after) = (values(&before), values(&after));
        let at = |root: &serde_json::Value, path: &str| path.split('.').try_fold(root, |value, name| value.get(name)).cloned();
        keys::all().iter().filter(|key| at(&before, &key.path) != at(&after, &key.path)).map(|key| key.path.clone()).collect()
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("file", &self.file).field("settings", &self.settings()).finish_non_exhaustive()
    }
}
