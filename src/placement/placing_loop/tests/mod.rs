//! The promises of the loop: event by event ([`event_by_event`]), and in whole runs over runners that behave like real ones ([`whole_runs`]).

mod detached;
mod event_by_event;
mod rounds;
mod whole_runs;

use std::time::Duration;

use super::*;
use crate::placement::event::{Admission, RunnerFacts};
use crate::protocol::LoadReport;

/// A loop with a hand on its events.
struct Hand {
    placing: PlacingLoop,
    now: Moment,
}

fn rules() -> LoopRules {
    LoopRules {
        retry_all_delay: Duration::from_millis(10),
        waiting: WaitLimits { calls: 1_000, bytes: 1 << 20 },
        placers: PlacerSettings::default(),
    }
}

fn function(name: &str, placer: PlacerChoice) -> FunctionFacts {
    FunctionFacts {
        name: name.to_owned(),
        placer,
        weight: 1,
        flow: name.to_owned(),
        memory: 1,
        concurrency: 0,
        keeps_workers: true,
    }
}

fn runner(name: &str, slots: Option<u32>) -> RunnerFacts {
    RunnerFacts { name: name.to_owned(), weight: 100, admission: Admission::Open, max_in_flight: 0, slots }
}

fn at(millis: u64) -> Moment {
    Moment::ZERO + Duration::from_millis(millis)
}

fn call(number: u64) -> CallNumber {
    CallNumber(number)
}

fn place(number: u32) -> RunnerPlace {
    RunnerPlace(number)
}

/// What an agent says on an answer or a refusal.
fn load(in_flight: u32, slots: u32) -> RunnerNews {
    RunnerNews { load: Some(LoadReport { in_flight, slots, warm: 0 }), lost_warm: Vec::new() }
}

/// The calls that are tried, and where.
fn tries(steps: &[Step]) -> Vec<(u64, u32)> {
    let tried = |step: &Step| match step {
        Step::Try { call, runner, .. } => Some((call.0, runner.0)),
        _ => None,
    };
    steps.iter().filter_map(tried).collect()
}

fn given_up(steps: &[Step]) -> Vec<(u64, GaveUp)> {
    let given_up = |step: &Step| match step {
        Step::GiveUp { call, why, .. } => Some((call.0, *why)),
        _ => None,
    };
    steps.iter().filter_map(given_up).collect()
}

impl Hand {
    /// Function 0 on runners with so many slots each; runners without a number are plain.
    fn new(slots: &[Option<u32>]) -> Self {
        Self::with(rules(), function("hello", PlacerChoice::Naive), slots)
    }

    fn with(rules: LoopRules, facts: FunctionFacts, slots: &[Option<u32>]) -> Self {
        let mut hand = Self { placing: PlacingLoop::new(rules, 1), now: at(0) };
        hand.register(0, facts);
        for (number, slots) in (0..).zip(slots) {
            hand.set(number, runner(&format!("r{number}"), *slots));
        }
        hand.step(Event::HomesMade);
        hand
    }

    fn step(&mut self, event: Event) -> Vec<Step> {
        let mut steps = Vec::new();
        self.placing.step(&event, self.now, &mut steps);
        steps
    }

    fn register(&mut self, number: u32, facts: FunctionFacts) {
        self.step(Event::Function { function: FunctionNumber(number), facts });
    }

    fn set(&mut self, number: u32, facts: RunnerFacts) -> Vec<Step> {
        self.step(Event::RunnersChanged { changes: vec![RunnerChange::Set { runner: place(number), facts }] })
    }

    fn leave(&mut self, number: u32) -> Vec<Step> {
        self.step(Event::RunnersChanged { changes: vec![RunnerChange::Left { runner: place(number) }] })
    }

    fn arrive(&mut self, number: u64) -> Vec<Step> {
        self.arrive_as(number, 0, None, 0)
    }

    fn arrive_as(&mut self, number: u64, function: u32, deadline: Option<Moment>, bytes: u64) -> Vec<Step> {
        let give_up_at = self.now + Duration::from_secs(360);
        let function = FunctionNumber(function);
        self.step(Event::Arrived { call: call(number), function, hint: None, give_up_at, deadline, bytes })
    }

    fn refuse(&mut self, number: u64, why: RefusedKind, news: RunnerNews) -> Vec<Step> {
        self.step(Event::Refused { call: call(number), why, retry_after: None, news })
    }

    fn commit(&mut self, number: u64) -> Vec<Step> {
        self.step(Event::Committed { call: call(number), start: StartKind::Warm, runs_until: None, news: RunnerNews::default() })
    }

    fn end(&mut self, number: u64) -> Vec<Step> {
        self.step(Event::Ended { call: call(number), how: EndedHow::Ok, news: RunnerNews::default() })
    }

    /// Calls that come and are tried at once.
    fn fill(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(tries(&self.arrive(number)).len(), 1, "call {number} finds room");
            self.commit(number);
        }
    }

    /// Lets time pass, ringing whatever is due on the way.
    fn pass(&mut self, duration: Duration) -> Vec<Step> {
        let (until, mut steps) = (self.now + duration, Vec::new());
        while let Some(due) = self.placing.next_timer().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            steps.extend(self.step(Event::Timer));
        }
        self.now = until;
        steps
    }
}
