//! What the view knows, whatever happens in whatever order: its indexes tell the truth, and its counts are those of the calls.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::placement::event::{Admission, RunnerNews, StartKind};

const RUNNERS: u32 = 6;
const FUNCTIONS: u32 = 3;

fn runner(name: &str, slots: Option<u32>) -> RunnerFacts {
    RunnerFacts { name: name.to_owned(), weight: 100, admission: Admission::Open, max_in_flight: 0, slots }
}

fn function(name: &str) -> FunctionFacts {
    FunctionFacts {
        name: name.to_owned(),
        placer: crate::placement::config::PlacerChoice::Naive,
        weight: 1,
        flow: name.to_owned(),
        memory: 1,
        concurrency: 0,
        keeps_workers: true,
    }
}

fn view() -> View {
    let mut view = View::new(Duration::from_millis(10));
    for number in 0..FUNCTIONS {
        view.set_function(FunctionNumber(number), function(&format!("f{number}")));
    }
    view
}

fn full(in_flight: u32, slots: u32, warm: u32) -> RunnerNews {
    RunnerNews { load: Some(LoadReport { in_flight, slots, warm }), lost_warm: Vec::new() }
}

fn at(millis: u64) -> Moment {
    Moment::ZERO + Duration::from_millis(millis)
}

/// A cold call of [`HELLO`] is refused on [`ONE`]. Returns when to look again.
fn refused(view: &mut View, why: RefusedKind, news: &RunnerNews, now: Moment, draw: u64) -> Option<Moment> {
    let attempted = Attempted { runner: ONE, function: HELLO, expected: Expected::Cold };
    view.refused(&attempted, &Refusal { why, retry_after: None, draw }, news, now).map(|again| again.0)
}

const ONE: RunnerPlace = RunnerPlace(0);
const HELLO: FunctionNumber = FunctionNumber(0);

#[derive(Clone, Debug)]
enum Act {
    Set(u32, u32, Admission, Option<u32>),
    Leave(u32),
    Begin(u32),
    Commit(usize, StartKind, Option<LoadReport>),
    End(usize, bool),
    Refuse(usize, RefusedKind, Option<LoadReport>),
    Report(u32, u32, u32, u32),
    Room(u32),
    Pause(u32, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let admission = prop_oneof![4 => Just(Admission::Open), 1 => Just(Admission::OneProbe), 1 => Just(Admission::Closed)];
    let load = proptest::option::of((0..6_u32, 0..6_u32, 0..4_u32).prop_map(|(in_flight, slots, warm)| LoadReport {
        in_flight,
        slots,
        warm,
    }));
    let start = prop_oneof![Just(StartKind::Warm), Just(StartKind::Cold(Duration::from_millis(5))), Just(StartKind::Unknown)];
    let why = proptest::sample::select(vec![
        RefusedKind::Busy,
        RefusedKind::FunctionBusy,
        RefusedKind::Memory,
        RefusedKind::Draining,
        RefusedKind::Status,
        RefusedKind::Unreachable,
    ]);
    let act = prop_oneof![
        2 => (0..RUNNERS, 0..3_u32, admission, proptest::option::of(0..5_u32)).prop_map(|(place, weight, admission, slots)| Act::Set(place, weight * 50, admission, slots)),
        1 => (0..RUNNERS).prop_map(Act::Leave),
        8 => (0..FUNCTIONS).prop_map(Act::Begin),
        4 => (any::<usize>(), start, load.clone()).prop_map(|(which, start, load)| Act::Commit(which, start, load)),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, warm)| Act::End(which, warm)),
        4 => (any::<usize>(), why, load).prop_map(|(which, why, load)| Act::Refuse(which, why, load)),
        2 => (0..RUNNERS, 0..6_u32, 0..6_u32, 0..4_u32).prop_map(|(place, in_flight, slots, warm)| Act::Report(place, in_flight, slots, warm)),
        1 => (0..RUNNERS).prop_map(Act::Room),
        2 => (0..RUNNERS, 0..2_000_u64).prop_map(|(place, later)| Act::Pause(place, later)),
    ];
    proptest::collection::vec(act, 0..150)
}

