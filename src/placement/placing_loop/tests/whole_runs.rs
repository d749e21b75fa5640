//! Whole runs: runners that answer, refuse and fail as real ones do, and calls that come, wait, leave and end.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};

use proptest::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::*;

const WAY: Duration = Duration::from_micros(250);

/// What a runner says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its slots and its load.
    Agent,
    /// That it will not take the call, and nothing else.
    Plain,
}

#[derive(Clone, Debug)]
struct Runner {
    kind: Kind,
    slots: u32,
    /// Calls of other balancers.
    others: u32,
    running: BTreeSet<u64>,
    is_member: bool,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    function: u32,
    service: Duration,
    stage: At,
}

/// Where the world knows a call to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    New,
    Waiting,
    On(u32),
    GivenUp,
    Gone,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Arrives(u64),
    /// A call reaches a runner.
    Reaches(u64, u32),
    /// The refusal, or the head of the answer, comes back.
    Refused(u64, u32),
    Committed(u64, u32),
    Ends(u64, u32),
    Leaves(u64),
    RunnerSet(u32),
    RunnerLeft(u32),
    Others(u32, u32),
    Reports(u32),
    Granted(u32),
}

struct World {
    hand: Hand,
    runners: Vec<Runner>,
    calls: BTreeMap<u64, Call>,
    agenda: BTreeMap<(Moment, u64), Happens>,
    next: u64,
    attempts: usize,
    refusals: usize,
    waiting: i64,
    live: i64,
    log: Xxh3,
    /// Agents whose room was asked for.
    asked: BTreeSet<u32>,
    /// Nobody else uses the runners.
    is_honest: bool,
}

impl World {
    fn new(seed: u64, placer: PlacerChoice, functions: u32, runners: Vec<Runner>) -> Self {
        let mut hand = Hand { placing: PlacingLoop::new(rules(), seed), now: at(0) };
        for number in 0..functions {
            hand.register(number, function(&format!("f{number}"), placer));
        }
        let mut world = Self {
            hand,
            runners,
            calls: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next: 0,
            attempts: 0,
            refusals: 0,
            waiting: 0,
            live: 0,
            log: Xxh3::new(),
            asked: BTreeSet::new(),
            is_honest: true,
        };
        for number in 0..world.runners.len() as u32 {
            world.happens(Happens::RunnerSet(number));
        }
        world.tell(Event::HomesMade);
        world
    }

    fn at(&mut self, when: Moment, what: Happens) {
        self.next += 1;
        self.agenda.insert((when, self.next), what);
    }

    fn soon(&mut self, what: Happens) {
        self.at(self.hand.now + WAY, what);
    }

    fn call(&mut self, number: u64, function: u32, arrives: Moment, service: Duration) {
        self.calls.insert(number, Call { function, service, stage: At::New });
        self.at(arrives, Happens::Arrives(number));
    }

    fn run_until(&mut self, until: Moment) {
        loop {
            let timer = self.hand.placing.next_timer();
            let next = self.agenda.keys().next().copied();
            let is_timer = timer.is_some_and(|timer| next.is_none_or(|(when, _)| timer <= when));
            let when = if is_timer { timer } else { next.map(|(when, _)| when) };
            let Some(when) = when.filter(|when| *when <= until) else { break };
            self.hand.now = self.hand.now.max(when);
            if is_timer {
                self.tell(Event::Timer);
            } else if let Some((_, what)) = self.agenda.pop_first() {
                self.happens(what);
            }
            self.check();
        }
        self.hand.now = until;
    }

    fn news(&self, number: u32) -> RunnerNews {
        let runner = &self.runners[number as usize];
        match runner.kind {
            Kind::Agent => load(runner.running.len() as u32 + runner.others, runner.slots),
            Kind::Plain => RunnerNews::default(),
        }
    }

