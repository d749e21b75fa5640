//! What a configuration must be beyond its types: each struct is asked, then what must fit together is looked at.

use std::collections::BTreeMap;
use std::path::Path;

use super::access;
use super::errors::ConfigError;
use super::expectation::nearest;
use super::load::{Role, Tables};
use super::origin::Origin;
use super::root::Config;
use super::secrets;
use super::tree::{Found, Node, Step, parse_path};
use crate::model::{FunctionSpec, InvalidValue};
use crate::runner::http::{HttpVersion, Protocol};

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    /// What stops the program.
    pub(super) errors: Vec<ConfigError>,
    /// What looks like a mistake.
    pub(super) warnings: Vec<ConfigError>,
}

/// Looks at everything. `root` is the tree that `config` was read from.
pub(super) fn check(config: &Config, root: &Node, role: Role, tables: Tables) -> Findings {
    let places = Places { root, effective: serde_json::to_value(config).unwrap_or_default() };
    let mut findings = Findings::default();
    structs(config, &places, &mut findings.errors);
    access::check(config, role, tables, &places, &mut findings);
    if tables == Tables::Whole {
        functions(config, role, &places, &mut findings);
        routes(config, &places, &mut findings.errors);
        status_function(config, &places, &mut findings.errors);
        placed_functions(config, &places, &mut findings.errors);
    }
    runners(config, role, &places, &mut findings);
    times(config, &places, &mut findings.warnings);
    findings
}

/// Where values came from.
pub(super) struct Places<'a> {
    root: &'a Node,
    effective: serde_json::Value,
}

impl Places<'_> {
    /// An error about the value of `key`, at the place where it was set; else where its table begins.
    pub(super) fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.error_beside(key, None, problem)
    }

    /// The same of a value that does not go with that of the key `beside`: if nobody has set the one, at the place where the other was set.
    fn error_beside(&self, key: &str, beside: Option<&str>, problem: impl Into<String>) -> ConfigError {
        let path = parse_path(key);
        let name = self.root.describe(&path);
        let (node, found) = self.root.find_nearest(&path);
        if found == Found::Exactly {
            return ConfigError::value(node.origin.clone(), &name, Some(secrets::printed(&name, &node.value)), problem);
        }
        // Within `[[function]]` and `[[route]]`, the element's own line helps; a table of settings nobody set does not.
        let is_element = path.iter().any(|step| matches!(step, Step::Index(_)));
        let set_beside = beside.map(|key| self.root.find_nearest(&parse_path(key))).filter(|(_, found)| *found == Found::Exactly);
        let origin = match set_beside {
            Some((node, _)) => node.origin.clone(),
            None if is_element => node.origin.clone(),
            None => Origin::Default,
        };
        let value = self.effective_value(&path).map(|value| secrets::masked(&name, value.clone()).to_string());
        ConfigError::value(origin, name, value, problem)
    }

    fn effective_value(&self, path: &[Step]) -> Option<&serde_json::Value> {
        path.iter().try_fold(&self.effective, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }
}

fn structs(config: &Config, places: &Places<'_>, errors: &mut Vec<ConfigError>) {
    let telemetry = config.telemetry.validate().err().map(|error| invalid_telemetry(&error.to_string()));
    let mut sections: Vec<(String, Vec<InvalidValue>)> = vec![
        ("front".into(), config.front.validate()),
        ("admin".into(), config.admin.validate()),
        ("placement".into(), config.placement.validate()),
        ("pool".into(), config.pool.validate()),
        ("runner".into(), config.runner.validate()),
        ("fleet".into(), config.fleet.validate()),
        ("telemetry".into(), telemetry.into_iter().collect()),
    ];
    sections.extend(config.routes.iter().enumerate().map(|(index, route)| (format!("route[{index}]"), route.validate())));
    sections.extend(config.functions.iter().enumerate().map(|(index, spec)| (format!("function[{index}]"), spec.validate())));
    for (section, invalid) in sections {
        for value in invalid.into_iter().map(|value| value.within(&section)) {
            errors.push(places.error_beside(&value.key, value.beside.as_deref(), format!("expected {}", value.expected)));
        }
    }
}

/// The telemetry floor tells its error as one sentence: "`telemetry.buckets` is empty: expected at least one …".
fn invalid_telemetry(message: &str) -> InvalidValue {
    let key = message.split('`').nth(1).and_then(|key| key.strip_prefix("telemetry.")).unwrap_or_default();
    let expected = message.split_once("expected ").map_or(message, |(_, expected)| expected);
    InvalidValue::new(key, expected)
}

