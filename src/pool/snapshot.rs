//! The immutable view of a pool, and how one is made out of another.
//!
//! A snapshot is a persistent map (package `imbl`): its successor shares with it all that did not change. Changing one of 10,000 runners
//! costs some microseconds, and so does finding out what changed (`cargo bench --bench pool`). Every member has a [`RunnerPlace`], which it keeps
//! through all successors of a snapshot; those are of one **lineage**. Places of different lineages have nothing to do with each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imbl::ordmap::DiffItem;
use imbl::{HashMap, OrdMap, Vector};

use super::member::{Admission, Member, RunnerPlace};
use crate::model::RunnerId;

/// Two runners of one list were known by the same name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("runner `{0}` is listed twice")]
pub struct DuplicateRunner(pub RunnerId);

/// An immutable view of runners. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot {
    version: u64,
    lineage: u64,
    members: OrdMap<RunnerPlace, Listed>,
    places: HashMap<RunnerId, RunnerPlace>,
    /// Places below the largest that nobody has. The one that is free for longest is given away first, so that what is still under way for
    /// who left is over by then.
    free: Vector<RunnerPlace>,
    usable: usize,
    /// Those that are not let in as a matter of course.
    doubted: usize,
}

/// A member in its place. Equal only to itself, so that comparing snapshots looks at no member.
#[derive(Clone, Debug)]
struct Listed(Arc<Member>);

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What differs between two snapshots.
#[derive(Clone, Debug)]
pub enum SnapshotChange {
    /// A runner is there that was not, in a place that was free, or whose former holder has [`SnapshotChange::Left`] before.
    Joined(RunnerPlace, Arc<Member>),
    /// The same runner, about which something else is said now.
    Changed(RunnerPlace, Arc<Member>),
    /// A runner is not there any more.
    Left(RunnerPlace, Arc<Member>),
}

/// Versions are unique in a process, so that what a placer derived from one pool's snapshot is never taken for another's.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

impl Default for Snapshot {
    fn default() -> Self {
        Self::empty()
    }
}

impl Snapshot {
    /// The first snapshot of a new lineage, with these runners in places from 0.
    ///
    /// # Errors
    /// Two of them have the same id.
    pub fn new(members: Vec<Member>) -> Result<Self, DuplicateRunner> {
        let mut edit = Self::empty().edit();
        for member in members {
            if edit.next.places.contains_key(&member.id) {
                return Err(DuplicateRunner(member.id));
            }
            edit.put(member);
        }
        Ok(edit.finish())
    }

    /// The first snapshot of a new lineage, with no runner.
    pub fn empty() -> Self {
        let version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
        Self {
            version,
            lineage: version,
            members: OrdMap::new(),
            places: HashMap::new(),
            free: Vector::new(),
            usable: 0,
            doubted: 0,
        }
    }

    /// A snapshot with no runner, older than all others of this lineage.
    pub(crate) fn empty_of(lineage: u64) -> Self {
        Self { version: 0, lineage, ..Self::empty() }
    }

    /// Differs between any two snapshots of a process, and grows.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The same for a snapshot and all that were made out of it.
    pub const fn lineage(&self) -> u64 {
        self.lineage
    }

