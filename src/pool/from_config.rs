//! The runners of a configuration, and what a reload makes of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::config::{InvalidPoolConfig, PoolConfig};
use super::member::Member;
use super::snapshot_pool::SnapshotPool;
use crate::model::RunnerId;
use crate::runner::http::{HttpRunner, HttpRunnerSettings, RunnerMetrics};

/// A [`SnapshotPool`] whose runners are those of a configuration. It makes no connection: a runner that is not there is a member all the
/// same, and is used once it is.
#[derive(Debug)]
pub struct ConfiguredPool {
    pool: Arc<SnapshotPool>,
    metrics: RunnerMetrics,
    /// The settings of all members; one reload at a time. Held while runners are made, which does no I/O.
    settings: Mutex<HttpRunnerSettings>,
}

impl ConfiguredPool {
    /// The runners of `config`. `attempt_timeout` is that of `[placement]`.
    ///
    /// # Errors
    /// The first value of the configuration that is wrong.
    pub fn new(config: &PoolConfig, attempt_timeout: Duration, metrics: RunnerMetrics) -> Result<Self, InvalidPoolConfig> {
        let settings = config.runner_settings(attempt_timeout);
        let pool = Self { pool: Arc::default(), metrics, settings: Mutex::new(settings) };
        pool.reload(config, attempt_timeout)?;
        Ok(pool)
    }

    /// The pool to place calls onto.
    pub const fn pool(&self) -> &Arc<SnapshotPool> {
        &self.pool
    }

    /// Makes the runners those of `config`, for every pass that begins after this. A runner stays what it was, with its connections, if
    /// its address is still listed and no setting has changed.
    ///
    /// Returns the members that are gone: close their runners, which waits for the calls that run on them.
    ///
    /// # Errors
    /// The first value of the configuration that is wrong; then nothing has changed.
    pub fn reload(&self, config: &PoolConfig, attempt_timeout: Duration) -> Result<Vec<Member>, InvalidPoolConfig> {
        if let Some(invalid) = config.validate().into_iter().next() {
            return Err(InvalidPoolConfig::Value(invalid));
        }
        let wanted = config.runner_settings(attempt_timeout);
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.pool.snapshot();
        let kept = |address: &str| {
            let place = current.place(&RunnerId::new(address)).filter(|_| *settings == wanted)?;
            current.get(place).map(|member| Member::clone(member))
        };
        let make = |(index, address): (usize, &String)| {
            let made = || HttpRunner::new(address, wanted.clone(), &self.metrics).map(|runner| Member::new(Arc::new(runner)));
            kept(address).map_or_else(made, Ok).map_err(|source| InvalidPoolConfig::Address { index, source })
        };
        let members = config.runners.iter().enumerate().map(make).collect::<Result<Vec<_>, _>>()?;
        let gone = self.pool.replace(members)?;
        *settings = wanted;
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{RunnerPlace, RunnerPool as _};
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

    fn config(runners: &[&str]) -> PoolConfig {
        PoolConfig { runners: runners.iter().map(|&runner| runner.to_owned()).collect(), ..PoolConfig::default() }
    }

    fn pool(config: &PoolConfig) -> Result<ConfiguredPool, InvalidPoolConfig> {
        ConfiguredPool::new(config, ATTEMPT_TIMEOUT, RunnerMetrics::declare(&mut Metrics::new(&MetricsConfig::default())))
    }

    fn addresses<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<String> {
        members.into_iter().map(|member| member.runner.address().to_owned()).collect()
    }

    /// Acceptance case 12.
    #[tokio::test]
    async fn unreachable_runners_are_listed_and_shut_down_without_error() {
        let pool = pool(&config(&["127.0.0.1:1", "[::1]:1"])).unwrap();
        assert_eq!(addresses(pool.pool().snapshot().members()), ["127.0.0.1:1", "[::1]:1"]);
        pool.pool().shutdown().await.unwrap();
    }

    /// Acceptance case 13.
    #[tokio::test]
    async fn an_empty_pool_is_a_pool() {
        let pool = pool(&config(&[])).unwrap();
        assert!(pool.pool().snapshot().is_empty());
        pool.pool().shutdown().await.unwrap();
    }

    #[test]
    fn a_reload_keeps_the_runners_that_did_not_change_and_gives_back_those_that_are_gone() {
        let pool = pool(&config(&["a:1", "b:1"])).unwrap();
        let before = pool.pool().snapshot();
        let gone = pool.reload(&config(&["c:1", "b:1"]), ATTEMPT_TIMEOUT).unwrap();
        let after = pool.pool().snapshot();
        assert_eq!(addresses(&gone), ["a:1"]);
        assert_eq!(addresses(after.members()), ["c:1", "b:1"]);
        assert!(before.get(RunnerPlace(1)).unwrap().is_same_runner(after.get(RunnerPlace(1)).unwrap()));
    }

    #[test]
    fn a_reload_that_changes_a_setting_replaces_every_runner() {
        let pool = pool(&config(&["a:1"])).unwrap();
        let patient = PoolConfig { connect_timeout: Duration::from_secs(9), ..config(&["a:1"]) };
        assert_eq!(addresses(&pool.reload(&patient, ATTEMPT_TIMEOUT).unwrap()), ["a:1"]);
        assert_eq!(addresses(&pool.reload(&patient, ATTEMPT_TIMEOUT).unwrap()), [""; 0]);
        assert_eq!(addresses(&pool.reload(&patient, Duration::from_secs(9)).unwrap()), ["a:1"]);
    }

    #[test]
    fn a_wrong_reload_changes_nothing() {
        let pool = pool(&config(&["a:1"])).unwrap();
        let before = pool.pool().snapshot();
        for (wrong, named) in [
            (config(&["b:1", "nonsense"]), "runners[1]: expected host:port"),
            (config(&["b:1", "B:1"]), "runners[1]: expected each runner once"),
        ] {
            let error = pool.reload(&wrong, ATTEMPT_TIMEOUT).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(Arc::ptr_eq(&before, &pool.pool().snapshot()));
    }
}
