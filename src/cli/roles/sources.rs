//! The sources of a balancer's runners, as its configuration names them.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::access::TokenList;
use crate::pool::sources::{DnsSource, FileSource, Listed, Registrar, RegistrationConfig, SourceMetrics, SourceName};
use crate::pool::{ConfiguredPool, PoolConfig};

/// Lists the runners of every source, and follows those that change by tasks of `keepers`. Returns who takes registrations, if any do.
///
/// # Errors
/// A source cannot be read as it is configured. A name server that does not answer is none of that: it may later.
pub(super) fn follow(
    pool: &Arc<ConfiguredPool>,
    config: &PoolConfig,
    metrics: &SourceMetrics,
    keepers: &mut JoinSet<()>,
) -> anyhow::Result<Option<Arc<Registrar>>> {
    metrics.listed(SourceName::Configuration, config.runners.len());
    if let Some(path) = &config.file.path {
        let (source, entries) = FileSource::open(path).context("pool.file.path")?;
        let runners = entries.len();
        pool.list(SourceName::File, entries.into_iter().map(Listed::from))?;
        metrics.listed(SourceName::File, runners);
        keepers.spawn(source.follow(Arc::clone(pool), metrics.clone()));
    }
    if let Some(source) = DnsSource::new(&config.dns).context("pool.dns")? {
        keepers.spawn(source.follow(Arc::clone(pool), metrics.clone()));
    }
    if !config.registration.enabled {
        return Ok(None);
    }
    let tokens = tokens(&config.registration)?;
    let registrar = Arc::new(Registrar::new(Arc::clone(pool), &config.registration, tokens, metrics.clone()));
    let running = Arc::clone(&registrar);
    keepers.spawn(async move { running.run().await });
    Ok(Some(registrar))
}

/// The tokens of the configuration and of its token file. An empty file lets nobody in by mistake: then there must be others.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(super) fn tokens(config: &RegistrationConfig) -> anyhow::Result<TokenList> {
    let mut tokens: TokenList = config.tokens.iter().map(|token| token.hash.clone()).collect();
    if let Some(file) = &config.token_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read the tokens in {}", file.display()))?;
        tokens.add_lines(&text).with_context(|| format!("{} has a line that is no hash", file.display()))?;
        if tokens.is_empty() {
            anyhow::bail!("{}: expected the hash of a token, as `runpool token make` prints it; it has none", file.display());
        }
    }
    Ok(tokens)
}
