//! What each strategy chooses, seen through the loop that asks it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::placement::event::{
    Admission, CallNumber, EndedHow, Event, FunctionFacts, FunctionNumber, RefusedKind, RunnerChange, RunnerFacts, RunnerNews,
    StartKind, Step,
};
use crate::placement::{LoopRules, Moment, PlacerChoice, PlacerSettings, PlacingLoop, WaitLimits};
use crate::pool::RunnerPlace;

use super::prequal::PrequalConfig;
use super::ring_bounded::RingBoundedConfig;
use super::two_choices::TwoChoicesConfig;

struct Pool {
    placing: PlacingLoop,
    now: Moment,
    next: u64,
    probes: Vec<RunnerPlace>,
}

impl Pool {
    fn new(placer: PlacerChoice, settings: PlacerSettings, slots: &[u32]) -> Self {
        let rules = LoopRules {
            retry_all_delay: Duration::from_millis(10),
            waiting: WaitLimits { calls: 100, bytes: 1 << 20 },
            placers: settings,
        };
        let mut pool = Self { placing: PlacingLoop::new(rules, 7), now: Moment::ZERO, next: 0, probes: Vec::new() };
        let name = "hello".to_owned();
        let facts = FunctionFacts { flow: name.clone(), name, placer, weight: 1, memory: 1, concurrency: 0, keeps_workers: true };
        pool.tell(Event::Function { function: FunctionNumber(0), facts });
        for (number, slots) in (0..).zip(slots) {
            let facts = RunnerFacts {
                name: format!("r{number}"),
                weight: 100,
                admission: Admission::Open,
                max_in_flight: 0,
                slots: Some(*slots),
            };
            pool.tell(Event::RunnersChanged { changes: vec![RunnerChange::Set { runner: RunnerPlace(number), facts }] });
        }
        pool.tell(Event::HomesMade);
        pool
    }

    fn tell(&mut self, event: Event) -> Option<RunnerPlace> {
        let mut steps = Vec::new();
        self.placing.step(&event, self.now, &mut steps);
        let mut tried = None;
        for step in steps {
            match step {
                Step::Try { runner, .. } => tried = Some(runner),
                Step::Probe { runner } => self.probes.push(runner),
                _ => {}
            }
        }
        tried
    }

    fn arrive(&mut self) -> (CallNumber, Option<RunnerPlace>) {
        self.next += 1;
        let call = CallNumber(self.next);
        let give_up_at = self.now + Duration::from_secs(360);
        let function = FunctionNumber(0);
        (call, self.tell(Event::Arrived { call, function, hint: None, give_up_at, deadline: None, bytes: 0 }))
    }

    fn commit(&mut self, call: CallNumber) {
        self.tell(Event::Committed { call, start: StartKind::Unknown, runs_until: None, news: RunnerNews::default() });
    }

    fn end(&mut self, call: CallNumber, how: EndedHow) {
        self.tell(Event::Ended { call, how, news: RunnerNews::default() });
    }

    /// A call that takes as long as its runner says, one after another; how many went to each.
    fn one_by_one(&mut self, calls: usize, takes: impl Fn(RunnerPlace) -> (Duration, EndedHow)) -> BTreeMap<u32, usize> {
        let mut share = BTreeMap::new();
        for _ in 0..calls {
            let (call, runner) = self.arrive();
            let runner = runner.unwrap();
            *share.entry(runner.0).or_default() += 1;
            self.commit(call);
            let (takes, how) = takes(runner);
            self.now = self.now + takes;
            self.end(call, how);
        }
        share
    }

    fn homes(&self) -> Vec<RunnerPlace> {
        self.placing.view().function(FunctionNumber(0)).homes().to_vec()
    }

