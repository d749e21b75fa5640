//! The pool whose snapshot is exchanged.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::{broadcast, mpsc, watch};

use super::evidence::{Evidence, RunnerReport};
use super::member::{Admission, Member, RunnerPlace};
use super::snapshot::{DuplicateRunner, Snapshot, SnapshotEdit};
use super::{PoolAnswer, PoolError, RunnerPool};
use crate::model::{Call, RunnerId};

/// A pool that gives every call the same runners, which can be changed while calls are placed: reading takes no lock.
#[derive(Debug)]
pub struct SnapshotPool {
    current: ArcSwap<Snapshot>,
    lineage: u64,
    /// Its version, or [`EMPTY`]: looked at for every call, as is the next. Written after it: who sees this can have it.
    newest: AtomicU64,
    /// How many runners of it are doubted.
    doubted: AtomicUsize,
    /// Held while a successor is made, so that no change is lost to another one.
    changing: Mutex<()>,
    /// The version of the current snapshot.
    version: watch::Sender<u64>,
    /// To the keeper of the runners' health. What finds no room is forgotten: there is evidence enough then.
    evidence: mpsc::Sender<Noted>,
    /// Until the keeper takes it.
    evidence_receiver: Mutex<Option<mpsc::Receiver<Noted>>>,
    reports: broadcast::Sender<RunnerReport>,
}

/// What an attempt showed, on its way to the keeper of the runners' health.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) place: RunnerPlace,
    pub(super) evidence: Evidence,
    pub(super) taken: u64,
}

/// No version: there are no runners.
const EMPTY: u64 = u64::MAX;

fn newest(snapshot: &Snapshot) -> u64 {
    if snapshot.is_empty() { EMPTY } else { snapshot.version() }
}

/// Evidence and reports that wait to be read.
const MAX_WAITING: usize = 4_096;

impl Default for SnapshotPool {
    /// A pool with no runner yet.
    fn default() -> Self {
        Self::of(Snapshot::empty())
    }
}

impl SnapshotPool {
    /// A pool of these runners.
    ///
    /// # Errors
    /// Two of them have the same id.
    pub fn new(members: Vec<Member>) -> Result<Self, DuplicateRunner> {
        Snapshot::new(members).map(Self::of)
    }

    fn of(snapshot: Snapshot) -> Self {
        let version = watch::Sender::new(snapshot.version());
        let (evidence, receiver) = mpsc::channel(MAX_WAITING);
        Self {
            lineage: snapshot.lineage(),
            newest: AtomicU64::new(newest(&snapshot)),
            doubted: AtomicUsize::new(snapshot.doubted()),
            current: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
            version,
            evidence,
            evidence_receiver: Mutex::new(Some(receiver)),
            reports: broadcast::Sender::new(MAX_WAITING),
        }
    }

    /// The runners now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Changes some runners. `change` must be short: other changes wait for it. Calls do not.
    pub fn change<T>(&self, change: impl FnOnce(&mut SnapshotEdit) -> T) -> T {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut edit = self.snapshot().edit();
        let result = change(&mut edit);
        if edit.is_changed() {
            let next = edit.finish();
            let (version, newest) = (next.version(), newest(&next));
            self.doubted.store(next.doubted(), Ordering::Relaxed);
            self.current.store(Arc::new(next));
            self.newest.store(newest, Ordering::Release);
            self.version.send_replace(version);
        }
        result
    }

