//! What follows from each event.

use super::*;

#[test]
fn one_freed_slot_wakes_one_call() {
    let mut hand = Hand::new(&[Some(2)]);
    hand.fill(0..2);
    for number in 2..10 {
        assert_eq!(hand.arrive(number), [Step::Wait { call: call(number) }]);
    }
    assert_eq!(hand.end(0), [Step::Try { call: call(2), runner: place(0), attempt: 1 }]);
    assert_eq!(hand.placing.queue().len(), 7);
}

#[test]
fn a_newcomer_cannot_steal_the_slot_that_was_given_to_a_waiting_call() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.register(1, function("other", PlacerChoice::Naive));
    hand.fill(0..1);
    hand.arrive(1);
    assert_eq!(tries(&hand.end(0)), [(1, 0)]);
    // Call 1 is still on its way to the runner.
    assert_eq!(tries(&hand.arrive_as(2, 1, None, 0)), []);
    assert_eq!(tries(&hand.arrive(3)), []);
}

#[test]
fn calls_of_a_function_are_placed_in_the_order_they_came() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.fill(0..1);
    for number in 1..6 {
        hand.arrive(number);
    }
    let mut order = Vec::new();
    for number in 0..5 {
        order.extend(tries(&hand.end(number)));
        hand.commit(number + 1);
    }
    assert_eq!(order, [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
}

#[test]
fn a_refused_call_goes_to_the_front() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.fill(0..1);
    for number in 1..4 {
        hand.arrive(number);
    }
    assert_eq!(tries(&hand.end(0)), [(1, 0)]);
    // Another balancer was faster.
    let steps = hand.refuse(1, RefusedKind::Busy, load(1, 1));
    assert_eq!(steps, [Step::Wait { call: call(1) }, Step::AskRoom { runner: place(0) }]);
    assert_eq!(tries(&hand.step(Event::Room { runner: place(0) })), [(1, 0)]);
}

#[test]
fn of_two_refused_calls_the_older_one_stands_before_the_younger_whoever_was_refused_first() {
    for order in [[1, 2], [2, 1]] {
        let mut hand = Hand::new(&[Some(2)]);
        hand.fill(3..5);
        hand.arrive(1);
        hand.arrive(2);
        assert_eq!(tries(&hand.end(3)), [(1, 0)]);
        assert_eq!(tries(&hand.end(4)), [(2, 0)]);
        for number in order {
            hand.refuse(number, RefusedKind::Busy, load(2, 2));
        }
        assert_eq!(tries(&hand.step(Event::Room { runner: place(0) })), [(1, 0)]);
    }
}

#[test]
fn a_refused_call_is_tried_elsewhere_before_it_waits() {
    let mut hand = Hand::new(&[Some(4), Some(4)]);
    let first = tries(&hand.arrive(1))[0].1;
    let steps = hand.refuse(1, RefusedKind::Busy, load(4, 4));
    assert_eq!(steps[0], Step::Try { call: call(1), runner: place(1 - first), attempt: 2 });
    let steps = hand.refuse(1, RefusedKind::Unreachable, RunnerNews::default());
    assert_eq!(steps[0], Step::Wait { call: call(1) });
}

#[test]
fn a_client_that_leaves_frees_its_place_and_its_bytes_at_once() {
    let limits = LoopRules { waiting: WaitLimits { calls: 2, bytes: 100 }, ..rules() };
    let mut hand = Hand::with(limits, function("hello", PlacerChoice::Naive), &[Some(1)]);
    hand.fill(0..1);
    hand.arrive_as(1, 0, None, 90);
    assert_eq!(given_up(&hand.arrive_as(2, 0, None, 20)), [(2, GaveUp::QueueFull)], "too many bytes");
    assert_eq!(hand.step(Event::ClientGone { call: call(1) }), []);
    assert_eq!((hand.placing.queue().len(), hand.placing.queue().bytes()), (0, 0));
    hand.arrive_as(3, 0, None, 50);
    hand.arrive_as(4, 0, None, 50);
    assert_eq!(given_up(&hand.arrive(5)), [(5, GaveUp::QueueFull)], "too many calls");
    hand.step(Event::ClientGone { call: call(3) });
    assert_eq!(given_up(&hand.arrive(6)), []);
    let wakes = hand.placing.alarms.iter().filter(|(_, alarm)| matches!(alarm, Alarm::GiveUp(_))).count();
    assert_eq!(wakes, 2, "nobody is woken for who left");
}

