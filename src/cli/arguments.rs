//! Arguments that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{Config, ConfigErrors, Flag, Loaded, Role, Sources};

use super::output;

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigArguments {
    /// The configuration file (TOML)
    #[arg(long, short, value_name = "FILE", env = "RUNPOOL_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,

    /// Set one value: --set placement.placer=naive. Wins over RUNPOOL_PLACEMENT_PLACER, which wins over the file
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,

    /// Threads that do the work; 0 is one for each core
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<u16>,
}

impl ConfigArguments {
    /// The sources for a role; `flags` are the role's own.
    pub(super) fn sources(&self, role: Role, flags: impl IntoIterator<Item = Flag>) -> Sources {
        let workers = self.workers.map(|workers| Flag::new("--workers", "workers", workers));
        let set = self.set.iter().map(|text| Flag::assignment(text));
        Sources {
            role,
            file: self.config.clone(),
            environment: Sources::process_environment(),
            flags: set.chain(workers).chain(flags).collect(),
        }
    }
}

/// Loads the configuration and tells what looks suspicious in it.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn load(sources: &Sources) -> anyhow::Result<Loaded> {
    let loaded = Config::load(sources).map_err(|errors| unusable("the configuration", &errors))?;
    loaded.warnings.iter().for_each(output::warning);
    Ok(loaded)
}

/// That `what` cannot be used, and why, one error a line.
pub(super) fn unusable(what: &str, errors: &ConfigErrors) -> anyhow::Error {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    anyhow::anyhow!("{what} cannot be used:{}", lines.concat())
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TableFormat {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Where the balancer's admin listener is.
#[derive(Clone, Debug, Args)]
pub(super) struct AdminArguments {
    /// The balancer's admin address
    #[arg(long, value_name = "URL", env = "RUNPOOL_ADMIN", default_value = "http://127.0.0.1:8081")]
    pub(super) admin: String,

    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) output: TableFormat,
}
