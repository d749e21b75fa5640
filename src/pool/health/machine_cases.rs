//! The table of the machine's page, state by state.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::pool::{Admission, ClosedWhy, Evidence, RunnerPlace};

/// A pool under test, and the time there.
struct Bench {
    health: Health,
    now: Duration,
    /// What the pool was told last of each runner.
    told: std::collections::BTreeMap<u32, (Admission, u32)>,
    taken: u64,
}

impl Bench {
    fn new(runners: u32, rules: HealthConfig, is_checked: Checked) -> Self {
        let mut bench = Self { health: Health::new(rules), now: Duration::ZERO, told: Default::default(), taken: 0 };
        for place in (0..runners).map(RunnerPlace) {
            bench.step(HealthEvent::Joined { place, is_checked, start: Start::Whole });
            bench.told.entry(place.0).or_insert((Admission::Open, 100));
        }
        bench
    }

    fn checked(runners: u32) -> Self {
        Self::new(runners, HealthConfig::default(), Checked::Regularly)
    }

    fn step(&mut self, event: HealthEvent) {
        let mut verdicts = Vec::new();
        self.health.step(event, self.now, &mut verdicts);
        for verdict in verdicts {
            self.told.insert(verdict.place.0, (verdict.admission, verdict.weight_percent));
        }
    }

    fn note(&mut self, place: u32, evidence: Evidence) -> Admission {
        self.taken += u64::from(evidence == Evidence::Took);
        self.step(HealthEvent::Noted { place: RunnerPlace(place), evidence, taken: self.taken });
        self.admission(place)
    }

    fn ask(&mut self, place: u32, answer: CheckAnswer) -> Admission {
        self.step(HealthEvent::Asked { place: RunnerPlace(place), answer });
        self.admission(place)
    }

    fn later(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self.step(HealthEvent::Tick);
        self
    }

    fn admission(&self, place: u32) -> Admission {
        self.told[&place].0
    }

    fn fail(&mut self, place: u32, times: u32) -> Admission {
        for _ in 0..times {
            self.note(place, Evidence::Failed);
        }
        self.admission(place)
    }
}

const FAILURES: Admission = Admission::Closed(ClosedWhy::Failures);
const UNREACHABLE: Admission = Admission::Closed(ClosedWhy::Unreachable);
const UNHEALTHY: Admission = Admission::Closed(ClosedWhy::Unhealthy);
const DRAINING: Admission = Admission::Closed(ClosedWhy::Draining);

#[test]
fn calls_that_fail_one_after_the_other_eject_and_a_success_between_does_not() {
    let mut bench = Bench::checked(4);
    assert_eq!(bench.fail(0, 4), Admission::Open);
    bench.note(0, Evidence::Took);
    assert_eq!(bench.fail(0, 4), Admission::Open);
    assert_eq!(bench.fail(0, 1), FAILURES);
}

#[test]
fn a_low_share_of_successes_ejects_though_none_come_in_a_row() {
    let mut bench = Bench::checked(4);
    for _ in 0..9 {
        bench.note(0, Evidence::Took);
        bench.fail(0, 1);
    }
    assert_eq!(bench.fail(0, 1), Admission::Open, "nineteen calls say nothing");
    assert_eq!(bench.fail(0, 1), Admission::Closed(ClosedWhy::SuccessRate));

    bench.note(1, Evidence::Took);
    for _ in 0..30 {
        bench.fail(1, 1);
        bench.note(1, Evidence::Took);
        bench.later(2);
    }
    assert_eq!(bench.admission(1), Admission::Open, "what is longer ago than the window does not count");
}

#[test]
fn one_refused_connection_ejects_and_one_good_answer_brings_one_call() {
    let mut bench = Bench::checked(2);
    assert_eq!(bench.note(0, Evidence::Unreachable), UNREACHABLE);
    assert!(bench.health.may_return(RunnerPlace(0)));
    assert_eq!(bench.ask(0, CheckAnswer::Unreachable), UNREACHABLE);
    assert_eq!(bench.ask(0, CheckAnswer::Well), Admission::OneProbe, "the time of the ejection does not matter");
    assert_eq!(bench.note(0, Evidence::Refused), Admission::OneProbe);
    assert_eq!(bench.note(0, Evidence::Took), Admission::Open);
    assert!(!bench.health.may_return(RunnerPlace(0)));
}