#[test]
fn a_client_that_leaves_while_its_call_is_tried_or_running_frees_the_slot() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(1);
    hand.arrive(2);
    assert_eq!(tries(&hand.step(Event::ClientGone { call: call(1) })), [(2, 0)]);
    hand.commit(2);
    hand.arrive(3);
    assert_eq!(tries(&hand.step(Event::ClientGone { call: call(2) })), [(3, 0)]);
}

#[test]
fn what_is_said_of_a_call_that_is_over_changes_nothing() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.fill(1..2);
    hand.end(1);
    for event in [
        Event::ClientGone { call: call(1) },
        Event::Ended { call: call(1), how: EndedHow::Ok, news: RunnerNews::default() },
        Event::Committed { call: call(1), start: StartKind::Warm, runs_until: None, news: RunnerNews::default() },
        Event::Refused { call: call(1), why: RefusedKind::Busy, retry_after: None, news: RunnerNews::default() },
    ] {
        assert_eq!(hand.step(event), []);
    }
    assert_eq!(hand.placing.view().runner(place(0)).unwrap().own(), 0);
}

#[test]
fn no_other_runner_is_tried_after_commit() {
    let mut hand = Hand::new(&[Some(1), Some(1)]);
    hand.fill(1..2);
    assert_eq!(hand.refuse(1, RefusedKind::Busy, RunnerNews::default()), [], "it has begun to answer");
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_early_with_the_time_until_a_turn() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.fill(0..1);
    for number in 1..30 {
        hand.arrive(number);
    }
    for number in 0..20 {
        hand.now = hand.now + Duration::from_millis(100);
        hand.end(number);
        hand.commit(number + 1);
    }
    // Nine wait, and one leaves every 100 ms.
    let soon = hand.now + Duration::from_millis(500);
    let steps = hand.arrive_as(50, 0, Some(soon), 0);
    let [Step::GiveUp { why: GaveUp::DeadlineUnreachable, retry_after: Some(after), .. }] = steps[..] else {
        panic!("{steps:?}");
    };
    assert!((Duration::from_millis(900)..Duration::from_millis(1_100)).contains(&after), "{after:?}");
    let late = hand.now + Duration::from_secs(10);
    assert_eq!(hand.arrive_as(51, 0, Some(late), 0), [Step::Wait { call: call(51) }]);
    assert_eq!(given_up(&hand.pass(Duration::from_secs(11))), [(51, GaveUp::DeadlineExceeded)]);
}

#[test]
fn a_deadline_that_is_over_is_not_tried() {
    let mut hand = Hand::new(&[Some(1)]);
    assert_eq!(given_up(&hand.arrive_as(1, 0, Some(at(0)), 0)), [(1, GaveUp::DeadlineExceeded)]);
}

#[test]
fn waiting_ends_with_the_placer_timeout() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.fill(0..1);
    hand.arrive(1);
    assert_eq!(given_up(&hand.pass(Duration::from_secs(359))), []);
    assert_eq!(given_up(&hand.pass(Duration::from_secs(2))), [(1, GaveUp::PlacerTimeout)]);
    hand.leave(0);
    hand.arrive(2);
    assert_eq!(given_up(&hand.pass(Duration::from_secs(361))), [(2, GaveUp::NoRunner)]);
}

#[test]
fn a_hundred_thousand_calls_whose_time_is_up_at_once_are_given_up_at_one_offer() {
    let many = LoopRules { waiting: WaitLimits { calls: usize::MAX, bytes: u64::MAX }, ..rules() };
    let mut hand = Hand::with(many, function("hello", PlacerChoice::Naive), &[Some(1)]);
    hand.fill(0..1);
    for number in 1..=100_000 {
        hand.arrive(number);
    }
    // The slot comes free before the timer rang.
    hand.now = hand.now + Duration::from_secs(400);
    let steps = hand.end(0);
    assert_eq!((given_up(&steps).len(), tries(&steps).len()), (100_000, 0));
}

