//! `runpool config`: every effective value, and where it came from.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::arguments::{self, ConfigArguments};
use super::check::RoleArgument;
use super::output;
use crate::config::{RenderFormat, Role};

/// Print every effective value and where it came from
///
/// Secrets are masked. The TOML form is a configuration file again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool config --config runpool.toml\n  RUNPOOL_WORKERS=2 runpool config --output json")]
pub(super) struct ConfigCommand {
    #[command(flatten)]
    config: ConfigArguments,

    #[command(flatten)]
    role: RoleArgument,

    /// How the values are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Toml)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// TOML with comments.
    Toml,
    /// JSON for programs.
    Json,
}

impl ConfigCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let sources = self.role.complete(self.config.sources(Role::Any, []));
        let loaded = arguments::load(&sources)?;
        let format = match self.output {
            Format::Toml => RenderFormat::Toml,
            Format::Json => RenderFormat::Json,
        };
        output::print(loaded.render(format))?;
        Ok(ExitCode::SUCCESS)
    }
}
