//! The order of homes: the same in every balancer and on either kind of ring, and hardly changed by who comes and goes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn members(numbers: impl IntoIterator<Item = u32>) -> Vec<RingMember> {
    // Places are each balancer's own numbers, and no part of the order.
    numbers.into_iter().map(|number| (RunnerPlace(number), Arc::from(format!("runner-{number}:9001")))).collect()
}

fn nodes(members: &[RingMember]) -> Vec<Node> {
    members.iter().map(|(place, name)| Node { name: Arc::clone(name), place: *place }).collect()
}

fn homes(ring: &HomeRing, key: &str, hint: Option<u64>) -> Vec<RunnerPlace> {
    let mut homes = Vec::new();
    ring.candidates(key, hint, &mut homes);
    homes
}

fn flat(runners: &[RingMember], former: Option<&HomeRing>) -> HomeRing {
    let nodes = nodes(runners);
    let points = Points::Flat(FlatRing::make(&nodes, former.and_then(HomeRing::flat)));
    HomeRing { nodes, points }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_kinds_of_ring_give_the_same_candidates(
        before in proptest::collection::btree_set(0..60_u32, 0..40),
        after in proptest::collection::btree_set(0..60_u32, 0..40),
        keys in proptest::collection::vec("[a-z-]{1,20}", 1..30),
        hint in proptest::option::of(any::<u64>()),
    ) {
        let (before, after) = (members(before), members(after));
        let package = HomeRing::make(&before, None);
        let changed_package = HomeRing::make(&after, Some(&package));
        let array = flat(&before, None);
        let changed_array = flat(&after, Some(&array));
        for key in &keys {
            prop_assert_eq!(homes(&package, key, hint), homes(&array, key, hint));
            prop_assert_eq!(homes(&changed_package, key, hint), homes(&changed_array, key, hint));
            prop_assert_eq!(homes(&changed_array, key, hint), homes(&flat(&after, None), key, hint), "its history does not matter");
            prop_assert_eq!(homes(&changed_array, key, hint).len(), after.len().min(CANDIDATES));
        }
    }
}

#[test]
fn a_ring_beyond_the_bound_is_flat_and_back_below_it_the_package_s() {
    let (small, large) = (members(0..20), members(0..1_001));
    let package = HomeRing::make(&small, None);
    let array = HomeRing::make(&large, Some(&package));
    assert!(package.package().is_some() && array.flat().is_some());
    let back = HomeRing::make(&small, Some(&array));
    assert!(back.package().is_some());
    for key in 0..100 {
        let key = format!("f{key}");
        assert_eq!(homes(&package, &key, None), homes(&back, &key, None));
        assert_eq!(homes(&array, &key, None), homes(&flat(&large, None), &key, None));
    }
}

#[test]
fn candidates_are_different_runners_and_their_order_does_not_change_between_versions() {
    let ring = HomeRing::make(&members(0..10), None);
    let order = homes(&ring, "hello", None);
    assert_eq!(order.iter().collect::<std::collections::BTreeSet<_>>().len(), CANDIDATES);
    assert_eq!(order.iter().map(|place| place.0).collect::<Vec<_>>(), PINNED);
    assert_ne!(order, homes(&ring, "hello", Some(1)), "a hint makes another key");
}

/// What `hello` is homed on among ten runners. Another order here would move every function of a pool at an upgrade.
const PINNED: [u32; CANDIDATES] = [9, 1, 2, 7, 5, 3, 4, 8];

#[test]
fn a_runner_that_leaves_moves_only_what_was_at_home_there() {
    let (all, less) =
        (HomeRing::make(&members(0..20), None), HomeRing::make(&members((0..20).filter(|number| *number != 7)), None));
    for key in 0..1_000 {
        let key = format!("f{key}");
        let (before, after) = (homes(&all, &key, None)[0], homes(&less, &key, None)[0]);
        assert!(before == after || before.0 == 7, "{key} moved from {before} to {after}");
    }
}

#[test]
fn keys_are_spread_over_many_runners() {
    let ring = flat(&members(0..1_500), None);
    let mut share = BTreeMap::new();
    for key in 0..150_000 {
        *share.entry(homes(&ring, &format!("f{key}"), None)[0]).or_insert(0_u32) += 1;
    }
    let most = share.values().max().unwrap();
    assert!(*most < 180, "the most at home on one runner are {most}, the mean is 100");
}

#[test]
fn a_ring_of_nobody_has_no_candidates() {
    assert_eq!(homes(&HomeRing::make(&[], None), "hello", None), []);
    assert_eq!(homes(&flat(&[], None), "hello", None), []);
}