#[test]
fn a_full_runner_is_not_tried_until_something_says_that_it_has_room() {
    let mut hand = Hand::new(&[Some(4)]);
    hand.arrive(1);
    let steps = hand.refuse(1, RefusedKind::Busy, load(4, 4));
    assert_eq!(steps, [Step::Wait { call: call(1) }, Step::AskRoom { runner: place(0) }]);
    assert_eq!(hand.arrive(2), [Step::Wait { call: call(2) }], "and it is asked only once");
    assert_eq!(tries(&hand.pass(Duration::from_secs(60))), [], "time alone says nothing while it was asked");
    let report = Event::Reported { runner: place(0), in_flight: 2, slots: 4, warm: Vec::new() };
    assert_eq!(tries(&hand.step(report)), [(1, 0), (2, 0)]);
}

#[test]
fn a_granted_slot_goes_to_one_call_and_the_question_is_asked_again() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(1);
    hand.refuse(1, RefusedKind::Busy, load(1, 1));
    hand.arrive(2);
    assert_eq!(hand.step(Event::Room { runner: place(0) }), [Step::Try { call: call(1), runner: place(0), attempt: 2 }]);
    // What fills it now is our own: its end will tell.
    assert_eq!(tries(&hand.arrive(3)), []);
    hand.commit(1);
    assert_eq!(tries(&hand.end(1)), [(2, 0)]);
}

#[test]
fn a_runner_without_room_is_asked_again_when_it_said() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(1);
    hand.refuse(1, RefusedKind::Busy, load(1, 1));
    let no_room = Event::NoRoom { runner: place(0), again_after: Duration::from_millis(50) };
    assert_eq!(hand.step(no_room), []);
    assert_eq!(hand.pass(Duration::from_millis(49)), []);
    // It does not tell whether there is room: one attempt does.
    assert_eq!(tries(&hand.pass(Duration::from_millis(2))), [(1, 0)]);
    let steps = hand.refuse(1, RefusedKind::Busy, load(1, 1));
    assert!(steps.contains(&Step::AskRoom { runner: place(0) }), "{steps:?}");
}

#[test]
fn a_plain_runner_is_probed_by_one_call_after_the_pause() {
    let mut hand = Hand::new(&[None]);
    for number in 0..5 {
        assert_eq!(tries(&hand.arrive(number)), [(number, 0)], "nothing is known of it");
    }
    hand.commit(0);
    hand.commit(1);
    for number in 2..5 {
        hand.refuse(number, RefusedKind::Status, RunnerNews::default());
    }
    assert_eq!(hand.arrive(9), [Step::Wait { call: call(9) }], "it takes two");
    assert_eq!(tries(&hand.pass(Duration::from_millis(9))), []);
    assert_eq!(tries(&hand.pass(Duration::from_millis(25))), [(2, 0)], "one probe, by the oldest");
    hand.refuse(2, RefusedKind::Status, RunnerNews::default());
    assert_eq!(tries(&hand.end(0)), [(2, 0)], "two again");
}

#[test]
fn a_plain_runner_that_has_grown_is_found_out_although_its_calls_ended_in_between() {
    let mut hand = Hand::new(&[None]);
    hand.fill(0..1);
    hand.arrive(1);
    hand.refuse(1, RefusedKind::Status, RunnerNews::default());
    assert_eq!(tries(&hand.end(0)), [(1, 0)]);
    hand.commit(1);
    for number in 2..20 {
        hand.arrive(number);
    }
    let mut running = 1;
    for _ in 0..30 {
        let mut tried = tries(&hand.pass(Duration::from_millis(40)));
        while let Some((number, _)) = tried.pop() {
            running += 1;
            tried.extend(tries(&hand.commit(number)));
        }
    }
    assert_eq!(running, 19, "all of them");
}

