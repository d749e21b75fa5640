//! Calls that were only to be started: their answer is no end.

use super::*;

fn started(hand: &mut Hand, number: u64) -> Vec<Step> {
    let load = Some(LoadReport { in_flight: 1, slots: 1, warm: 0 });
    let news = RunnerNews { load, ..RunnerNews::default() };
    hand.step(Event::Committed { call: call(number), start: StartKind::Warm, runs_until: None, news });
    hand.step(Event::Ended { call: call(number), how: EndedHow::RunsOn, news: RunnerNews::default() })
}

#[test]
fn a_call_that_runs_on_keeps_its_slot_until_its_runner_has_room() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(1);
    assert_eq!(started(&mut hand, 1), []);
    let runner = hand.placing.view().runner(place(0)).unwrap();
    assert_eq!((runner.own(), runner.in_flight(), runner.room()), (0, 1, 0));
    let waits = hand.arrive(2);
    assert_eq!(tries(&waits), []);
    assert!(waits.contains(&Step::AskRoom { runner: place(0) }), "only the runner can tell: {waits:?}");
    assert_eq!(tries(&hand.step(Event::Room { runner: place(0) })), [(2, 0)]);
}

#[test]
fn what_waits_asks_for_room_when_a_call_runs_on() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(1);
    hand.arrive(2);
    assert_eq!(started(&mut hand, 1), [Step::AskRoom { runner: place(0) }]);
}
