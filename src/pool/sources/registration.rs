//! Runners that register themselves, and stay listed as long as they say that they are there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Listed, RegistrationConfig, SourceMetrics, SourceName};
use crate::access::TokenList;
use crate::model::{IncarnationId, InvalidValue};
use crate::pool::{ConfiguredPool, RunnerEntry};

/// Takes registrations, and ends those that are not renewed.
#[derive(Debug)]
pub struct Registrar {
    pool: Arc<ConfiguredPool>,
    metrics: SourceMetrics,
    lease: Duration,
    tokens: ArcSwap<TokenList>,
    max_runners: usize,
    /// Protects the leases; held while the pool is told of one change.
    leases: Mutex<Leases>,
    /// There may be a lease that ends earlier than all others.
    changed: Notify,
}

/// The leases by incarnation.
#[derive(Debug, Default)]
struct Leases {
    runners: HashMap<IncarnationId, Lease>,
    /// Who has an address now: the incarnation that registered with it last.
    holders: HashMap<String, IncarnationId>,
}

#[derive(Debug)]
struct Lease {
    entry: RunnerEntry,
    ends_at: Instant,
}

/// What came of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// How long it holds unless it is renewed.
    pub lease: Duration,
    /// Whether it is new, and not a renewal.
    pub is_new: bool,
}

/// Why a registration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// What the runner says about itself cannot be used.
    #[error("expected as `{}` {}", .0.key, .0.expected)]
    Invalid(InvalidValue),
    /// As many as may are registered.
    #[error("{0} runners are registered already, which is as many as may")]
    Full(usize),
    /// The pool did not take it.
    #[error("the pool did not take it: {0}")]
    Pool(String),
}