/// A call that the model knows to be somewhere.
#[derive(Clone, Copy, Debug)]
struct There {
    /// Where; nowhere, if that runner has left.
    place: Option<RunnerPlace>,
    function: FunctionNumber,
    expected: Expected,
    is_committed: bool,
}

/// Everything that can be worked out anew is what the view says.
fn check(view: &View, calls: &[There]) {
    let open: BTreeSet<RunnerPlace> = view.runners().filter(|(_, runner)| runner.room() > 0).map(|(place, _)| place).collect();
    assert_eq!(view.open_from(0).collect::<BTreeSet<_>>(), open);
    assert_eq!(view.by_load(7).collect::<BTreeSet<_>>(), open);
    assert_eq!(view.open_count(), open.len());
    assert_eq!(view.members(), view.runners().count());
    let loads: Vec<u32> = view.by_load(3).map(|place| view.runner(place).unwrap().load(BUCKETS as u32 - 1)).collect();
    assert!(loads.is_sorted(), "{loads:?}");
    for (place, runner) in view.runners() {
        let there: Vec<_> = calls.iter().filter(|call| call.place == Some(place)).collect();
        assert_eq!(runner.own() as usize, there.len(), "calls on {place}");
        let starting = there.iter().filter(|call| !call.is_committed && call.expected == Expected::Cold).count();
        assert_eq!(runner.starting() as usize, starting, "starting on {place}");
        let warm: BTreeSet<FunctionNumber> =
            (0..FUNCTIONS).map(FunctionNumber).filter(|number| view.function(*number).idle_on(place) > 0).collect();
        assert_eq!(runner.warm().iter().copied().collect::<BTreeSet<_>>(), warm, "warm on {place}");
        assert_eq!(runner.warm().len(), warm.len(), "each once");
    }
    for number in (0..FUNCTIONS).map(FunctionNumber) {
        let known = view.function(number);
        let warm_on: BTreeSet<RunnerPlace> =
            view.runners().map(|(place, _)| place).filter(|place| known.idle_on(*place) > 0).collect();
        assert_eq!(known.warm_on().iter().copied().collect::<BTreeSet<_>>(), warm_on);
        assert_eq!(known.warm_on().len(), warm_on.len(), "each once");
        assert_eq!(known.idle(), warm_on.iter().map(|place| known.idle_on(*place)).sum::<u32>());
        assert_eq!(known.own() as usize, calls.iter().filter(|call| call.function == number).count());
    }
}