fn functions(config: &Config, role: Role, places: &Places<'_>, findings: &mut Findings) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, spec) in config.functions.iter().enumerate() {
        let key = |name: &str| format!("function[{index}].{name}");
        if let Some(earlier) = first.get(spec.name.as_str()) {
            let place = places.error(&format!("function[{earlier}].name"), "").origin().to_string();
            findings.errors.push(places.error(&key("name"), format!("expected each name once: {place} has it too")));
            continue;
        }
        first.insert(spec.name.as_str(), index);
        let is_run_here = role == Role::Up || config.pool.protocol == Protocol::Agent;
        if is_run_here && spec.command.is_empty() {
            let problem = "expected the program to run, such as [\"./hello\", \"--fast\"]; only behind pool.protocol = \"plain\" does a function \
                           need none";
            findings.errors.push(places.error(&key("command"), problem));
        }
        if spec.directory.as_deref().is_some_and(|directory| !directory.is_dir()) {
            let shown = spec.directory.as_deref().unwrap_or(Path::new("")).display();
            let problem = format!("expected a directory that exists, relative to the file: {shown} is none");
            // A balancer may stand on another machine than the runners that need the directory.
            match role {
                Role::Lb => findings.warnings.push(places.error(&key("directory"), problem)),
                Role::Any | Role::Runner | Role::Up => findings.errors.push(places.error(&key("directory"), problem)),
            }
        } else if role == Role::Up && !is_program(spec) {
            let problem = "no such program is on the PATH: calls of this function will fail";
            findings.warnings.push(places.error(&key("command"), problem));
        }
        if role == Role::Up && spec.memory > config.fleet.memory {
            let problem = format!(
                "expected at most fleet.memory ({}): no runner can ever take a call of this function",
                config.fleet.memory
            );
            findings.errors.push(places.error(&key("memory"), problem));
        }
    }
}

/// Whether the function's program can be found as far as can be told without running it.
fn is_program(spec: &FunctionSpec) -> bool {
    let Some(program) = spec.command.first() else { return true };
    if program.contains('/') {
        let base = spec.directory.as_deref().unwrap_or(Path::new(""));
        return base.join(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn routes(config: &Config, places: &Places<'_>, errors: &mut Vec<ConfigError>) {
    let names: Vec<&str> = config.functions.iter().map(|spec| spec.name.as_str()).collect();
    let mut first: BTreeMap<(Option<String>, &str), usize> = BTreeMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        if !names.contains(&route.function.as_str()) {
            let problem = match names.as_slice() {
                [] => "expected the name of a [[function]]; there is none".to_owned(),
                names => format!("expected the name of a [[function]]: one of {}", names.join(", ")),
            };
            let suggestion = nearest(route.function.as_str(), names.iter().copied());
            errors.push(places.error(&format!("route[{index}].function"), problem).suggesting(suggestion));
        }
        if !route.upgrade.is_empty() && config.pool.http == HttpVersion::Http2 {
            let problem = "expected none beside pool.http = \"2\": a connection that many calls share cannot be switched";
            errors.push(places.error(&format!("route[{index}].upgrade"), problem));
        }
        // As the front compares them.
        let host = route.host.as_ref().map(|host| host.to_ascii_lowercase());
        if let Some(earlier) = first.get(&(host.clone(), route.path.trim_end_matches('/'))) {
            let place = places.error(&format!("route[{earlier}].path"), "").origin().to_string();
            errors.push(
                places.error(&format!("route[{index}].path"), format!("expected each path and host once: {place} has it too")),
            );
        } else {
            first.insert((host, route.path.trim_end_matches('/')), index);
        }
    }
}

fn status_function(config: &Config, places: &Places<'_>, errors: &mut Vec<ConfigError>) {
    let Some(name) = &config.runner.status_function else { return };
    let names: Vec<&str> = config.functions.iter().map(|spec| spec.name.as_str()).collect();
    if !names.contains(&name.as_str()) {
        let suggestion = nearest(name.as_str(), names.iter().copied());
        errors.push(places.error("runner.status_function", "expected the name of a [[function]]").suggesting(suggestion));
    }
}

/// What `[placement.function.NAME]` is about must be there.
fn placed_functions(config: &Config, places: &Places<'_>, errors: &mut Vec<ConfigError>) {
    let names: Vec<&str> = config.functions.iter().map(|spec| spec.name.as_str()).collect();
    for unknown in config.placement.function.keys().filter(|name| !names.contains(&name.as_str())) {
        let problem = match names.as_slice() {
            [] => "expected the name of a [[function]]; there is none".to_owned(),
            names => format!("expected the name of a [[function]]: one of {}", names.join(", ")),
        };
        let suggestion = nearest(unknown.as_str(), names.iter().copied());
        errors.push(places.error(&format!("placement.function.{unknown}"), problem).suggesting(suggestion));
    }
}

fn runners(config: &Config, role: Role, places: &Places<'_>, findings: &mut Findings) {
    match role {
        Role::Lb if !config.pool.has_sources() => {
            let problem = "there is no runner: every call will wait for one and then be answered 503";
            findings.warnings.push(places.error("pool.runners", problem));
        }
        Role::Up => {
            if config.pool.protocol == Protocol::Plain {
                let problem =
                    "expected \"agent\": `runpool up` starts agents of its own; use `runpool lb` in front of plain servers";
                findings.errors.push(places.error("pool.protocol", problem));
            }
            if !config.pool.runners.is_empty() {
                let problem = "not used: `runpool up` starts its own runners; use `runpool lb` in front of these";
                findings.warnings.push(places.error("pool.runners", problem));
            }
        }
        Role::Lb | Role::Runner | Role::Any => {}
    }
}

fn times(config: &Config, places: &Places<'_>, warnings: &mut Vec<ConfigError>) {
    let placement = &config.placement;
    if placement.retry_all_delay >= placement.placer_timeout {
        warnings.push(places.error("placement.retry_all_delay", "not less than placer_timeout: no runner is ever tried twice"));
    }
}