#[test]
fn a_runner_that_is_silent_is_ejected_at_the_second_question_and_not_at_the_first() {
    let mut bench = Bench::checked(2);
    assert_eq!(bench.ask(0, CheckAnswer::Unwell), Admission::Open);
    assert!(bench.health.may_return(RunnerPlace(0)), "it is asked again soon");
    assert_eq!(bench.ask(0, CheckAnswer::Well), Admission::Open);
    bench.ask(0, CheckAnswer::Unwell);
    assert_eq!(bench.ask(0, CheckAnswer::Unwell), UNHEALTHY);
    assert_eq!(bench.ask(0, CheckAnswer::Well), Admission::OneProbe);
    assert_eq!(bench.ask(0, CheckAnswer::Unwell), UNHEALTHY, "while it is probed, one is enough");
}

#[test]
fn an_ejection_for_failures_lasts_its_time_and_longer_each_time() {
    let mut bench = Bench::checked(4);
    bench.fail(0, 5);
    assert_eq!(bench.ask(0, CheckAnswer::Well), FAILURES, "questions are answered well, calls are not");
    bench.later(4);
    assert_eq!(bench.admission(0), FAILURES);
    bench.later(1);
    assert_eq!(bench.admission(0), Admission::OneProbe);
    assert_eq!(bench.fail(0, 1), FAILURES, "the one call failed");
    bench.later(9);
    assert_eq!(bench.admission(0), FAILURES);
    bench.later(1);
    assert_eq!(bench.note(0, Evidence::Took), Admission::Open);
    // Long after, it is as good as new.
    bench.later(600);
    bench.fail(0, 5);
    bench.later(5);
    assert_eq!(bench.admission(0), Admission::OneProbe);
}

#[test]
fn who_does_not_answer_is_not_let_in_when_its_time_is_over() {
    let mut bench = Bench::checked(4);
    bench.fail(0, 5);
    bench.ask(0, CheckAnswer::Unwell);
    bench.later(100);
    assert_eq!(bench.admission(0), FAILURES);
    assert_eq!(bench.ask(0, CheckAnswer::Well), Admission::OneProbe);
}

#[test]
fn without_questions_time_alone_lets_in() {
    let mut bench = Bench::new(2, HealthConfig::default(), Checked::Never);
    assert_eq!(bench.note(0, Evidence::Unreachable), UNREACHABLE);
    bench.later(5);
    assert_eq!(bench.admission(0), Admission::OneProbe);
    assert_eq!(bench.note(0, Evidence::Unreachable), UNREACHABLE);
}

#[test]
fn a_runner_on_which_nothing_starts_is_ejected_and_a_function_that_starts_nowhere_ejects_no_second_one() {
    let mut bench = Bench::checked(6);
    for _ in 0..4 {
        assert_eq!(bench.note(0, Evidence::NotStarted), Admission::Open);
    }
    assert_eq!(bench.note(0, Evidence::NotStarted), FAILURES);
    for _ in 0..20 {
        assert_eq!(bench.note(1, Evidence::NotStarted), Admission::Open, "it is the function: it fails to start elsewhere, too");
    }
    bench.later(5);
    assert_eq!(bench.note(0, Evidence::NotStarted), Admission::OneProbe);
    bench.note(0, Evidence::Took);
    bench.later(11);
    for _ in 0..9 {
        bench.note(2, Evidence::NotStarted);
        bench.note(2, Evidence::Took);
    }
    assert_eq!(bench.admission(2), Admission::Open, "others start there");
}

#[test]
fn no_more_than_a_share_is_ejected_and_never_the_last() {
    let mut bench = Bench::checked(5);
    for place in 0..5 {
        bench.note(place, Evidence::Unreachable);
    }
    assert_eq!(bench.health.ejected(), 2);
    assert_eq!((bench.admission(1), bench.admission(2)), (UNREACHABLE, Admission::Open));
    // One is back: there is room for another.
    bench.ask(0, CheckAnswer::Well);
    assert_eq!(bench.note(2, Evidence::Unreachable), Admission::Open, "who is probed is not back yet");
    bench.note(0, Evidence::Took);
    assert_eq!(bench.note(2, Evidence::Unreachable), UNREACHABLE);

    let rules = HealthConfig { max_ejected_share: 1.0, ..HealthConfig::default() };
    let mut bench = Bench::new(2, rules, Checked::Regularly);
    bench.note(0, Evidence::Unreachable);
    assert_eq!(bench.note(1, Evidence::Unreachable), Admission::Open);
    bench.step(HealthEvent::Left(RunnerPlace(0)));
    assert_eq!((bench.note(1, Evidence::Unreachable), bench.health.ejected()), (Admission::Open, 0));
}

