//! The TLS of a role: loaded at the start, followed while it runs, looked at again when somebody asks.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::telemetry::metrics::Metrics;
use crate::tls::{ClientTls, ClientTlsConfig, Reloadable, ServerTls, ServerTlsConfig, TlsMetrics, follow, reload};

/// All that a role has loaded. Dropping it ends the following.
pub(super) struct RoleTls {
    metrics: TlsMetrics,
    loaded: Vec<Arc<dyn Reloadable>>,
    /// One task for each.
    followers: JoinSet<()>,
}

impl RoleTls {
    pub(super) fn declare(metrics: &mut Metrics) -> Self {
        Self { metrics: TlsMetrics::declare(metrics), loaded: Vec::new(), followers: JoinSet::new() }
    }

    /// The TLS of a listener: `name` is its table, as `front` of `[front.tls]`.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn server(&mut self, name: &'static str, config: &ServerTlsConfig) -> anyhow::Result<Option<Arc<ServerTls>>> {
        let tls = ServerTls::load(name, config, &self.metrics).with_context(|| format!("{name}.tls"))?;
        if let Some(tls) = &tls {
            self.keep(Arc::clone(tls) as _);
        }
        Ok(tls)
    }

    /// The TLS of connections that we make; `key` is its table.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn client(
        &mut self,
        name: &'static str,
        key: &'static str,
        config: &ClientTlsConfig,
    ) -> anyhow::Result<Option<Arc<ClientTls>>> {
        let tls = ClientTls::load(name, config, &self.metrics).context(key)?;
        if let Some(tls) = &tls {
            self.keep(Arc::clone(tls) as _);
        }
        Ok(tls)
    }

    /// Looks at the files again now. What is wrong with them is told, and changes nothing.
    pub(super) async fn reload(&self) {
        for tls in &self.loaded {
            reload(tls).await;
        }
    }

    fn keep(&mut self, tls: Arc<dyn Reloadable>) {
        self.followers.spawn(follow(Arc::clone(&tls)));
        self.loaded.push(tls);
    }
}