    fn answer_probes(&mut self, answer: impl Fn(RunnerPlace) -> (u32, Duration)) {
        for runner in std::mem::take(&mut self.probes) {
            let (in_flight, latency) = answer(runner);
            self.tell(Event::Probed { runner, in_flight, latency });
        }
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn ring_bounded_fills_its_homes_to_the_bound_in_order_and_then_to_the_brim() {
    let mut pool = Pool::new(PlacerChoice::RingBounded, PlacerSettings::default(), &[4; 8]);
    let order: Vec<RunnerPlace> = (0..32).map(|_| pool.arrive().1.unwrap()).collect();
    let homes = pool.homes();
    let expected: Vec<RunnerPlace> = homes.iter().flat_map(|home| [*home; 3]).chain(homes.iter().copied()).collect();
    assert_eq!(order, expected);
    assert_eq!(pool.arrive().1, None);
}

#[test]
fn ring_bounded_goes_beyond_its_homes_when_they_are_full() {
    let mut pool = Pool::new(PlacerChoice::RingBounded, PlacerSettings::default(), &[1; 20]);
    let mut places: Vec<u32> = (0..20).map(|_| pool.arrive().1.unwrap().0).collect();
    places.sort_unstable();
    assert_eq!(places, (0..20).collect::<Vec<_>>());
}

#[test]
fn p2c_keeps_its_runners_nearly_equally_full() {
    let mut pool = Pool::new(PlacerChoice::P2c, PlacerSettings::default(), &[100, 100, 100]);
    for _ in 0..90 {
        assert!(pool.arrive().1.is_some());
    }
    let loads: Vec<u32> = pool.placing.view().runners().map(|(_, runner)| runner.in_flight()).collect();
    assert!(loads.iter().all(|load| (28..=32).contains(load)), "{loads:?}");
}

#[test]
fn p2c_ewma_prefers_the_faster_and_does_not_starve_the_new() {
    let mut pool = Pool::new(PlacerChoice::P2cEwma, PlacerSettings::default(), &[8; 4]);
    let share = pool.one_by_one(400, |runner| (millis(if runner.0 == 0 { 100 } else { 2 }), EndedHow::Ok));
    assert!(share[&0] < 20, "{share:?}");
    let facts = RunnerFacts { name: "new".to_owned(), weight: 100, admission: Admission::Open, max_in_flight: 0, slots: Some(8) };
    pool.tell(Event::RunnersChanged { changes: vec![RunnerChange::Set { runner: RunnerPlace(4), facts }] });
    let share = pool.one_by_one(400, |runner| (millis(if runner.0 == 0 { 100 } else { 2 }), EndedHow::Ok));
    assert!(share[&4] > 40, "a new runner gets its part: {share:?}");
}

#[test]
fn p2c_ewma_tries_a_runner_again_that_was_once_slow() {
    let mut pool = Pool::new(PlacerChoice::P2cEwma, PlacerSettings::default(), &[8; 3]);
    pool.one_by_one(60, |runner| (millis(if runner.0 == 0 { 1_000 } else { 10 }), EndedHow::Ok));
    pool.now = pool.now + Duration::from_secs(60);
    let share = pool.one_by_one(60, |_| (millis(10), EndedHow::Ok));
    assert!(share.contains_key(&0), "{share:?}");
}

#[test]
fn p2c_ewma_is_not_drawn_to_a_runner_that_fails_fast() {
    let mut pool = Pool::new(PlacerChoice::P2cEwma, PlacerSettings::default(), &[8; 4]);
    let fails = |runner: RunnerPlace| {
        if runner.0 == 0 { (Duration::from_micros(100), EndedHow::Failed) } else { (millis(20), EndedHow::Ok) }
    };
    let share = pool.one_by_one(1_000, fails);
    assert!(share[&0] < 30, "{share:?}");
}

#[test]
fn p2c_ewma_remembers_no_more_pairs_than_it_may() {
    let settings =
        PlacerSettings { p2c: TwoChoicesConfig { pairs: 4, ..TwoChoicesConfig::default() }, ..PlacerSettings::default() };
    let mut pool = Pool::new(PlacerChoice::P2cEwma, settings, &[8; 40]);
    assert_eq!(pool.one_by_one(400, |_| (millis(1), EndedHow::Ok)).values().sum::<usize>(), 400);
}

#[test]
fn prequal_sends_three_probes_a_call_to_different_runners() {
    let mut pool = Pool::new(PlacerChoice::Prequal, PlacerSettings::default(), &[8; 10]);
    pool.arrive();
    pool.probes.sort_unstable();
    pool.probes.dedup();
    assert_eq!(pool.probes.len(), 3);
}

#[test]
fn prequal_takes_the_quickest_of_the_cold_and_among_the_hot_the_least_loaded() {
    let settings =
        PlacerSettings { prequal: PrequalConfig { remove: 0.0, ..PrequalConfig::default() }, ..PlacerSettings::default() };
    let mut pool = Pool::new(PlacerChoice::Prequal, settings, &[100; 4]);
    let probed = |pool: &mut Pool, answers: [(u32, u64); 4]| {
        for (number, (in_flight, latency)) in (0..).zip(answers) {
            pool.tell(Event::Probed { runner: RunnerPlace(number), in_flight, latency: millis(latency) });
        }
        pool.arrive().1.unwrap().0
    };
    for _ in 0..30 {
        probed(&mut pool, [(2, 1), (2, 1), (2, 1), (2, 1)]);
    }
    // Runner 0 is the quickest, but has more in flight than the quantile of all that was heard.
    assert_eq!(probed(&mut pool, [(50, 1), (2, 30), (2, 20), (2, 40)]), 2);
    // All are hot against what was heard before.
    for _ in 0..30 {
        probed(&mut pool, [(1, 1), (1, 1), (1, 1), (1, 1)]);
    }
    assert_eq!(probed(&mut pool, [(60, 1), (40, 30), (50, 20), (70, 40)]), 1);
}

#[test]
fn prequal_draws_while_it_knows_of_fewer_than_two_and_forgets_what_is_old() {
    let mut pool = Pool::new(PlacerChoice::Prequal, PlacerSettings::default(), &[100; 4]);
    pool.tell(Event::Probed { runner: RunnerPlace(0), in_flight: 0, latency: millis(1) });
    let drawn: std::collections::BTreeSet<u32> = (0..40).map(|_| pool.arrive().1.unwrap().0).collect();
    assert_eq!(drawn.len(), 4, "one answer is no choice");
    for number in 0..4 {
        pool.tell(Event::Probed { runner: RunnerPlace(number), in_flight: 0, latency: millis(1 + u64::from(number)) });
    }
    pool.now = pool.now + Duration::from_secs(2);
    let drawn: std::collections::BTreeSet<u32> = (0..40).map(|_| pool.arrive().1.unwrap().0).collect();
    assert_eq!(drawn.len(), 4, "answers of two seconds ago are none");
}

#[test]
fn prequal_passes_a_runner_over_that_fails_fast_and_comes_back_to_it() {
    let mut pool = Pool::new(PlacerChoice::Prequal, PlacerSettings::default(), &[8; 10]);
    let mut run = |fails: bool| {
        let mut went = 0;
        for _ in 0..1_000 {
            let (call, runner) = pool.arrive();
            let is_bad = runner == Some(RunnerPlace(0));
            went += usize::from(is_bad);
            pool.commit(call);
            pool.answer_probes(|runner| (0, millis(if runner.0 == 0 { 1 } else { 20 })));
            pool.now = pool.now + millis(20);
            pool.end(call, if is_bad && fails { EndedHow::Failed } else { EndedHow::Ok });
        }
        went
    };
    let failing = run(true);
    assert!(failing < 100, "{failing} of 1,000 went where calls fail fast");
    let healed = run(false);
    assert!(healed > 200, "{healed} of 1,000 went to the quickest once it was well");
}

#[test]
fn an_unreachable_runner_gets_no_calls_from_any_strategy_while_it_pauses() {
    for placer in PlacerChoice::ALL {
        let mut pool = Pool::new(placer, PlacerSettings::default(), &[8; 4]);
        let (call, first) = pool.arrive();
        let refused = Event::Refused { call, why: RefusedKind::Unreachable, retry_after: None, news: RunnerNews::default() };
        let again = pool.tell(refused);
        assert_ne!(again, first, "{placer:?}");
        for _ in 0..8 {
            assert_ne!(pool.arrive().1, first, "{placer:?}");
        }
    }
}

#[test]
fn wrong_settings_are_named() {
    let keys = |invalid: Vec<crate::model::InvalidValue>| invalid.into_iter().map(|value| value.key).collect::<Vec<_>>();
    assert_eq!(keys(RingBoundedConfig::default().validate()), [""; 0]);
    assert_eq!(keys(RingBoundedConfig { bound: 0.0 }.validate()), ["bound"]);
    assert_eq!(keys(RingBoundedConfig { bound: f64::NAN }.validate()), ["bound"]);
    assert_eq!(keys(TwoChoicesConfig::default().validate()), [""; 0]);
    let wrong = TwoChoicesConfig { decay: Duration::ZERO, pairs: 0, ..TwoChoicesConfig::default() };
    assert_eq!(keys(wrong.validate()), ["decay", "pairs"]);
    assert_eq!(keys(PrequalConfig::default().validate()), [""; 0]);
    let wrong = PrequalConfig { probes: -1.0, pool: 1, age: Duration::ZERO, remove: f64::NAN, delta: -1.0, hot_quantile: 2.0 };
    assert_eq!(keys(wrong.validate()), ["probes", "pool", "age", "remove", "delta", "hot_quantile"]);
}