    /// The runners, in the order of their places.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = &Member> + ExactSizeIterator {
        self.members.values().map(|listed| &*listed.0)
    }

    /// The runners with their places, in their order.
    pub fn places(&self) -> impl DoubleEndedIterator<Item = (RunnerPlace, &Arc<Member>)> + ExactSizeIterator {
        self.members.iter().map(|(place, listed)| (*place, &listed.0))
    }

    /// The runners with their places, from the first that is not before `start` on, then those before it.
    pub fn places_from(&self, start: RunnerPlace) -> impl Iterator<Item = (RunnerPlace, &Arc<Member>)> {
        self.members.range(start..).chain(self.members.range(..start)).map(|(place, listed)| (*place, &listed.0))
    }

    /// The runner in a place.
    pub fn get(&self, place: RunnerPlace) -> Option<&Arc<Member>> {
        self.members.get(&place).map(|listed| &listed.0)
    }

    /// The place of a runner.
    pub fn place(&self, id: &RunnerId) -> Option<RunnerPlace> {
        self.places.get(id).copied()
    }

    /// How many runners there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many of the runners are closed, or have to prove themselves.
    pub const fn doubted(&self) -> usize {
        self.doubted
    }

    /// How many of the runners get calls now.
    pub const fn usable(&self) -> usize {
        self.usable
    }

    /// The number of places, taken and free: every place is below it.
    pub fn place_count(&self) -> usize {
        self.members.len() + self.free.len()
    }

    /// A successor with this member, in the place of who had its id before, or else in a free one.
    #[must_use]
    pub fn with(&self, member: Member) -> Self {
        let mut edit = self.edit();
        edit.put(member);
        edit.finish()
    }

    /// A successor without the runner in that place.
    #[must_use]
    pub fn without(&self, place: RunnerPlace) -> Self {
        let mut edit = self.edit();
        edit.remove(place);
        edit.finish()
    }

    /// Begins a successor with several changes.
    pub fn edit(&self) -> SnapshotEdit {
        SnapshotEdit { next: self.clone(), is_changed: false }
    }

    /// What changed since `older`, place by place. Costs what changed, unless the two are not of one lineage: then everybody left and
    /// everybody joined.
    pub fn diff(&self, older: &Self) -> Vec<SnapshotChange> {
        let mut changes = Vec::new();
        if self.lineage != older.lineage {
            changes.extend(older.places().map(|(place, member)| SnapshotChange::Left(place, Arc::clone(member))));
            changes.extend(self.places().map(|(place, member)| SnapshotChange::Joined(place, Arc::clone(member))));
            return changes;
        }
        for item in older.members.diff(&self.members) {
            match item {
                DiffItem::Add(place, new) => changes.push(SnapshotChange::Joined(*place, Arc::clone(&new.0))),
                DiffItem::Remove(place, old) => changes.push(SnapshotChange::Left(*place, Arc::clone(&old.0))),
                DiffItem::Update { old: (place, old), new: (_, new) } if old.0.is_same_runner(&new.0) && old.0.id == new.0.id => {
                    changes.push(SnapshotChange::Changed(*place, Arc::clone(&new.0)));
                }
                DiffItem::Update { old: (place, old), new: (_, new) } => {
                    changes.push(SnapshotChange::Left(*place, Arc::clone(&old.0)));
                    changes.push(SnapshotChange::Joined(*place, Arc::clone(&new.0)));
                }
            }
        }
        changes
    }
}

/// A successor of a snapshot in the making.
#[derive(Debug)]
pub struct SnapshotEdit {
    next: Snapshot,
    is_changed: bool,
}

impl SnapshotEdit {
    /// Puts a member into the place of who has its id, or else into a free one. Returns the place.
    pub fn put(&mut self, member: Member) -> RunnerPlace {
        let next = &mut self.next;
        let place = match next.places.get(&member.id) {
            Some(place) => *place,
            None => {
                // Fewer runners than that fit into a machine's memory.
                let past_the_last = u32::try_from(next.place_count()).unwrap_or(u32::MAX);
                let place = next.free.pop_front().unwrap_or(RunnerPlace(past_the_last));
                next.places.insert(member.id.clone(), place);
                place
            }
        };
        if next.members.get(&place).is_some_and(|listed| listed.0.is_same(&member)) {
            return place;
        }
        next.usable += usize::from(member.is_usable());
        next.doubted += usize::from(member.admission != Admission::Open);
        if let Some(former) = next.members.insert(place, Listed(Arc::new(member))) {
            next.usable -= usize::from(former.0.is_usable());
            next.doubted -= usize::from(former.0.admission != Admission::Open);
        }
        self.is_changed = true;
        place
    }

    /// Takes the member in a place away.
    pub fn remove(&mut self, place: RunnerPlace) -> Option<Arc<Member>> {
        let next = &mut self.next;
        let Listed(member) = next.members.remove(&place)?;
        next.places.remove(&member.id);
        next.free.push_back(place);
        next.usable -= usize::from(member.is_usable());
        next.doubted -= usize::from(member.admission != Admission::Open);
        self.is_changed = true;
        Some(member)
    }

    /// What the successor is so far.
    pub const fn so_far(&self) -> &Snapshot {
        &self.next
    }