    fn happens(&mut self, what: Happens) {
        match what {
            Happens::Arrives(number) => {
                let function = self.calls[&number].function;
                let steps = self.hand.arrive_as(number, function, None, 10);
                self.perform(steps);
            }
            Happens::Reaches(number, runner) => {
                let there = &mut self.runners[runner as usize];
                if there.is_member && (there.running.len() as u32) + there.others < there.slots {
                    there.running.insert(number);
                    self.soon(Happens::Committed(number, runner));
                } else {
                    self.soon(Happens::Refused(number, runner));
                }
            }
            Happens::Refused(number, runner) => {
                if self.calls[&number].stage == At::On(runner) {
                    self.refusals += 1;
                    let why = match self.runners[runner as usize].kind {
                        _ if !self.runners[runner as usize].is_member => RefusedKind::Unreachable,
                        Kind::Agent => RefusedKind::Busy,
                        Kind::Plain => RefusedKind::Status,
                    };
                    self.stage(number, At::New);
                    let news = self.news(runner);
                    self.tell(Event::Refused { call: call(number), why, retry_after: None, news });
                }
            }
            Happens::Committed(number, runner) => {
                let service = self.calls[&number].service;
                self.at(self.hand.now + service, Happens::Ends(number, runner));
                if self.calls[&number].stage == At::On(runner) {
                    let news = self.news(runner);
                    self.tell(Event::Committed { call: call(number), start: StartKind::Warm, runs_until: None, news });
                }
            }
            Happens::Ends(number, runner) => {
                self.runners[runner as usize].running.remove(&number);
                if self.calls[&number].stage == At::On(runner) {
                    self.stage(number, At::Over);
                    let news = self.news(runner);
                    self.tell(Event::Ended { call: call(number), how: EndedHow::Ok, news });
                }
                self.grant(runner);
            }
            Happens::Leaves(number) => {
                if !matches!(self.calls[&number].stage, At::GivenUp | At::Over) {
                    self.stage(number, At::Gone);
                    self.tell(Event::ClientGone { call: call(number) });
                }
            }
            Happens::RunnerSet(number) => {
                let known = &mut self.runners[number as usize];
                known.is_member = true;
                let slots = (known.kind == Kind::Agent).then_some(known.slots);
                let steps = self.hand.set(number, runner(&format!("r{number}"), slots));
                self.perform(steps);
            }
            Happens::RunnerLeft(number) => {
                self.runners[number as usize].is_member = false;
                self.asked.remove(&number);
                let steps = self.hand.leave(number);
                self.perform(steps);
            }
            Happens::Others(number, others) => {
                self.is_honest = false;
                let room = self.runners[number as usize].slots
                    - (self.runners[number as usize].running.len() as u32).min(self.runners[number as usize].slots);
                self.runners[number as usize].others = others.min(room);
                self.grant(number);
            }
            Happens::Reports(number) => {
                let known = &self.runners[number as usize];
                if known.kind == Kind::Agent && known.is_member {
                    let in_flight = known.running.len() as u32 + known.others;
                    let slots = known.slots;
                    self.tell(Event::Reported { runner: place(number), in_flight, slots, warm: Vec::new() });
                }
            }
            Happens::Granted(number) => {
                if self.asked.remove(&number) {
                    self.tell(Event::Room { runner: place(number) });
                }
            }
        }
    }

    fn grant(&mut self, number: u32) {
        let known = &self.runners[number as usize];
        if self.asked.contains(&number) && (known.running.len() as u32) + known.others < known.slots {
            self.soon(Happens::Granted(number));
        }
    }

    fn tell(&mut self, event: Event) {
        let steps = self.hand.step(event);
        self.perform(steps);
    }

    fn stage(&mut self, number: u64, stage: At) {
        let former = std::mem::replace(&mut self.calls.get_mut(&number).unwrap().stage, stage);
        for (stage, change) in [(former, -1), (stage, 1)] {
            self.waiting += if stage == At::Waiting { change } else { 0 };
            self.live += if matches!(stage, At::Waiting | At::On(_)) { change } else { 0 };
        }
    }

