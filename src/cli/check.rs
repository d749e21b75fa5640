//! `runpool check`: is this configuration right?

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::arguments::{self, ConfigArguments};
use super::output;
use crate::config::{Config, Loaded, Origin, Role, Sources};
use crate::tls::{ClientTls, ServerTls};

/// Check a configuration without starting anything
///
/// Tells everything that is wrong with it: file and line, key, value, what was expected. Opens the certificates and keys that it names.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool check runpool.toml\n  runpool check --config runpool.toml --role lb")]
pub(super) struct CheckCommand {
    /// The configuration file; wins over --config
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArguments,

    #[command(flatten)]
    role: RoleArgument,
}

/// Who will use the configuration.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct RoleArgument {
    /// Who will use it. Without this: `lb` if the file names runners (pool.runners or another source), else `up`
    #[arg(long, value_name = "ROLE", value_enum)]
    role: Option<RoleName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Up,
    Lb,
    Runner,
}

impl RoleArgument {
    /// The sources with the role filled in.
    pub(super) fn complete(self, mut sources: Sources) -> Sources {
        sources.role = match self.role {
            Some(RoleName::Up) => Role::Up,
            Some(RoleName::Lb) => Role::Lb,
            Some(RoleName::Runner) => Role::Runner,
            // With anything wrong the role is not known; the second reading tells what.
            None => match Config::load(&sources) {
                Ok(loaded) if !loaded.config.pool.has_sources() => Role::Up,
                Ok(_) => Role::Lb,
                Err(_) => Role::Any,
            },
        };
        sources
    }
}

impl CheckCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut sources = self.config.sources(Role::Any, []);
        if let Some(file) = &self.file {
            sources.file = Some(file.clone());
        }
        let sources = self.role.complete(sources);
        let loaded = arguments::load(&sources)?;
        tls_files(&loaded.config, sources.role)?;
        let name = loaded.file().map_or_else(|| without_file(&loaded).to_owned(), |file| file.display().to_string());
        let role = match sources.role {
            Role::Any => "every role",
            Role::Lb => "`runpool lb`",
            Role::Runner => "`runpool runner`",
            Role::Up => "`runpool up`",
        };
        output::print(format!("{name}: ok for {role}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens the certificates and keys that the role will open.
fn tls_files(config: &Config, role: Role) -> anyhow::Result<()> {
    if role == Role::Runner {
        ServerTls::check(&config.runner.tls).context("runner.tls")?;
        return ClientTls::check(&config.runner.register.tls).context("runner.register.tls");
    }
    ServerTls::check(&config.front.tls).context("front.tls")?;
    ServerTls::check(&config.admin.tls).context("admin.tls")?;
    ClientTls::check(&config.pool.tls).context("pool.tls")
}

/// What was checked, so that nobody takes it for a file that was not found.
fn without_file(loaded: &Loaded) -> &'static str {
    if loaded.settings().iter().any(|setting| setting.origin != Origin::Default) {
        "the defaults, with variables and flags (no file was named)"
    } else {
        "the defaults (no file was named)"
    }
}
