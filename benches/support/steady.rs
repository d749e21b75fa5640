//! A placing loop in the middle of its work: every runner has half of its slots taken, and for every call that comes one ends.

use std::collections::VecDeque;
use std::time::Duration;

use runpool::placement::{
    Admission, CallNumber, EndedHow, Event, FunctionFacts, FunctionNumber, LoopRules, Moment, PlacerChoice, PlacerSettings,
    PlacingLoop, RunnerChange, RunnerFacts, RunnerNews, StartKind, Step, WaitLimits,
};
use runpool::pool::RunnerPlace;
use runpool::protocol::LoadReport;

const SLOTS: u32 = 8;
const FUNCTIONS: u32 = 50;

/// A loop under a steady load.
#[derive(Debug)]
pub(crate) struct Steady {
    placing: PlacingLoop,
    now: Moment,
    next: u64,
    /// Calls that run, oldest first.
    running: VecDeque<(CallNumber, RunnerPlace)>,
    /// Calls on each runner.
    there: Vec<u32>,
    /// How many calls run in the mean.
    usual: usize,
    steps: Vec<Step>,
    probed: Vec<RunnerPlace>,
    /// Calls that had to wait.
    pub(crate) waited: u64,
}

impl Steady {
    /// So many runners, and as many calls as fill half of their slots.
    pub(crate) fn new(placer: PlacerChoice, runners: u32) -> Self {
        let rules = LoopRules {
            retry_all_delay: Duration::from_millis(10),
            waiting: WaitLimits { calls: 10_000, bytes: 1 << 30 },
            placers: PlacerSettings::default(),
        };
        let mut steady = Self {
            placing: PlacingLoop::new(rules, 1),
            now: Moment::ZERO,
            next: 0,
            running: VecDeque::with_capacity((runners * SLOTS) as usize + 1),
            there: vec![0; runners as usize],
            usual: (runners * SLOTS / 2) as usize,
            steps: Vec::with_capacity(16),
            probed: Vec::with_capacity(16),
            waited: 0,
        };
        for number in 0..FUNCTIONS {
            let name = format!("function-{number}");
            let facts = FunctionFacts {
                flow: name.clone(),
                name,
                placer,
                weight: 1,
                memory: 1 << 27,
                concurrency: 0,
                keeps_workers: true,
            };
            steady.tell(&Event::Function { function: FunctionNumber(number), facts });
        }
        let set = |number| RunnerChange::Set {
            runner: RunnerPlace(number),
            facts: RunnerFacts {
                name: format!("runner-{number}:9001"),
                weight: 100,
                admission: Admission::Open,
                max_in_flight: 0,
                slots: Some(SLOTS),
            },
        };
        steady.tell(&Event::RunnersChanged { changes: (0..runners).map(set).collect() });
        steady.tell(&Event::HomesMade);
        while steady.running.len() < steady.usual {
            steady.arrive();
        }
        steady
    }

    /// One call more: it is decided, and its answer begins.
    pub(crate) fn arrive(&mut self) {
        self.decide();
        self.settle();
    }

    /// One call more is decided, and nothing else.
    pub(crate) fn decide(&mut self) {
        self.now = self.now + Duration::from_micros(10);
        self.next += 1;
        let event = Event::Arrived {
            call: CallNumber(self.next),
            function: FunctionNumber((self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u32 % FUNCTIONS),
            hint: None,
            give_up_at: self.now + Duration::from_secs(360),
            deadline: None,
            bytes: 100,
        };
        self.placing.step(&event, self.now, &mut self.steps);
    }

    /// Everything that was decided is done, and calls end until there are as many as usual.
    pub(crate) fn settle(&mut self) {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Try { call, runner, .. } => {
                    self.there[runner.index()] += 1;
                    self.running.push_back((call, runner));
                    // Workers stay idle where calls have ended, as with memory enough: a call that comes finds one.
                    let event = Event::Committed { call, start: StartKind::Warm, runs_until: None, news: RunnerNews::default() };
                    self.tell(&event);
                }
                Step::Probe { runner } => self.probed.push(runner),
                Step::Wait { .. } => self.waited += 1,
                _ => {}
            }
        }
        while let Some(runner) = self.probed.pop() {
            let in_flight = self.there[runner.index()];
            let latency = Duration::from_millis(1 + u64::from(in_flight));
            self.tell(&Event::Probed { runner, in_flight, latency });
        }
        while self.running.len() > self.usual {
            self.end();
        }
        while let Some(due) = self.placing.next_timer().filter(|due| *due <= self.now) {
            self.now = due.max(self.now);
            self.tell(&Event::Timer);
        }
    }

    fn end(&mut self) {
        if let Some((call, runner)) = self.running.pop_front() {
            self.there[runner.index()] -= 1;
            let event = Event::Ended { call, how: EndedHow::Ok, news: self.news(runner) };
            self.tell(&event);
        }
    }

    fn news(&self, runner: RunnerPlace) -> RunnerNews {
        let in_flight = self.there[runner.index()];
        RunnerNews { load: Some(LoadReport { in_flight, slots: SLOTS, warm: 1 }), lost_warm: Vec::new() }
    }

    fn tell(&mut self, event: &Event) {
        self.placing.step(event, self.now, &mut self.steps);
    }
}
