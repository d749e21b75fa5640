//! `runpool check`: is this configuration right?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::arguments::{self, ConfigArguments};
use super::output;
use crate::config::{Config, ConfigError, ConfigErrors, Loaded, Origin, Role, Sources};
use crate::tls::{ClientTls, ServerTls, TlsFileError};

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
        let asked = self.role.role;
        let sources = self.role.complete(sources);
        let loaded = arguments::load(&sources)?;
        let wrong = tls_files(&loaded, asked);
        if !wrong.is_empty() {
            return Err(arguments::unusable("the configuration", &ConfigErrors::sorted(wrong)));
        }
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

/// What is wrong with the certificates and keys that the role will open; without a role, with all of them.
fn tls_files(loaded: &Loaded, role: Option<RoleName>) -> Vec<ConfigError> {
    let Config { front, admin, pool, runner, .. } = &loaded.config;
    let (is_balancer, is_runner) = (role != Some(RoleName::Runner), matches!(role, None | Some(RoleName::Runner)));
    let listeners = [("front", is_balancer, &front.tls), ("admin", is_balancer, &admin.tls), ("runner", is_runner, &runner.tls)];
    let clients = [("pool", is_balancer, &pool.tls), ("runner.register", is_runner, &runner.register.tls)];
    let listeners = listeners.into_iter().filter(|(_, is_opened, _)| *is_opened).filter_map(|(table, _, tls)| {
        let files = [("certificate", &tls.certificate), ("key", &tls.key), ("client_ca", &tls.client_ca)];
        ServerTls::check(tls).err().map(|error| unfit(loaded, table, &files, &error))
    });
    let clients = clients.into_iter().filter(|(_, is_opened, _)| *is_opened).filter_map(|(table, _, tls)| {
        let files = [("ca", &tls.ca), ("certificate", &tls.certificate), ("key", &tls.key)];
        ClientTls::check(tls).err().map(|error| unfit(loaded, table, &files, &error))
    });
    listeners.chain(clients).collect()
}

/// The error about one file, at the place where it was named.
fn unfit(loaded: &Loaded, table: &str, files: &[(&str, &Option<PathBuf>); 3], error: &TlsFileError) -> ConfigError {
    let named = files.iter().find(|(_, file)| file.as_deref() == Some(error.file()));
    let key = named.map_or_else(|| format!("{table}.tls"), |(key, _)| format!("{table}.tls.{key}"));
    loaded.wrong(&key, error.to_string())
}

/// What was checked, so that nobody takes it for a file that was not found.
fn without_file(loaded: &Loaded) -> &'static str {
    if loaded.settings().iter().any(|setting| setting.origin != Origin::Default) {
        "the defaults, with variables and flags (no file was named)"
    } else {
        "the defaults (no file was named)"
    }
}