    fn perform(&mut self, steps: Vec<Step>) {
        for step in steps {
            serde_json::to_string(&step).unwrap().hash(&mut self.log);
            match step {
                Step::Try { call, runner, .. } => {
                    self.attempts += 1;
                    assert!(matches!(self.calls[&call.0].stage, At::New | At::Waiting), "{call:?} is nowhere else");
                    self.stage(call.0, At::On(runner.0));
                    self.soon(Happens::Reaches(call.0, runner.0));
                }
                Step::Wait { call } => {
                    assert_eq!(self.calls[&call.0].stage, At::New, "{call:?} was being placed");
                    self.stage(call.0, At::Waiting);
                }
                Step::GiveUp { call, .. } => {
                    assert!(matches!(self.calls[&call.0].stage, At::New | At::Waiting), "{call:?} is given up once");
                    self.stage(call.0, At::GivenUp);
                }
                Step::AskRoom { runner } => {
                    assert!(self.asked.insert(runner.0), "one question at a time");
                    self.grant(runner.0);
                }
                Step::Probe { .. } => {}
            }
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        assert_eq!(self.hand.placing.queue().len() as i64, self.waiting);
        assert_eq!(self.hand.placing.calls.len() as i64, self.live, "nobody is forgotten or kept");
        for (number, runner) in (0..).zip(&self.runners) {
            if let Some(known) =
                self.hand.placing.view().runner(place(number)).filter(|_| runner.kind == Kind::Agent && self.is_honest)
            {
                assert!(known.own() <= runner.slots, "no more calls than slots");
            }
        }
    }

    fn stages(&self, stage: At) -> usize {
        self.calls.values().filter(|call| call.stage == stage).count()
    }
}

fn runners(kind: Kind, count: usize, slots: u32) -> Vec<Runner> {
    vec![Runner { kind, slots, others: 0, running: BTreeSet::new(), is_member: true }; count]
}

#[test]
fn fifty_calls_that_wait_for_two_full_runners_make_few_attempts() {
    for kind in [Kind::Plain, Kind::Agent] {
        let mut world = World::new(1, PlacerChoice::Naive, 1, runners(kind, 2, 1));
        for number in 0..52 {
            world.call(number, 0, at(0), Duration::from_secs(60));
        }
        world.run_until(at(2_200));
        assert!(world.refusals < 200, "{kind:?}: {} refusals", world.refusals);
        assert_eq!(world.stages(At::Waiting) + world.calls.values().filter(|call| matches!(call.stage, At::On(_))).count(), 52);
    }
}

#[test]
fn attempts_for_each_placed_call_stay_near_one_at_ninety_per_cent() {
    for placer in PlacerChoice::ALL {
        let mut world = World::new(3, placer, 5, runners(Kind::Agent, 4, 4));
        let mut random = SmallRng::seed_from_u64(9);
        let mut arrives = 0.0;
        for number in 0..4_000 {
            // 16 slots of 10 ms each: 1.6 calls each millisecond are all there is.
            arrives += -(1.0 - random.next_u32() as f64 / f64::from(u32::MAX)).max(1e-9).ln() / 1.44;
            world.call(
                number,
                (number % 5) as u32,
                at(0) + Duration::from_secs_f64(arrives / 1_000.0),
                Duration::from_micros(9_500),
            );
        }
        world.run_until(at(20_000));
        assert_eq!(world.stages(At::Over), 4_000, "{placer:?}");
        let each = world.attempts as f64 / 4_000.0;
        assert!(each <= 1.05, "{placer:?}: {each}");
    }
}

#[test]
fn plain_runners_are_used_to_the_full_and_hardly_probed_at_ninety_per_cent() {
    let mut world = World::new(3, PlacerChoice::Naive, 1, runners(Kind::Plain, 4, 4));
    for number in 0..20_000 {
        // 10 ms each on 16 slots.
        let arrives = at(0) + Duration::from_micros(number * 694);
        world.call(number, 0, arrives, Duration::from_micros(9_500));
    }
    world.run_until(at(60_000));
    assert_eq!(world.stages(At::Over), 20_000);
    let each = world.attempts as f64 / 20_000.0;
    assert!(each <= 1.05, "{each}");
}

#[test]
fn capacity_that_others_give_back_is_found() {
    for kind in [Kind::Plain, Kind::Agent] {
        let mut world = World::new(1, PlacerChoice::LeastLoaded, 1, runners(kind, 3, 2));
        for runner in 0..3 {
            world.happens(Happens::Others(runner, 2));
        }
        for number in 0..6 {
            world.call(number, 0, at(1), Duration::from_secs(60));
        }
        world.run_until(at(500));
        for runner in 0..3 {
            world.happens(Happens::Others(runner, 0));
        }
        world.run_until(at(5_000));
        assert_eq!(world.stages(At::Waiting), 0, "{kind:?}");
    }
}

/// A random course of events.
#[derive(Clone, Debug)]
struct Course {
    seed: u64,
    placer: PlacerChoice,
    runners: Vec<(Kind, u32)>,
    calls: Vec<(u64, u32, u64)>,
    leaves: Vec<(u64, usize)>,
    changes: Vec<(u64, Happens)>,
}

fn courses(with_others: bool) -> impl Strategy<Value = Course> {
    let kind = prop_oneof![2 => Just(Kind::Agent), 1 => Just(Kind::Plain)];
    let change = move |runners: u32| {
        let others = if with_others { 2 } else { 0 };
        prop_oneof![
            1 => (0..runners).prop_map(Happens::RunnerLeft),
            2 => (0..runners).prop_map(Happens::RunnerSet),
            2 => (0..runners).prop_map(Happens::Reports),
            others => (0..runners, 0..4_u32).prop_map(|(runner, others)| Happens::Others(runner, others)),
        ]
    };
    (
        any::<u64>(),
        proptest::sample::select(PlacerChoice::ALL.to_vec()),
        proptest::collection::vec((kind, 1..4_u32), 1..5),
        proptest::collection::vec((0..200_u64, 0..3_u32, 1..40_u64), 0..80),
        proptest::collection::vec((0..250_u64, 0..80_usize), 0..20),
    )
        .prop_flat_map(move |(seed, placer, runners, calls, leaves)| {
            let changes = proptest::collection::vec((0..300_u64, change(runners.len() as u32)), 0..20);
            changes.prop_map(move |changes| Course {
                seed,
                placer,
                runners: runners.clone(),
                calls: calls.clone(),
                leaves: leaves.clone(),
                changes,
            })
        })
}

fn run(course: &Course) -> World {
    let made = |(kind, slots): &(Kind, u32)| runners(*kind, 1, *slots).remove(0);
    let mut world = World::new(course.seed, course.placer, 3, course.runners.iter().map(made).collect());
    for (number, (arrives, function, service)) in (0..).zip(&course.calls) {
        world.call(number, *function, at(*arrives), Duration::from_millis(*service));
    }
    for (when, which) in &course.leaves {
        if let Some((arrives, ..)) = course.calls.get(*which) {
            world.at(at((*when).max(*arrives)) + Duration::from_micros(100), Happens::Leaves(*which as u64));
        }
    }
    for (when, what) in &course.changes {
        world.at(at(*when), *what);
    }
    // At last everybody is there, alone and well.
    for number in 0..course.runners.len() as u32 {
        world.at(at(400), Happens::RunnerSet(number));
        world.at(at(400), Happens::Others(number, 0));
    }
    world.run_until(at(120_000));
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_call_ends_once_and_none_is_in_two_places(course in courses(true)) {
        let world = run(&course);
        for (number, call) in &world.calls {
            prop_assert!(matches!(call.stage, At::Over | At::Gone), "call {} is {:?}, after two minutes of room", number, call.stage);
        }
        prop_assert!(world.hand.placing.calls.is_empty());
        prop_assert!(world.hand.placing.queue().is_empty());
    }

    #[test]
    fn honest_runners_never_get_more_calls_than_they_have_slots(course in courses(false)) {
        let world = run(&course);
        prop_assert!(world.hand.placing.calls.is_empty());
    }

    #[test]
    fn the_same_seed_makes_the_same_steps(course in courses(true)) {
        prop_assert_eq!(run(&course).log.finish(), run(&course).log.finish());
    }
}
