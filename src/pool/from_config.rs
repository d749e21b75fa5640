//! The runners of all sources, as one pool: what a reload, and every other source, makes of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::config::{InvalidPoolConfig, PoolConfig};
use super::entry::RunnerEntry;
use super::member::Member;
use super::snapshot_pool::SnapshotPool;
use super::sources::{Listed, SourceName};
use crate::model::{IncarnationId, InvalidValue, RunnerId};
use crate::runner::http::{HttpRunner, HttpRunnerSettings, InvalidAddress, RunnerMetrics};
use crate::tls::ClientTls;

/// A [`SnapshotPool`] whose runners are those that its sources list: the configuration, and others that are told of with [`ConfiguredPool::list`].
/// It makes no connection: a runner that is not there is a member all the same, and is used once it is.
#[derive(Debug)]
pub struct ConfiguredPool {
    pool: Arc<SnapshotPool>,
    /// What `pool.tls` says, loaded.
    tls: Option<Arc<ClientTls>>,
    metrics: RunnerMetrics,
    /// One change at a time. Held while runners are made, which does no I/O.
    listing: Mutex<Listing>,
    /// Those that no source lists any more, as long as calls run there.
    leaving: TaskTracker,
}

/// What the sources list, by what a runner is known by: its address.
#[derive(Debug)]
struct Listing {
    settings: HttpRunnerSettings,
    runners: HashMap<RunnerId, Runner>,
}

#[derive(Debug, Default)]
struct Runner {
    /// Never empty but in the middle of a change.
    by_source: BTreeMap<SourceName, Listed>,
    /// The life that its member was made for.
    made_for: Option<IncarnationId>,
}

/// A change of what one source lists.
enum Change {
    Put(Listed),
    Remove(RunnerId),
}

impl ConfiguredPool {
    /// The runners of `config`; those of its other sources come when they are told of. `attempt_timeout` is that of `[placement]`.
    ///
    /// # Errors
    /// The first value of the configuration that is wrong; `pool.tls` is, as it needs [`ConfiguredPool::with_tls`].
    pub fn new(config: &PoolConfig, attempt_timeout: Duration, metrics: RunnerMetrics) -> Result<Self, InvalidPoolConfig> {
        Self::with_tls(config, attempt_timeout, None, metrics)
    }

    /// The same with what `config.tls` says, loaded.
    ///
    /// # Errors
    /// The first value of the configuration that is wrong, or there is TLS in only one of the two.
    pub fn with_tls(
        config: &PoolConfig,
        attempt_timeout: Duration,
        tls: Option<Arc<ClientTls>>,
        metrics: RunnerMetrics,
    ) -> Result<Self, InvalidPoolConfig> {
        if config.tls.is_on() != tls.is_some() {
            // Nobody is to speak in clear who was told otherwise.
            return Err(InvalidPoolConfig::Value(InvalidValue::new("tls.ca", "roots that were loaded for this pool, or none")));
        }
        let settings = HttpRunnerSettings { tls: tls.clone(), ..config.runner_settings(attempt_timeout) };
        let listing = Mutex::new(Listing { settings, runners: HashMap::new() });
        let pool = Self { pool: Arc::default(), tls, metrics, listing, leaving: TaskTracker::new() };
        pool.reload(config, attempt_timeout)?;
        Ok(pool)
    }

    /// The pool to place calls onto.
    pub const fn pool(&self) -> &Arc<SnapshotPool> {
        &self.pool
    }

    /// Makes the runners of the configuration those of `config`, for every pass that begins after this. A runner stays what it was, with its
    /// connections, if its address is still listed and no setting has changed.
    ///
    /// Returns the members that are gone: close their runners, which waits for the calls that run on them.
    ///
    /// # Errors
    /// The first value of the configuration that is wrong; then nothing has changed.
    pub fn reload(&self, config: &PoolConfig, attempt_timeout: Duration) -> Result<Vec<Member>, InvalidPoolConfig> {
        if let Some(invalid) = config.validate().into_iter().next() {
            return Err(InvalidPoolConfig::Value(invalid));
        }
        let wanted = HttpRunnerSettings { tls: self.tls.clone(), ..config.runner_settings(attempt_timeout) };
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let remade = listing.settings != wanted;
        listing.settings = wanted;
        let mut changes = listing.replacing(SourceName::Configuration, config.runners.iter().cloned().map(Listed::from));
        if remade {
            let listed_here: HashSet<RunnerId> = config.runners.iter().map(id).collect();
            let others = listing.runners.iter().filter(|(id, _)| !listed_here.contains(id));
            let others = others.filter_map(|(_, runner)| runner.by_source.last_key_value());
            changes.extend(others.map(|(source, listed)| (*source, Change::Put(listed.clone()))).collect::<Vec<_>>());
        }
        self.apply(&mut listing, changes, remade).map_err(|(address, source)| {
            let index = config.runners.iter().position(|entry| entry.address == address).unwrap_or_default();
            InvalidPoolConfig::Address { index, source }
        })
    }

    /// Makes the runners of a source these. Who is gone is closed when its calls have ended; call within a runtime.
    ///
    /// # Errors
    /// One of them has no address; then nothing has changed.
    pub fn list(&self, source: SourceName, listed: impl IntoIterator<Item = Listed>) -> Result<(), InvalidAddress> {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = listing.replacing(source, listed);
        let gone = self.apply(&mut listing, changes, false).map_err(|(_, error)| error)?;
        self.let_go(gone);
        Ok(())
    }

