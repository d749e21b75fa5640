//! Reading the configuration again while the process runs (SIGHUP). A bad one changes nothing and says so: in the log, and in the metric
//! `config_last_reload_successful`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::life::Service;
use crate::config::{Config, Loaded, Sources};
use crate::telemetry::metrics::{GaugeFamily, Metrics};

/// What is needed to read the configuration again.
#[derive(Debug)]
pub(super) struct Reload {
    sources: ReloadSources,
    current: Loaded,
    prepare: fn(&mut Loaded),
    successful: GaugeFamily,
    succeeded_at: GaugeFamily,
}

/// Sources hold values that may be secrets: they have no printed form.
struct ReloadSources(Sources);

impl std::fmt::Debug for ReloadSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReloadSources").field(&self.0.file).finish()
    }
}

impl Reload {
    /// Reads the same sources again, with the same flags and the environment of the start; `prepare` is applied to the result.
    pub(super) fn new(sources: Sources, current: Loaded, prepare: fn(&mut Loaded), metrics: &mut Metrics) -> Self {
        let successful = metrics
            .gauge("config_last_reload_successful", "Whether the last attempt to load the configuration succeeded: 1 or 0");
        let succeeded_at = metrics.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully, in seconds since 1970",
        );
        let reload = Self { sources: ReloadSources(sources), current, prepare, successful, succeeded_at };
        reload.count(Outcome::Successful);
        reload
    }

    /// Reads the configuration and hands it to the service; tells the outcome.
    pub(super) async fn run(&mut self, service: &mut impl Service) {
        let result = self.try_run(service).await;
        // The metric first: who has read the line can rely on it.
        self.count(if result.is_ok() { Outcome::Successful } else { Outcome::Failed });
        match result {
            Ok(needs_restart) => {
                let config = &self.current.config;
                tracing::info!(
                    functions = config.functions.len(),
                    routes = config.routes.len(),
                    "the configuration was reloaded"
                );
                if !needs_restart.is_empty() {
                    tracing::warn!("changed, but only a restart takes it over: {}", needs_restart.join(", "));
                }
            }
            Err(error) => tracing::error!("the configuration was not reloaded, nothing has changed: {error:#}"),
        }
    }

    /// The keys that have changed and need a restart.
    async fn try_run(&mut self, service: &mut impl Service) -> anyhow::Result<Vec<String>> {
        // On a thread of its own: calls go on while files are read.
        let sources = self.sources.0.clone();
        let mut next = tokio::task::spawn_blocking(move || Config::load(&sources)).await??;
        for warning in &next.warnings {
            tracing::warn!("{warning}");
        }
        (self.prepare)(&mut next);
        service.reload(&next).await?;
        let needs_restart = self.current.needs_restart(&next);
        // What needs a restart is told again at the next reload: it is compared with what is in use.
        self.current.config.functions = next.config.functions;
        self.current.config.routes = next.config.routes;
        self.current.config.pool.runners = next.config.pool.runners;
        Ok(needs_restart)
    }

    fn count(&self, outcome: Outcome) {
        self.successful.get_or_create(&Vec::new()).set(i64::from(outcome == Outcome::Successful));
        if outcome == Outcome::Successful {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            self.succeeded_at.get_or_create(&Vec::new()).set(i64::try_from(now_s).unwrap_or(i64::MAX));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Successful,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::MetricsConfig;

    /// A role that keeps the names of the functions it was given.
    #[derive(Default)]
    struct Double {
        functions: Vec<String>,
        refuses: Option<&'static str>,
    }

    impl Service for Double {
        fn become_unready(&mut self) {}

        async fn reload(&mut self, loaded: &Loaded) -> anyhow::Result<()> {
            match self.refuses {
                Some(reason) => anyhow::bail!(reason),
                None => {
                    self.functions = loaded.config.functions.iter().map(|spec| spec.name.to_string()).collect();
                    Ok(())
                }
            }
        }

        async fn close(self) {}
    }

    #[tokio::test]
    async fn a_bad_file_changes_nothing_and_the_metric_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        let write = |name: &str| std::fs::write(&file, format!("[[function]]\nname = \"{name}\"\ncommand = [\"x\"]\n")).unwrap();
        write("a");
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let loaded = Config::load(&sources).unwrap();
        let mut reload = Reload::new(sources, loaded, |_| {}, &mut Metrics::new(&MetricsConfig::default()));
        let successful = reload.successful.clone();
        let is_successful = || successful.get_or_create(&Vec::new()).get();
        let mut service = Double::default();
        assert_eq!(is_successful(), 1);

        write("b");
        reload.run(&mut service).await;
        assert_eq!((service.functions.join(""), is_successful()), ("b".into(), 1));

        write("not a name");
        reload.run(&mut service).await;
        assert_eq!((service.functions.join(""), is_successful()), ("b".into(), 0));

        write("c");
        service.refuses = Some("it does not fit");
        reload.run(&mut service).await;
        assert_eq!(is_successful(), 0);

        service.refuses = None;
        reload.run(&mut service).await;
        assert_eq!((service.functions.join(""), is_successful()), ("c".into(), 1));
    }
}