proptest! {
    #[test]
    fn the_indexes_tell_the_truth_whatever_happens(acts in acts()) {
        let mut view = view();
        let mut calls: Vec<There> = Vec::new();
        let mut now = Moment::ZERO;
        for (number, act) in acts.into_iter().enumerate() {
            now = now + Duration::from_millis(3);
            match act {
                Act::Set(place, weight, admission, slots) => {
                    let facts = RunnerFacts { weight, admission, ..runner(&format!("r{place}"), slots) };
                    view.set_runner(RunnerPlace(place), facts);
                }
                Act::Leave(place) => {
                    view.remove_runner(RunnerPlace(place));
                    for call in calls.iter_mut().filter(|call| call.place == Some(RunnerPlace(place))) {
                        call.place = None;
                    }
                }
                Act::Begin(function) => {
                    let function = FunctionNumber(function);
                    let place = view.open_at_random(number as u64).filter(|place| view.can_take(*place, function));
                    if let Some(place) = place {
                        let room = view.runner(place).unwrap().room();
                        let expected = view.begin(place, function).expected;
                        let left = view.runner(place).unwrap().room();
                        prop_assert!(room == u32::MAX || left == room - 1, "no two calls count on one slot");
                        calls.push(There { place: Some(place), function, expected, is_committed: false });
                    }
                }
                Act::Commit(which, start, load) => {
                    let undecided: Vec<usize> = (0..calls.len()).filter(|call| !calls[*call].is_committed).collect();
                    if !undecided.is_empty() {
                        let call = &mut calls[undecided[which % undecided.len()]];
                        call.is_committed = true;
                        if let Some(place) = call.place {
                            view.committed(place, call.function, call.expected, start);
                            view.learn(place, call.function, &RunnerNews { load, lost_warm: vec![(FunctionNumber(1), 1)] });
                        }
                    }
                }
                Act::End(which, leaves_warm) => if !calls.is_empty() {
                    let call = calls.swap_remove(which % calls.len());
                    match call.place {
                        None => view.ended_elsewhere(call.function),
                        Some(place) => {
                            if !call.is_committed {
                                view.start_is_over(place, call.expected);
                            }
                            view.ended(place, call.function, if leaves_warm { LeavesWarm::Yes } else { LeavesWarm::No });
                        }
                    }
                }
                Act::Refuse(which, why, load) => {
                    let undecided: Vec<usize> = (0..calls.len()).filter(|call| !calls[*call].is_committed).collect();
                    if !undecided.is_empty() {
                        let call = calls.swap_remove(undecided[which % undecided.len()]);
                        let news = RunnerNews { load, lost_warm: Vec::new() };
                        match call.place {
                            None => view.ended_elsewhere(call.function),
                            Some(runner) => {
                                let attempted = Attempted { runner, function: call.function, expected: call.expected };
                                view.refused(&attempted, &Refusal { why, retry_after: None, draw: number as u64 }, &news, now);
                            }
                        }
                    }
                }
                Act::Report(place, in_flight, slots, warm) => {
                    view.reported(RunnerPlace(place), in_flight, slots, &[(FunctionNumber(in_flight % FUNCTIONS), warm)]);
                }
                Act::Room(place) => view.granted(RunnerPlace(place)),
                Act::Pause(place, later) => {
                    now = now + Duration::from_millis(later);
                    view.pause_is_over(RunnerPlace(place), now);
                }
            }
            check(&view, &calls);
        }
    }

    #[test]
    fn two_random_runners_are_two(members in 0..200_u32, draw: u64) {
        let mut view = view();
        for number in 0..members {
            view.set_runner(RunnerPlace(number), runner(&number.to_string(), Some(1)));
        }
        let [first, second] = view.two_open_at_random(draw);
        prop_assert_eq!(first.is_some(), members > 0);
        prop_assert_eq!(second.is_some(), members > 1);
        prop_assert!(members < 2 || first != second);
    }
}

#[test]
fn every_runner_with_room_is_drawn_as_often_as_any_other_however_sparse_they_are() {
    let mut view = view();
    for number in 0..1_000 {
        view.set_runner(RunnerPlace(number), runner(&number.to_string(), Some(u32::from(number % 97 == 0))));
    }
    let mut drawn = std::collections::BTreeMap::new();
    for number in 0..11_000_u64 {
        let draw = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for runner in view.two_open_at_random(draw).into_iter().flatten() {
            *drawn.entry(runner).or_insert(0) += 1;
        }
    }
    assert_eq!(drawn.len(), 11);
    assert!(drawn.values().all(|count| (1_800..2_200).contains(count)), "{drawn:?}");
}

#[test]
fn a_runner_that_tells_nothing_takes_what_it_took_and_one_more_after_each_pause() {
    let mut view = view();
    let room = |view: &View| view.runner(ONE).unwrap().room();
    view.set_runner(ONE, runner("plain", None));
    for _ in 0..3 {
        assert!(!view.begin(ONE, HELLO).is_probe, "nothing is known yet");
    }
    let again = refused(&mut view, RefusedKind::Status, &RunnerNews::default(), at(0), 5).unwrap();
    assert_eq!(room(&view), 0, "it takes two");
    view.ended(ONE, HELLO, LeavesWarm::No);
    assert_eq!(room(&view), 1, "the one that ended made room, and no more");
    assert!(!view.begin(ONE, HELLO).is_probe);
    assert!(view.is_pause_over(ONE, again), "although a call ended since");
    assert!(view.pause_is_over(ONE, again));
    assert_eq!(room(&view), 1, "one more");
    assert!(view.begin(ONE, HELLO).is_probe);
    assert_eq!(room(&view), 0, "and one only");
    view.probe_succeeded(ONE);
    assert_eq!(room(&view), 1, "it took it, and may take another");
}