    /// Adds one runner to those of a source, or changes what the source says about it.
    ///
    /// # Errors
    /// It has no address; then nothing has changed.
    pub fn put(&self, source: SourceName, listed: Listed) -> Result<(), InvalidAddress> {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.apply(&mut listing, vec![(source, Change::Put(listed))], false).map_err(|(_, error)| error)?;
        self.let_go(gone);
        Ok(())
    }

    /// Takes one runner out of those of a source.
    pub fn remove(&self, source: SourceName, address: &str) {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let change = (source, Change::Remove(RunnerId::new(address)));
        // Nothing is made, so that nothing can fail.
        if let Ok(gone) = self.apply(&mut listing, vec![change], false) {
            self.let_go(gone);
        }
    }

    /// Waits until the calls have ended on all runners that were taken out, and closes them.
    pub async fn let_all_go(&self) {
        self.leaving.close();
        self.leaving.wait().await;
    }

    fn let_go(&self, gone: Vec<Member>) {
        for member in gone {
            tracing::info!(runner = %member.id, "runner taken away: its calls go on");
            self.leaving.spawn(async move { member.runner.close().await });
        }
    }

    /// Changes lists and pool. All runners are made before anything is changed; with `remakes_all`, also those whose settings were others.
    fn apply(
        &self,
        listing: &mut Listing,
        changes: Vec<(SourceName, Change)>,
        remakes_all: bool,
    ) -> Result<Vec<Member>, (String, InvalidAddress)> {
        let current = self.pool.snapshot();
        let mut next: Vec<(RunnerId, Runner, Option<Member>)> = Vec::with_capacity(changes.len());
        for (source, change) in changes {
            let (id, listed) = match change {
                Change::Put(listed) => (id(&listed.entry), Some(listed)),
                Change::Remove(id) => (id, None),
            };
            let mut by_source = listing.runners.get(&id).map(|runner| runner.by_source.clone()).unwrap_or_default();
            match listed {
                Some(listed) => by_source.insert(source, listed),
                None => by_source.remove(&source),
            };
            let made_for = listing.runners.get(&id).and_then(|runner| runner.made_for);
            let life = by_source.values().find_map(|listed| listed.incarnation);
            let Some(entry) = by_source.values().next().map(|listed| &listed.entry) else {
                next.push((id, Runner::default(), None));
                continue;
            };
            // A life that is not known any more is no other life.
            let is_another_life = life.is_some() && made_for.is_some() && life != made_for;
            let kept = current.place(&id).and_then(|place| current.get(place)).filter(|_| !remakes_all && !is_another_life);
            let member = match kept {
                Some(member) => member.on_terms(&entry.terms),
                None => self.make(&id, entry, &listing.settings).map_err(|error| (entry.address.clone(), error))?,
            };
            next.push((id, Runner { by_source, made_for: life.or(made_for) }, Some(member)));
        }
        Ok(self.pool.change(|edit| {
            let mut gone = Vec::new();
            // Places become free before they are given away.
            for (id, ..) in next.iter().filter(|(.., member)| member.is_none()) {
                listing.runners.remove(id);
                gone.extend(edit.so_far().place(id).and_then(|place| edit.remove(place)).map(|member| Member::clone(&member)));
            }
            for (id, runner, member) in next {
                let Some(mut member) = member else { continue };
                let former = edit.so_far().place(&id).and_then(|place| edit.so_far().get(place)).cloned();
                match former {
                    // What was decided about its health in the meantime holds.
                    Some(former) if former.is_same_runner(&member) => member = former.on_terms(&member.terms),
                    Some(former) => gone.push(Member::clone(&former)),
                    None => {}
                }
                listing.runners.insert(id, runner);
                edit.put(member);
            }
            gone
        }))
    }

    fn make(&self, id: &RunnerId, entry: &RunnerEntry, settings: &HttpRunnerSettings) -> Result<Member, InvalidAddress> {
        let mut settings = settings.clone();
        if let Ok(limit @ 1..) = usize::try_from(entry.terms.max_connections) {
            settings.max_idle_connections = settings.max_idle_connections.min(limit);
        }
        let runner = HttpRunner::new(&entry.address, settings, &self.metrics)?;
        Ok(Member::with_terms(id.clone(), Arc::new(runner), Arc::new(entry.terms.clone())))
    }
}

impl Listing {
    /// What changes if the runners of a source are these, in their order.
    fn replacing(&self, source: SourceName, listed: impl IntoIterator<Item = Listed>) -> Vec<(SourceName, Change)> {
        let listed: Vec<Listed> = listed.into_iter().collect();
        let kept: HashSet<RunnerId> = listed.iter().map(|listed| id(&listed.entry)).collect();
        let had = self.runners.iter().filter(|(_, runner)| runner.by_source.contains_key(&source));
        let gone = had.map(|(id, _)| id).filter(|id| !kept.contains(id)).cloned();
        let gone: Vec<_> = gone.map(|id| (source, Change::Remove(id))).collect();
        gone.into_iter().chain(listed.into_iter().map(|listed| (source, Change::Put(listed)))).collect()
    }
}

fn id(entry: &RunnerEntry) -> RunnerId {
    RunnerId::new(entry.address.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{RunnerPlace, RunnerPool as _};
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

    fn config(runners: &[&str]) -> PoolConfig {
        PoolConfig { runners: runners.iter().map(|&runner| runner.into()).collect(), ..PoolConfig::default() }
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