#[test]
fn a_plain_runner_that_refused_without_a_call_is_used_as_before_once_it_takes_one() {
    let mut hand = Hand::new(&[None]);
    hand.fill(0..20);
    for number in 0..20 {
        hand.end(number);
    }
    hand.arrive(20);
    hand.refuse(20, RefusedKind::Status, RunnerNews::default());
    for number in 21..40 {
        assert_eq!(tries(&hand.arrive(number)), [], "nobody knows yet");
    }
    let tried = tries(&hand.pass(Duration::from_millis(60)));
    assert_eq!(tried, [(20, 0)], "one finds out");
    assert_eq!(tries(&hand.commit(20)).len(), 19, "and the others follow at once");
}

#[test]
fn probes_of_silent_runners_are_paid_out_of_a_budget() {
    // Forty runners that refuse everything, and a call for each.
    let mut hand = Hand::new(&[None; 40]);
    let mut attempts = 0;
    let mut open: Vec<u64> = (0..40).flat_map(|number| tries(&hand.arrive(number))).map(|(number, _)| number).collect();
    for _ in 0..3_000 {
        while let Some(number) = open.pop() {
            attempts += 1;
            let steps = hand.refuse(number, RefusedKind::Status, RunnerNews::default());
            open.extend(tries(&steps).iter().map(|(number, _)| *number));
        }
        open.extend(tries(&hand.pass(Duration::from_millis(10))).iter().map(|(number, _)| *number));
    }
    // Forty learn that forty are full, then ten each second and a hundred saved up, for thirty seconds.
    assert!(attempts <= 40 + 100 + 300 + 40, "{attempts}");
    assert!(attempts >= 300, "but they are tried: {attempts}");
}

#[test]
fn a_runner_that_joins_or_comes_back_is_offered_to_who_waits() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.fill(0..1);
    for number in 1..5 {
        hand.arrive(number);
    }
    assert_eq!(tries(&hand.set(1, runner("r1", Some(2)))), [(1, 1), (2, 1)]);
    let closed = RunnerFacts { admission: Admission::Closed, ..runner("r1", Some(2)) };
    assert_eq!(hand.set(1, closed), []);
    assert_eq!(tries(&hand.end(1)), [], "it is closed");
    let probe = RunnerFacts { admission: Admission::OneProbe, ..runner("r1", Some(2)) };
    assert_eq!(tries(&hand.set(1, probe.clone())), [], "call 2 is still there");
    assert_eq!(tries(&hand.end(2)), [(3, 1)], "one call at a time");
    hand.commit(3);
    assert_eq!(tries(&hand.set(1, runner("r1", Some(2)))), [(4, 1)]);
}

#[test]
fn a_runner_that_leaves_takes_its_calls_along_and_its_successor_starts_anew() {
    let mut hand = Hand::new(&[Some(2)]);
    hand.fill(0..2);
    hand.arrive(2);
    assert_eq!(hand.leave(0), []);
    assert_eq!(tries(&hand.set(0, runner("another", Some(1)))), [(2, 0)]);
    assert_eq!(tries(&hand.arrive(3)), []);
    assert_eq!(tries(&hand.end(0)), [], "that was on the runner before");
    assert_eq!(hand.placing.view().function(FunctionNumber(0)).own(), 2);
    assert_eq!(tries(&hand.end(2)), [(3, 0)]);
}

#[test]
fn a_runner_of_weight_zero_takes_no_new_call_and_keeps_what_it_has() {
    let mut hand = Hand::new(&[Some(2)]);
    hand.fill(0..1);
    hand.set(0, RunnerFacts { weight: 0, ..runner("r0", Some(2)) });
    assert_eq!(tries(&hand.arrive(1)), []);
    assert_eq!(tries(&hand.end(0)), []);
    assert_eq!(tries(&hand.set(0, runner("r0", Some(2)))), [(1, 0)]);
}