#[test]
fn a_runner_that_drains_gets_nothing_and_is_not_among_the_ejected() {
    let mut bench = Bench::checked(2);
    assert_eq!(bench.ask(0, CheckAnswer::Draining), DRAINING);
    assert_eq!(bench.ask(1, CheckAnswer::Draining), DRAINING, "even the last: it would refuse");
    assert_eq!(bench.health.ejected(), 0);
    assert_eq!(bench.note(0, Evidence::Failed), DRAINING, "calls that were under way");
    assert_eq!(bench.ask(0, CheckAnswer::Unreachable), DRAINING);
    assert_eq!(bench.ask(0, CheckAnswer::Unreachable), UNREACHABLE);
    assert_eq!(bench.ask(1, CheckAnswer::Well), Admission::Open, "somebody new has its address");
}

#[test]
fn the_weight_of_who_comes_back_or_late_grows() {
    let rules = HealthConfig { slow_start: Duration::from_secs(10), ..HealthConfig::default() };
    let mut bench = Bench::new(2, rules, Checked::Regularly);
    assert_eq!(bench.told[&0], (Admission::Open, 100), "it was there from the beginning");
    bench.note(0, Evidence::Unreachable);
    bench.ask(0, CheckAnswer::Well);
    bench.note(0, Evidence::Took);
    assert_eq!(bench.told[&0], (Admission::Open, 10));
    bench.later(4);
    assert_eq!(bench.told[&0], (Admission::Open, 40));
    bench.later(6);
    assert_eq!(bench.told[&0], (Admission::Open, 100));
    assert!(!bench.health.is_restless());
    bench.step(HealthEvent::Joined { place: RunnerPlace(7), is_checked: Checked::Regularly, start: Start::Slow });
    assert_eq!(bench.told[&7], (Admission::Open, 10));
}

#[test]
fn who_left_takes_its_ejection_along() {
    let mut bench = Bench::checked(2);
    bench.note(0, Evidence::Unreachable);
    bench.step(HealthEvent::Left(RunnerPlace(0)));
    assert_eq!(bench.health.ejected(), 0);
    bench.step(HealthEvent::Joined { place: RunnerPlace(0), is_checked: Checked::Regularly, start: Start::Whole });
    bench.step(HealthEvent::Noted { place: RunnerPlace(9), evidence: Evidence::Failed, taken: 0 });
    assert_eq!(bench.note(1, Evidence::Unreachable), UNREACHABLE);
}

proptest! {
    /// Whatever happens, the bound holds, and the count is what the pool was told.
    #[test]
    fn the_bound_on_ejections_holds(runners in 1..12_u32, events in proptest::collection::vec((0..12_u32, 0..9_u8), 0..400)) {
        let mut bench = Bench::checked(runners);
        for (place, kind) in events {
            let place = place % runners;
            match kind {
                0 => { bench.note(place, Evidence::Took); }
                1 => { bench.note(place, Evidence::Failed); }
                2 => { bench.note(place, if place % 2 == 0 { Evidence::Unreachable } else { Evidence::NotStarted }); }
                3 => { bench.ask(place, CheckAnswer::Well); }
                4 => { bench.ask(place, CheckAnswer::Unwell); }
                5 => { bench.ask(place, CheckAnswer::Unreachable); }
                6 => { bench.ask(place, CheckAnswer::Draining); }
                _ => { bench.later(3); }
            }
            let out = bench.told.values().filter(|(admission, _)| {
                matches!(HealthState::from(*admission), HealthState::Ejected | HealthState::Probing)
            });
            prop_assert_eq!(out.count(), bench.health.ejected());
            let ejected = bench.told.values().filter(|(admission, _)| HealthState::from(*admission) == HealthState::Ejected).count();
            prop_assert!(ejected <= (runners / 2) as usize, "{:?}", bench.told);
        }
    }
}