impl Registrar {
    /// Takes registrations for `pool`. `tokens` are those of the configuration and its token file; with none, everybody may register.
    pub fn new(pool: Arc<ConfiguredPool>, config: &RegistrationConfig, tokens: TokenList, metrics: SourceMetrics) -> Self {
        metrics.listed(SourceName::Registration, 0);
        Self {
            pool,
            metrics,
            lease: config.lease,
            tokens: ArcSwap::from_pointee(tokens),
            max_runners: config.max_runners,
            leases: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether whoever shows this token, or none, may register runners.
    pub fn lets_in(&self, token: Option<&str>) -> bool {
        let tokens = self.tokens.load();
        tokens.is_empty() || token.is_some_and(|token| tokens.find(token).is_some())
    }

    /// Replaces the tokens. Some are never replaced by none: that would open what was closed, which takes a restart.
    pub fn set_tokens(&self, tokens: TokenList) {
        if self.tokens.load().is_empty() == tokens.is_empty() {
            self.tokens.store(Arc::new(tokens));
        }
    }

    /// Lists a runner, or renews its lease.
    ///
    /// # Errors
    /// What it says about itself cannot be used, or there are too many.
    pub fn register(&self, incarnation: IncarnationId, entry: RunnerEntry) -> Result<Registration, RegistrationError> {
        if let Some(invalid) = entry.validate().into_iter().next() {
            return Err(RegistrationError::Invalid(invalid));
        }
        let mut leases = self.lock();
        let ends_at = Instant::now() + self.lease;
        let known = leases.runners.get_mut(&incarnation);
        let is_new = known.is_none();
        if let Some(known) = known
            && known.entry == entry
        {
            known.ends_at = ends_at;
            return Ok(Registration { lease: self.lease, is_new });
        }
        if is_new && leases.runners.len() >= self.max_runners {
            return Err(RegistrationError::Full(self.max_runners));
        }
        let listed = Listed { entry: entry.clone(), incarnation: Some(incarnation) };
        self.pool.put(SourceName::Registration, listed).map_err(|error| RegistrationError::Pool(error.to_string()))?;
        let address = entry.address.clone();
        let former = leases.runners.insert(incarnation, Lease { entry, ends_at });
        // It has moved.
        if let Some(former) = former.filter(|former| former.entry.address != address) {
            self.release(&mut leases, incarnation, &former.entry.address);
        }
        if let Some(ousted) = leases.holders.insert(address.clone(), incarnation).filter(|holder| *holder != incarnation) {
            // Two lives cannot listen on one address: the earlier one is over.
            leases.runners.remove(&ousted);
        }
        self.metrics.listed(SourceName::Registration, leases.runners.len());
        drop(leases);
        self.changed.notify_one();
        tracing::info!(%incarnation, runner = address, is_new, "runner registered");
        Ok(Registration { lease: self.lease, is_new })
    }

    /// Ends a registration. Whether there was one.
    pub fn leave(&self, incarnation: IncarnationId) -> bool {
        let mut leases = self.lock();
        let Some(lease) = leases.runners.remove(&incarnation) else { return false };
        self.release(&mut leases, incarnation, &lease.entry.address);
        self.metrics.listed(SourceName::Registration, leases.runners.len());
        tracing::info!(%incarnation, runner = lease.entry.address, "runner left: its calls go on");
        true
    }

    /// Ends the registrations that are not renewed, until the future is dropped.
    pub async fn run(&self) {
        loop {
            let next = self.lock().runners.values().map(|lease| lease.ends_at).min();
            match next {
                None => self.changed.notified().await,
                Some(at) => {
                    // Leases are of one length: a new one never ends before those that are there.
                    sleep_until(at).await;
                    self.end_overdue(Instant::now());
                }
            }
        }
    }

    fn end_overdue(&self, now: Instant) {
        let mut leases = self.lock();
        let overdue: Vec<IncarnationId> =
            leases.runners.iter().filter(|(_, lease)| lease.ends_at <= now).map(|(incarnation, _)| *incarnation).collect();
        for incarnation in &overdue {
            if let Some(lease) = leases.runners.remove(incarnation) {
                self.release(&mut leases, *incarnation, &lease.entry.address);
                tracing::warn!(%incarnation, runner = lease.entry.address, "runner did not renew its lease");
            }
        }
        if !overdue.is_empty() {
            self.metrics.listed(SourceName::Registration, leases.runners.len());
        }
    }

    /// Gives an address free, if the incarnation still has it.
    fn release(&self, leases: &mut Leases, incarnation: IncarnationId, address: &str) {
        if leases.holders.get(address) == Some(&incarnation) {
            leases.holders.remove(address);
            self.pool.remove(SourceName::Registration, address);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{NamedToken, TokenHash};
    use crate::pool::{PoolConfig, RunnerPool as _};
    use crate::runner::http::RunnerMetrics;
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    fn registrar(config: RegistrationConfig) -> (Registrar, Arc<ConfiguredPool>) {
        let mut metrics = Metrics::new(&MetricsConfig::default());
        let runner_metrics = RunnerMetrics::declare(&mut metrics);
        let pool = ConfiguredPool::new(&PoolConfig::default(), Duration::from_secs(5), runner_metrics).unwrap();
        let pool = Arc::new(pool);
        let tokens = config.tokens.iter().map(|token| token.hash.clone()).collect();
        (Registrar::new(Arc::clone(&pool), &config, tokens, SourceMetrics::declare(&mut metrics)), pool)
    }

    fn life(number: u64) -> IncarnationId {
        IncarnationId::from_parts(number, 0)
    }

    fn listed(pool: &ConfiguredPool) -> Vec<String> {
        pool.pool().snapshot().members().map(|member| member.id.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_ends_and_one_that_is_does_not() {
        let (registrar, pool) = registrar(RegistrationConfig::default());
        let mut changes = pool.pool().changes().unwrap();
        let registrar = Arc::new(registrar);
        let running = Arc::clone(&registrar);
        let task = tokio::spawn(async move { running.run().await });
        assert!(registrar.register(life(1), "a:1".into()).unwrap().is_new);
        assert!(registrar.register(life(2), "b:1".into()).unwrap().is_new);
        changes.mark_unchanged();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(!registrar.register(life(2), "b:1".into()).unwrap().is_new);
        assert!(!changes.has_changed().unwrap(), "a heartbeat changes nothing");
        changes.changed().await.unwrap();
        assert_eq!(listed(&pool), ["b:1"]);
        assert!(registrar.leave(life(2)) && !registrar.leave(life(2)));
        assert_eq!(listed(&pool), [""; 0]);
        task.abort();
    }

    #[tokio::test]
    async fn another_life_at_an_address_is_another_runner_and_the_end_of_the_former_costs_it_nothing() {
        let (registrar, pool) = registrar(RegistrationConfig::default());
        registrar.register(life(1), "a:1".into()).unwrap();
        let before = pool.pool().snapshot();
        registrar.register(life(2), "a:1".into()).unwrap();
        let after = pool.pool().snapshot();
        let first = |snapshot: &crate::pool::Snapshot| snapshot.members().next().unwrap().clone();
        assert!(!first(&before).is_same_runner(&first(&after)));
        assert!(!registrar.leave(life(1)), "its address is another's");
        assert_eq!(listed(&pool), ["a:1"]);
        registrar.register(life(2), "b:1".into()).unwrap();
        assert_eq!(listed(&pool), ["b:1"], "it has moved");
    }

    #[tokio::test]
    async fn there_is_a_bound_and_a_clear_refusal() {
        let (registrar, _) = registrar(RegistrationConfig { max_runners: 1, ..RegistrationConfig::default() });
        registrar.register(life(1), "a:1".into()).unwrap();
        let error = registrar.register(life(2), "b:1".into()).unwrap_err().to_string();
        assert_eq!(error, "1 runners are registered already, which is as many as may");
        let error = registrar.register(life(2), "b".into()).unwrap_err().to_string();
        assert!(error.starts_with("expected as `address` host:port"), "{error}");
        registrar.register(life(1), "a:1".into()).unwrap();
    }

    #[tokio::test]
    async fn only_a_bearer_of_a_token_is_let_in() {
        let token = NamedToken { name: "cellar".into(), hash: TokenHash::of("open-sesame") };
        let (registrar, _) = registrar(RegistrationConfig { tokens: vec![token], ..RegistrationConfig::default() });
        let admits = |token: Option<&str>| registrar.lets_in(token);
        assert!(admits(Some("open-sesame")) && !admits(None) && !admits(Some("")) && !admits(Some("open")));
        registrar.set_tokens(std::iter::once(TokenHash::of("other")).collect());
        assert!(admits(Some("other")) && !admits(Some("open-sesame")));
        registrar.set_tokens(TokenList::default());
        assert!(!admits(None) && admits(Some("other")), "none at all would be an open door");
    }
}
