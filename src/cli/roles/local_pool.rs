//! Keeps a pool to the runners of a local fleet, as they come and go.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fleet::LocalRunner;
use crate::model::{IncarnationId, RunnerId};
use crate::pool::{Member, SnapshotPool};
use crate::runner::http::{HttpRunner, HttpRunnerSettings, RunnerMetrics};

/// Makes the members of `pool` those of `fleet` until the fleet is gone. A runner keeps its place, by its id, from life to life; its
/// connections belong to one life.
///
/// Dropping the future leaves the pool as it is.
pub(super) async fn follow(
    pool: Arc<SnapshotPool>,
    settings: HttpRunnerSettings,
    metrics: RunnerMetrics,
    mut fleet: watch::Receiver<Vec<LocalRunner>>,
) {
    let mut lives: HashMap<(RunnerId, IncarnationId), Member> = HashMap::new();
    // Runners of ended lives, until their last answer has failed.
    let mut closing = JoinSet::new();
    loop {
        let listed = fleet.borrow_and_update().clone();
        lives.retain(|(id, incarnation), _| listed.iter().any(|local| local.id == *id && local.incarnation == *incarnation));
        for local in &listed {
            let key = (local.id.clone(), local.incarnation);
            if lives.contains_key(&key) {
                continue;
            }
            match HttpRunner::new(&local.address.to_string(), settings.clone(), &metrics) {
                Ok(runner) => {
                    lives.insert(key, Member::with_terms(local.id.clone(), Arc::new(runner), Arc::default()));
                }
                // An address that was listened on is one.
                Err(error) => tracing::error!(runner = %local.id, %error, "a local runner cannot be used"),
            }
        }
        // In the fleet's order.
        let members = listed.iter().filter_map(|local| lives.get(&(local.id.clone(), local.incarnation))).cloned().collect();
        match pool.replace(members) {
            Ok(gone) => {
                for member in gone {
                    closing.spawn(async move { member.runner.close().await });
                }
            }
            Err(error) => tracing::error!(%error, "the local fleet cannot be followed"),
        }
        while closing.try_join_next().is_some() {}
        if fleet.changed().await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::http::Protocol;
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    fn local(number: u16, life: u64) -> LocalRunner {
        LocalRunner {
            id: RunnerId::new(format!("local-{number}")),
            incarnation: IncarnationId::from_parts(life, 0),
            address: ([127, 0, 0, 1], 4_000 + number).into(),
        }
    }

    /// Waits until the follower has seen what was published: it asks the channel again only after that.
    async fn seen(fleet: &watch::Sender<Vec<LocalRunner>>, pool: &SnapshotPool, runners: Vec<LocalRunner>) -> Vec<Member> {
        let before = pool.snapshot().version();
        fleet.send(runners).unwrap();
        while pool.snapshot().version() == before {
            tokio::task::yield_now().await;
        }
        pool.snapshot().members().cloned().collect()
    }

    #[tokio::test]
    async fn the_pool_has_the_fleets_runners_and_a_new_life_is_a_new_runner_in_the_same_place() {
        let mut metrics = Metrics::new(&MetricsConfig::default());
        let runner_metrics = RunnerMetrics::declare(&mut metrics);
        let pool: Arc<SnapshotPool> = Arc::default();
        let (fleet, receiver) = watch::channel(Vec::new());
        let settings = HttpRunnerSettings::new(Protocol::Agent);
        let follower = tokio::spawn(follow(Arc::clone(&pool), settings, runner_metrics, receiver));

        let first = seen(&fleet, &pool, vec![local(1, 1), local(2, 1)]).await;
        let second = seen(&fleet, &pool, vec![local(1, 2), local(2, 1)]).await;
        let ids = |members: &[Member]| members.iter().map(|member| member.id.to_string()).collect::<Vec<_>>();
        assert_eq!(
            (ids(&first), ids(&second)),
            (vec!["local-1".into(), "local-2".into()], vec!["local-1".into(), "local-2".into()])
        );
        assert!(!Arc::ptr_eq(&first[0].runner, &second[0].runner), "the first has a new life");
        assert!(Arc::ptr_eq(&first[1].runner, &second[1].runner), "the second has not");
        assert!(seen(&fleet, &pool, vec![]).await.is_empty());
        drop(fleet);
        follower.await.unwrap();
    }
}