#[test]
fn no_more_calls_are_on_a_runner_than_its_limit_allows() {
    let mut hand = Hand::new(&[]);
    hand.set(0, RunnerFacts { max_in_flight: 1, ..runner("r0", None) });
    assert_eq!(tries(&hand.arrive(1)).len(), 1);
    assert_eq!(tries(&hand.arrive(2)), []);
}

#[test]
fn a_function_has_no_more_calls_on_a_runner_than_it_may() {
    let facts = FunctionFacts { concurrency: 1, ..function("one", PlacerChoice::Naive) };
    let mut hand = Hand::with(rules(), facts, &[Some(4), Some(4)]);
    hand.register(1, function("any", PlacerChoice::Naive));
    let mut places: Vec<u32> = (1..3).flat_map(|number| tries(&hand.arrive(number))).map(|(_, runner)| runner).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1]);
    assert_eq!(hand.arrive(3), [Step::Wait { call: call(3) }]);
    assert_eq!(tries(&hand.arrive_as(4, 1, None, 0)).len(), 1, "others do not wait behind it");
    hand.commit(1);
    assert_eq!(tries(&hand.end(1)).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3]);
}

#[test]
fn functions_with_different_placers_take_turns_on_one_runner() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.register(1, function("other", PlacerChoice::LeastLoaded));
    hand.fill(0..1);
    for number in 1..5 {
        hand.arrive(number);
        hand.arrive_as(10 + number, 1, None, 0);
    }
    let (mut order, mut running) = (Vec::new(), 0);
    for _ in 0..8 {
        running = tries(&hand.end(running))[0].0;
        order.push(running);
        hand.commit(running);
    }
    assert_eq!(order, [1, 11, 2, 12, 3, 13, 4, 14]);
}

#[test]
fn a_call_of_a_function_nobody_registered_is_rejected() {
    let mut hand = Hand::new(&[Some(1)]);
    assert_eq!(given_up(&hand.arrive_as(1, 7, None, 0)), [(1, GaveUp::Rejected)]);
}

#[test]
fn an_explanation_tells_where_a_call_went_and_why() {
    let mut hand = Hand::with(rules(), function("hello", PlacerChoice::Ch), &[Some(1), Some(1)]);
    let steps = hand.arrive(1);
    let home = hand.placing.view().function(FunctionNumber(0)).homes()[0];
    assert_eq!(tries(&steps), [(1, home.0)]);
    hand.now = at(5);
    hand.refuse(1, RefusedKind::Busy, load(1, 1));
    let told = hand.placing.explanation(call(1), hand.now).unwrap();
    assert_eq!((told.placer, told.reason, told.attempts, told.refusals), ("ch", Some(Reason::Spill), 2, 1));
    let first = told.candidates[0].unwrap();
    assert_eq!((first.runner, first.slots), (place(1 - home.0), Some(1)));
}

#[test]
fn a_call_whose_runner_has_ended_it_holds_no_slot_while_its_answer_is_still_read() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(0);
    let runs_until = Some(hand.now + Duration::from_secs(2));
    hand.step(Event::Committed { call: call(0), start: StartKind::Warm, runs_until, news: load(1, 1) });
    assert_eq!(hand.arrive(1), [Step::Wait { call: call(1) }]);
    hand.now = hand.now + Duration::from_secs(1);
    assert_eq!(hand.step(Event::Timer), []);
    hand.now = hand.now + Duration::from_secs(1);
    assert_eq!(tries(&hand.step(Event::Timer)), [(1, 0)]);
    // The end of the reading frees nothing a second time.
    hand.commit(1);
    assert_eq!(hand.end(0), []);
    assert_eq!(hand.arrive(2), [Step::Wait { call: call(2) }]);
}

#[test]
fn a_call_that_was_read_in_time_leaves_no_alarm() {
    let mut hand = Hand::new(&[Some(1)]);
    hand.arrive(0);
    let runs_until = Some(hand.now + Duration::from_secs(2));
    hand.step(Event::Committed { call: call(0), start: StartKind::Warm, runs_until, news: RunnerNews::default() });
    hand.end(0);
    assert_eq!(hand.placing.next_timer(), None);
}