#[test]
fn a_refusal_that_is_not_for_want_of_room_is_over_with_the_first_call_that_is_taken() {
    let mut view = view();
    let room = |view: &View| view.runner(ONE).unwrap().room();
    view.set_runner(ONE, runner("plain", None));
    for _ in 0..100 {
        let expected = view.begin(ONE, HELLO).expected;
        view.committed(ONE, HELLO, expected, StartKind::Warm);
    }
    for _ in 0..100 {
        view.ended(ONE, HELLO, LeavesWarm::No);
    }
    view.begin(ONE, HELLO);
    let again = refused(&mut view, RefusedKind::Status, &RunnerNews::default(), at(0), 5).unwrap();
    assert_eq!(room(&view), 0);
    assert!(view.pause_is_over(ONE, again));
    assert_eq!(room(&view), 1, "one call finds out");
    assert!(view.begin(ONE, HELLO).is_probe);
    view.probe_succeeded(ONE);
    assert_eq!(room(&view), 100, "it has the one, had a hundred before, and may take one more");
}

#[test]
fn a_runner_that_came_to_take_less_is_known_by_its_refusals() {
    let mut view = view();
    view.set_runner(ONE, runner("plain", None));
    for _ in 0..100 {
        let expected = view.begin(ONE, HELLO).expected;
        view.committed(ONE, HELLO, expected, StartKind::Warm);
    }
    for _ in 0..96 {
        refused(&mut view, RefusedKind::Status, &RunnerNews::default(), at(0), 5);
    }
    assert!(view.pause_is_over(ONE, at(60_000)));
    assert!(view.begin(ONE, HELLO).is_probe);
    view.probe_succeeded(ONE);
    assert_eq!(view.runner(ONE).unwrap().room(), 1, "four and the probe, and one more");
}

#[test]
fn a_runner_that_is_reached_again_is_used_in_full_with_the_first_call_that_is_taken() {
    let mut view = view();
    view.set_runner(ONE, runner("plain", None));
    for _ in 0..50 {
        let expected = view.begin(ONE, HELLO).expected;
        view.committed(ONE, HELLO, expected, StartKind::Warm);
    }
    for _ in 0..50 {
        view.ended(ONE, HELLO, LeavesWarm::No);
    }
    view.begin(ONE, HELLO);
    refused(&mut view, RefusedKind::Unreachable, &RunnerNews::default(), at(0), 5);
    assert!(view.try_unreachable(ONE));
    assert!(view.begin(ONE, HELLO).is_probe);
    view.probe_succeeded(ONE);
    assert_eq!(view.runner(ONE).unwrap().room(), 50);
}

#[test]
fn the_pause_grows_with_every_probe_that_is_refused_and_never_beyond_a_second() {
    let mut view = view();
    view.set_runner(ONE, runner("plain", None));
    let (mut now, mut pauses) = (Moment::ZERO, Vec::new());
    for draw in 0..40_u64 {
        view.begin(ONE, HELLO);
        let draw = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
        let until = refused(&mut view, RefusedKind::Status, &RunnerNews::default(), now, draw).unwrap();
        pauses.push(until - now);
        now = until;
        view.pause_is_over(ONE, now);
    }
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(1));
    assert!(pauses.iter().all(|pause| (least..=most).contains(pause)), "{pauses:?}");
    assert_eq!(pauses[30..].iter().min(), Some(&most), "{pauses:?}");
}