    /// Whether the successor differs.
    pub const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The successor. If nothing was changed, it is the same snapshot, with the same version.
    pub fn finish(mut self) -> Snapshot {
        if self.is_changed {
            self.next.version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::pool::{Admission, ClosedWhy};
    use crate::runner::doubles::Scripted;

    fn member(name: &str) -> Member {
        Member::new(Arc::new(Scripted::busy(name)))
    }

    fn snapshot(names: &[&str]) -> Snapshot {
        Snapshot::new(names.iter().map(|name| member(name)).collect()).unwrap()
    }

    fn told(changes: &[SnapshotChange]) -> Vec<String> {
        let told = |change: &SnapshotChange| match change {
            SnapshotChange::Joined(place, member) => format!("+{place} {}", member.id),
            SnapshotChange::Changed(place, member) => format!("={place} {}", member.id),
            SnapshotChange::Left(place, member) => format!("-{place} {}", member.id),
        };
        changes.iter().map(told).collect()
    }

    #[test]
    fn a_runner_keeps_its_place_while_others_come_and_go() {
        let first = snapshot(&["a", "b", "c"]);
        let second = first.without(RunnerPlace(0)).with(member("d")).with(member("e"));
        let place = |snapshot: &Snapshot, name: &str| snapshot.place(&RunnerId::new(name)).map(|place| place.0);
        assert_eq!((place(&second, "b"), place(&second, "c")), (Some(1), Some(2)));
        assert_eq!((place(&second, "d"), place(&second, "e"), place(&second, "a")), (Some(0), Some(3), None));
        assert_eq!((first.len(), second.len(), second.place_count()), (3, 4, 4), "the first is what it was");
        assert_eq!((first.lineage(), first.version() < second.version()), (second.lineage(), true));
    }

    #[test]
    fn what_changed_is_told_and_nothing_else() {
        let first = snapshot(&["a", "b", "c"]);
        let mut closed = Member::clone(first.get(RunnerPlace(1)).unwrap());
        closed.admission = Admission::Closed(ClosedWhy::Failures);
        let second = first.with(closed);
        assert_eq!(told(&second.diff(&first)), ["=1 b"]);
        assert_eq!((first.usable(), second.usable()), (3, 2));

        let third = second.without(RunnerPlace(0)).with(member("d")).with(member("c"));
        assert_eq!(told(&third.diff(&second)), ["-0 a", "+0 d", "-2 c", "+2 c"], "another runner of the same name is another");
        assert_eq!(told(&third.diff(&third.clone())), [""; 0]);
        assert_eq!(told(&snapshot(&["x"]).diff(&snapshot(&["x"]))), ["-0 x", "+0 x"], "lineages have nothing in common");
    }

    #[test]
    fn a_change_that_changes_nothing_makes_no_new_version() {
        let first = snapshot(&["a", "b"]);
        let same = first.with(Member::clone(first.get(RunnerPlace(1)).unwrap())).without(RunnerPlace(7));
        assert_eq!(same.version(), first.version());
    }

    #[test]
    fn two_runners_of_one_name_are_no_snapshot() {
        let error = Snapshot::new(vec![member("a"), member("a")]).unwrap_err();
        assert_eq!(error.to_string(), "runner `a` is listed twice");
    }

    #[test]
    fn members_are_listed_from_any_place_on() {
        let listed = snapshot(&["a", "b", "c", "d"]).without(RunnerPlace(2));
        let from = |start| listed.places_from(RunnerPlace(start)).map(|(_, member)| member.id.to_string()).collect::<String>();
        assert_eq!((from(0), from(1), from(2), from(9)), ("abd".into(), "bda".into(), "dab".into(), "abd".into()));
    }

    proptest! {
        /// Whoever applies what changed to what was has what is.
        #[test]
        fn applying_a_diff_makes_the_newer_one(steps in proptest::collection::vec((0..40_u32, 0..3_u8), 0..120), cut in 0..120_usize) {
            let mut older = snapshot(&[]);
            let mut now = older.clone();
            for (step, (number, kind)) in steps.into_iter().enumerate() {
                let name = format!("r{number}");
                match (kind, now.place(&RunnerId::new(name.as_str()))) {
                    (0, Some(place)) => now = now.without(place),
                    (1, Some(place)) => {
                        let mut changed = Member::clone(now.get(place).unwrap());
                        changed.weight += 1;
                        now = now.with(changed);
                    }
                    _ => now = now.with(member(&name)),
                }
                if step == cut {
                    older = now.clone();
                }
            }
            let mut applied: BTreeMap<RunnerPlace, Arc<Member>> = older.places().map(|(place, member)| (place, Arc::clone(member))).collect();
            for change in now.diff(&older) {
                match change {
                    SnapshotChange::Joined(place, member) => prop_assert!(applied.insert(place, member).is_none()),
                    SnapshotChange::Changed(place, member) => prop_assert!(applied.insert(place, member).is_some()),
                    SnapshotChange::Left(place, _) => prop_assert!(applied.remove(&place).is_some()),
                }
            }
            prop_assert!(applied.len() == now.len());
            for (place, member) in now.places() {
                prop_assert!(Arc::ptr_eq(&applied[&place], member));
                prop_assert_eq!(now.place(&member.id), Some(place));
                prop_assert!(place.index() < now.place_count());
            }
            prop_assert_eq!(now.usable(), now.members().filter(|member| member.is_usable()).count());
            prop_assert_eq!(now.doubted(), now.members().filter(|member| member.admission != Admission::Open).count());
        }
    }
}
