//! Arguments that several commands share.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::http_client::Target;
use super::output;
use super::secret_token::SecretToken;
use crate::config::{Config, ConfigErrors, Flag, Loaded, Role, Sources};
use crate::telemetry::metrics::{Metrics, MetricsConfig};
use crate::tls::{ClientTls, ClientTlsConfig, TlsMetrics};

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

    /// A file with the token to show. Without it, the one in RUNPOOL_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) tls: TlsArguments,
}

impl AdminArguments {
    /// The admin listener, with the token that it wants to see.
    ///
    /// # Errors
    /// A file cannot be used, or the address is none.
    pub(super) fn target(&self) -> anyhow::Result<Target> {
        let token = match &self.token_file {
            Some(file) => Some(SecretToken::read(file)?),
            None => SecretToken::from_variable("RUNPOOL_TOKEN"),
        };
        Target::new(&self.admin, self.tls.load()?, token)
    }
}

/// TLS to whoever is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArguments {
    /// The roots (PEM) that its certificate is checked against
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// The certificate (PEM) to show when asked
    #[arg(long, value_name = "FILE", requires = "ca", requires = "key")]
    certificate: Option<PathBuf>,

    /// The private key (PEM) of --certificate
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// The name that its certificate must have, instead of the host of its address
    #[arg(long, value_name = "NAME", requires = "ca")]
    server_name: Option<String>,
}

impl TlsArguments {
    /// What the files say.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(super) fn load(&self) -> anyhow::Result<Option<Arc<ClientTls>>> {
        let Self { ca, certificate, key, server_name } = self.clone();
        // Nobody scrapes a tool.
        let metrics = TlsMetrics::declare(&mut Metrics::new(&MetricsConfig::default()));
        Ok(ClientTls::load("tool", &ClientTlsConfig { ca, certificate, key, server_name }, &metrics)?)
    }
}