    /// What attempts show, for whoever keeps the runners' health; once.
    pub(super) fn take_evidence(&self) -> Option<mpsc::Receiver<Noted>> {
        self.evidence_receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hands on what a runner said about itself.
    pub(super) fn report(&self, report: RunnerReport) {
        // Nobody may listen.
        let _ = self.reports.send(report);
    }

    /// Makes the runners these. Who was there already keeps its place. Returns the members whose runner is gone: the caller closes them, which waits
    /// for their running calls. A pass that has begun ends on the list it began with.
    ///
    /// # Errors
    /// Two members have the same id; the list stays as it was.
    pub fn replace(&self, members: Vec<Member>) -> Result<Vec<Member>, DuplicateRunner> {
        let mut listed = std::collections::HashSet::with_capacity(members.len());
        if let Some(twice) = members.iter().find(|member| !listed.insert(member.id.clone())) {
            return Err(DuplicateRunner(twice.id.clone()));
        }
        Ok(self.change(|edit| replace(edit, members, |id| listed.contains(id))))
    }
}

fn replace(edit: &mut SnapshotEdit, members: Vec<Member>, is_listed: impl Fn(&RunnerId) -> bool) -> Vec<Member> {
    let left: Vec<_> = edit.so_far().places().filter(|(_, member)| !is_listed(&member.id)).map(|(place, _)| place).collect();
    let mut gone: Vec<Member> =
        left.into_iter().filter_map(|place| edit.remove(place)).map(|member| Member::clone(&member)).collect();
    for member in members {
        let former = edit.so_far().place(&member.id).and_then(|place| edit.so_far().get(place)).cloned();
        match former {
            // What is known of its health holds: who lists it knows nothing of that.
            Some(former) if former.is_same_runner(&member) => {
                edit.put(former.on_terms(&member.terms));
            }
            former => {
                gone.extend(former.map(|former| Member::clone(&former)));
                edit.put(member);
            }
        }
    }
    gone
}

#[async_trait]
impl RunnerPool for SnapshotPool {
    async fn runners(&self, _call: &Call) -> PoolAnswer {
        PoolAnswer::ok(self.snapshot())
    }

    fn current(&self) -> Option<Arc<Snapshot>> {
        Some(self.snapshot())
    }

    fn newest(&self) -> Option<(u64, u64)> {
        let newest = self.newest.load(Ordering::Acquire);
        (newest != EMPTY).then_some((self.lineage, newest))
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.version.subscribe())
    }

    fn reports(&self) -> Option<broadcast::Receiver<RunnerReport>> {
        Some(self.reports.subscribe())
    }

    fn note(&self, runner: &Member, evidence: Evidence) {
        let taken = match evidence {
            Evidence::Refused => return,
            Evidence::Took => runner.tally.took(),
            Evidence::Failed | Evidence::NotStarted | Evidence::Unreachable => runner.tally.taken(),
        };
        // That somebody takes calls is news only where somebody is doubted.
        if evidence == Evidence::Took && self.doubted.load(Ordering::Relaxed) == 0 {
            return;
        }
        let snapshot = self.current.load();
        let Some(place) = snapshot.place(&runner.id) else { return };
        // Another life at its address has nothing to do with it; and that a runner takes calls is news only if it was doubted.
        let is_news =
            |now: &Member| now.is_same_runner(runner) && (evidence != Evidence::Took || now.admission != Admission::Open);
        if !snapshot.get(place).is_some_and(|now| is_news(now)) {
            return;
        }
        let _ = self.evidence.try_send(Noted { place, evidence, taken });
    }

    async fn shutdown(&self) -> Result<(), PoolError> {
        let snapshot = self.snapshot();
        join_all(snapshot.members().map(|member| member.runner.close())).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::doubles::Scripted;

    fn member(name: &str) -> Member {
        Member::new(Arc::new(Scripted::busy(name)))
    }

    #[test]
    fn whoever_waits_for_changes_is_told_of_each_and_of_nothing_else() {
        let pool = SnapshotPool::new(vec![member("a")]).unwrap();
        let mut changes = pool.changes().unwrap();
        pool.replace(pool.snapshot().members().cloned().collect()).unwrap();
        assert!(!changes.has_changed().unwrap(), "the same list is no change");
        pool.change(|edit| edit.put(member("b")));
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), pool.snapshot().version());
    }

    #[test]
    fn replacing_keeps_the_lineage_and_gives_back_who_is_gone() {
        let pool = SnapshotPool::new(vec![member("a"), member("b"), member("c")]).unwrap();
        let before = pool.snapshot();
        let kept = before.members().nth(1).unwrap().clone();
        let gone = pool.replace(vec![member("d"), kept, member("c")]).unwrap();
        let names = |members: &[Member]| members.iter().map(|member| member.id.to_string()).collect::<String>();
        assert_eq!(names(&gone), "ac", "the runner behind the name of the last is another");
        assert_eq!(pool.snapshot().lineage(), before.lineage());
        assert_eq!(pool.replace(vec![member("e"), member("e")]).unwrap_err(), DuplicateRunner(RunnerId::new("e")));
    }
}