#[test]
fn calls_that_were_on_their_way_when_a_runner_began_to_refuse_do_not_make_the_pause_longer() {
    let mut view = view();
    view.set_runner(ONE, runner("plain", None));
    for _ in 0..50 {
        view.begin(ONE, HELLO);
    }
    let again: Vec<Moment> =
        (0..48).filter_map(|draw| refused(&mut view, RefusedKind::Status, &RunnerNews::default(), at(1), draw)).collect();
    assert_eq!(again.len(), 1, "one pause for all of them");
    assert!(again[0] - at(1) <= Duration::from_millis(30));
    view.pause_is_over(ONE, again[0]);
    assert_eq!(view.runner(ONE).unwrap().room(), 1, "it has two and gets a third");
}

#[test]
fn a_full_runner_has_no_room_until_something_says_so() {
    let mut view = view();
    view.set_runner(ONE, runner("agent", Some(4)));
    view.begin(ONE, HELLO);
    let again = refused(&mut view, RefusedKind::Busy, &full(4, 4, 0), at(0), 0).unwrap();
    assert!(!view.can_take(ONE, HELLO));
    assert!(view.begin_asking_for_room(ONE));
    assert!(!view.begin_asking_for_room(ONE), "one question at a time");
    assert!(!view.pause_is_over(ONE, again), "it was asked, and will say");
    view.granted(ONE);
    assert_eq!(view.runner(ONE).unwrap().room(), 1, "one slot");
    view.reported(ONE, 0, 4, &[]);
    assert_eq!(view.runner(ONE).unwrap().room(), 4);
}

#[test]
fn a_runner_that_may_not_be_tried_is_not_asked_for_room() {
    let mut view = view();
    view.set_runner(ONE, RunnerFacts { admission: Admission::Closed, ..runner("agent", Some(4)) });
    view.reported(ONE, 4, 4, &[]);
    assert!(!view.begin_asking_for_room(ONE));
}

#[test]
fn a_runner_without_memory_takes_only_what_is_warm_there() {
    let mut view = view();
    view.set_runner(ONE, runner("agent", Some(4)));
    view.reported(ONE, 0, 4, &[(FunctionNumber(1), 1)]);
    view.begin(ONE, HELLO);
    let again = refused(&mut view, RefusedKind::Memory, &RunnerNews::default(), at(0), 0).unwrap();
    assert!(!view.can_take(ONE, HELLO));
    assert!(view.can_take(ONE, FunctionNumber(1)), "an idle worker needs no more");
    view.pause_is_over(ONE, again);
    assert!(view.can_take(ONE, HELLO));
}

#[test]
fn a_runner_that_takes_the_place_of_another_inherits_nothing() {
    let mut view = view();
    view.set_runner(ONE, runner("old", Some(4)));
    view.reported(ONE, 0, 4, &[(HELLO, 2)]);
    view.begin(ONE, HELLO);
    let life = view.life(ONE);
    view.set_runner(ONE, runner("new", Some(1)));
    assert_ne!(view.life(ONE), life);
    assert_eq!(view.function(HELLO).warm_on(), []);
    assert_eq!((view.function(HELLO).idle(), view.members()), (0, 1));
    assert_eq!(view.runner(ONE).unwrap().room(), 1);
}

#[test]
fn a_warm_worker_that_turned_out_cold_was_not_there() {
    let mut view = view();
    view.set_runner(ONE, runner("agent", Some(4)));
    view.reported(ONE, 0, 4, &[(HELLO, 3)]);
    let expected = view.begin(ONE, HELLO).expected;
    assert_eq!((expected, view.function(HELLO).idle()), (Expected::Warm, 2));
    view.committed(ONE, HELLO, expected, StartKind::Cold(Duration::from_millis(100)));
    assert_eq!(view.function(HELLO).idle(), 0);
    assert_eq!(view.function(HELLO).cold(), Some(Duration::from_millis(100)));
}
