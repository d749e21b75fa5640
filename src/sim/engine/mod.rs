//! One run: calls arrive, balancers decide, runners run them; all on a virtual clock.
//!
//! A heap of (time, order) holds what will happen. Arrivals of an open loop are not in it: they come sorted, and the next of them is
//! compared with the heap's first. Of several things at one time the heap's come first, then timers, then arrivals; so a run repeats
//! exactly.
//!
//! What a balancer is told is what the protocol tells, when it would come: half a round trip after the runner said it. The head of an
//! answer comes when the function has ended; how the call started (warm or cold) is not known before.

mod at_runners;
mod faults;
mod log_hash;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::clock::EventQueue;
use super::measures::{Answered, RunRecord};
use super::rule::Rule;
use super::runner::{Health, ModelRunner, OnFull};
use super::setup::{Dealing, FaultKind, Flows, Setup};
use super::workload::{ClosedLoop, ModelCall, ModelFunction, Workload};
use crate::placement::{
    CallNumber, EndedHow, Event, FunctionFacts, FunctionNumber, Moment, RefusedKind, RunnerChange, RunnerNews, StartKind, Step,
};
use crate::pool::RunnerPlace;

/// Where calls come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A list.
    Open {
        /// The calls.
        workload: Workload,
        /// By what arrival times are multiplied.
        time_factor: f64,
        /// Calls after this, in simulated time, are left out.
        until: Duration,
    },
    /// Users.
    Closed(ClosedLoop),
}

/// What happens.
enum Happening {
    Comes { user: u32, call: ModelCall },
    Reaches { call: usize, runner: u32 },
    Ends { call: usize, runner: u32, life: u32 },
    SharedEnd { runner: u32, turn: u64 },
    Answer { call: usize, start: StartKind, news: RunnerNews },
    Failure { call: usize, news: Option<RunnerNews> },
    Refusal { call: usize, why: RefusedKind, news: RunnerNews },
    AskRoom { balancer: u32, runner: u32 },
    RoomDue { runner: u32 },
    Room { balancer: u32, runner: u32 },
    NoRoom { balancer: u32, runner: u32 },
    Probe { balancer: u32, runner: u32 },
    Probed { balancer: u32, runner: u32, answer: Option<(u32, Duration)> },
    ReportDue { runner: u32 },
    Report { runner: u32, in_flight: u32, slots: u32, warm: Vec<(FunctionNumber, u32)> },
    Fault { index: usize, is_begin: bool },
    Detected { index: usize, is_begin: bool },
}

#[derive(Clone, Copy, Debug)]
struct CallState {
    call: ModelCall,
    balancer: u32,
    user: u32,
    attempts: u32,
    runner: u32,
    sent: u64,
    start: StartKind,
    is_over: bool,
}

/// Runs calls of `source` through one rule for each balancer. The seed decides every draw of the engine's own.
pub fn run(setup: &Setup, source: &Source, rules: Vec<Box<dyn Rule>>, seed: u64) -> RunRecord {
    run_observed(setup, source, rules, seed, |_, _, _, _| {})
}

/// As [`run`], and tells `observe` everything that each balancer was told and answered.
pub fn run_observed<F>(setup: &Setup, source: &Source, rules: Vec<Box<dyn Rule>>, seed: u64, observe: F) -> RunRecord
where
    F: FnMut(usize, Moment, &Event, &[Step]),
{
    let mut run = Run::new(setup, source, rules, seed, observe);
    run.begin();
    run.all();
    run.record()
}

struct Run<'a, F> {
    setup: &'a Setup,
    source: &'a Source,
    functions: &'a [ModelFunction],
    rules: Vec<Box<dyn Rule>>,
    timers: Vec<Option<Moment>>,
    runners: Vec<ModelRunner>,
    /// How often each runner was killed: what was to end in an earlier life does not.
    lives: Vec<u32>,
    /// What was told of shared cores before the last change is out of date.
    turns: Vec<u64>,
    queue: EventQueue<Happening>,
    calls: Vec<CallState>,
    next_arrival: usize,
    outstanding: u64,
    to_come: u64,
    half_trip: u64,
    warm_up: u64,
    rng: StdRng,
    steps: Vec<Step>,
    record: RunRecord,
    observe: F,
}

impl<'a, F> Run<'a, F>
where
    F: FnMut(usize, Moment, &Event, &[Step]),
{
    fn new(setup: &'a Setup, source: &'a Source, rules: Vec<Box<dyn Rule>>, seed: u64, observe: F) -> Self {
        let functions: &[ModelFunction] = match source {
            Source::Open { workload, .. } => &workload.functions,
            Source::Closed(closed) => &closed.functions,
        };
        let on_full = rules.first().map_or(OnFull::Refuse, |rule| rule.on_full());
        let shared: std::sync::Arc<[ModelFunction]> = functions.into();
        let balancers = rules.len();
        let runners = setup.runners.iter().map(|model| ModelRunner::new(*model, on_full, shared.clone(), balancers)).collect();
        let count = setup.runners.len();
        let warm_up = nanos(setup.warm_up);
        Self {
            setup,
            source,
            functions,
            timers: vec![None; balancers],
            rules,
            runners,
            lives: vec![0; count],
            turns: vec![0; count],
            queue: EventQueue::new(),
            calls: Vec::new(),
            next_arrival: 0,
            outstanding: 0,
            to_come: 0,
            half_trip: nanos(setup.round_trip) / 2,
            warm_up,
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            steps: Vec::new(),
            record: RunRecord { runners: count, measured_from: (warm_up / 1_000_000_000) as usize, ..RunRecord::default() },
            observe,
        }
    }

    fn begin(&mut self) {
        let changes: Vec<RunnerChange> = (0..self.setup.runners.len()).map(|runner| self.joined(runner)).collect();
        for balancer in 0..self.rules.len() {
            for (number, function) in (0..).zip(self.functions) {
                let flow = match self.setup.flows {
                    Flows::ByFunction => function.name.as_str(),
                    Flows::ByApp => &function.app,
                    Flows::Together => "all",
                };
                let facts = FunctionFacts {
                    name: function.name.clone(),
                    placer: self.setup.placer,
                    weight: 1,
                    flow: flow.to_owned(),
                    memory: u64::from(function.memory_mb) << 20,
                    concurrency: 0,
                    keeps_workers: true,
                };
                self.tell(balancer, &Event::Function { function: FunctionNumber(number), facts }, 0);
            }
            self.tell(balancer, &Event::RunnersChanged { changes: changes.clone() }, 0);
            self.tell(balancer, &Event::HomesMade, 0);
        }
        for (index, fault) in self.setup.faults.iter().enumerate() {
            for (at, is_begin) in [(fault.from, true), (fault.until, false)] {
                self.queue.add(nanos(at), Happening::Fault { index, is_begin });
                if !matches!(fault.kind, FaultKind::Antagonist(_)) {
                    self.queue.add(nanos(at + self.setup.detection), Happening::Detected { index, is_begin });
                }
            }
        }
        if let Some(every) = self.setup.reports_every {
            // Spread out: runners do not all report at once.
            let count = self.runners.len().max(1) as u64;
            for runner in (0_u32..).take(self.runners.len()) {
                self.queue.add(nanos(every) * u64::from(runner) / count, Happening::ReportDue { runner });
            }
        }
        if let Source::Closed(closed) = self.source {
            for user in 0..closed.most_users() {
                let first = closed.first(user, &mut self.rng);
                self.comes(user, first);
            }
        }
    }

    fn all(&mut self) {
        loop {
            let arrival = self.next_arrival();
            if arrival.is_none() && self.outstanding == 0 && self.to_come == 0 {
                break;
            }
            if self.record.events >= self.setup.most_events {
                self.record.is_saturated = true;
                break;
            }
            self.record.events += 1;
            let (happening, arrives) = (self.queue.next_at(), arrival.map(|(at, _)| at));
            let timer = self.timers.iter().enumerate().filter_map(|(balancer, at)| at.map(|at| (at.as_nanos(), balancer))).min();
            let first = [happening, timer.map(|(at, _)| at), arrives].into_iter().flatten().min();
            let Some(first) = first else { break };
            if happening == Some(first) {
                if let Some((now, happening)) = self.queue.next() {
                    self.happens(happening, now);
                }
            } else if let Some((at, balancer)) = timer.filter(|(at, _)| *at == first) {
                self.tell(balancer, &Event::Timer, at);
            } else if let Some((at, call)) = arrival {
                self.next_arrival += 1;
                self.arrive(ModelCall { at, ..call }, u32::MAX, at);
            }
        }
    }

    fn next_arrival(&self) -> Option<(u64, ModelCall)> {
        let Source::Open { workload, time_factor, until } = self.source else { return None };
        let call = workload.calls.get(self.next_arrival)?;
        let at = (call.at as f64 * time_factor).round() as u64;
        (at < nanos(*until)).then_some((at, *call))
    }

    fn arrive(&mut self, call: ModelCall, user: u32, now: u64) {
        let number = self.calls.len();
        let count = u32::try_from(self.rules.len()).unwrap_or(1);
        let balancer = match self.setup.dealing {
            Dealing::InTurn => u32::try_from(number % self.rules.len()).unwrap_or(0),
            Dealing::Random => self.rng.random_range(0..count),
        };
        self.calls.push(CallState {
            call,
            balancer,
            user,
            attempts: 0,
            runner: 0,
            sent: now,
            start: StartKind::Warm,
            is_over: false,
        });
        self.outstanding += 1;
        let arrived = Event::Arrived {
            call: CallNumber(number as u64),
            function: FunctionNumber(call.function),
            hint: None,
            give_up_at: Moment::from_nanos(now) + self.setup.placer_timeout,
            deadline: None,
            bytes: 0,
        };
        self.tell(balancer as usize, &arrived, now);
    }

    fn happens(&mut self, happening: Happening, now: u64) {
        match happening {
            Happening::Comes { user, call } => {
                self.to_come -= 1;
                self.arrive(call, user, now);
            }
            Happening::Reaches { call, runner } => self.reaches(call, runner, now),
            Happening::Ends { call, runner, life } => {
                if self.lives[runner as usize] == life {
                    self.ends(call, runner, now);
                    self.after_end(runner, now);
                }
            }
            Happening::SharedEnd { runner, turn } => {
                if self.turns[runner as usize] == turn {
                    while let Some(call) = self.runners[runner as usize].take_shared_end(now) {
                        self.ends(call, runner, now);
                    }
                    self.after_end(runner, now);
                    self.shared_changed(runner);
                }
            }
            Happening::Answer { call, start, news } => {
                let number = CallNumber(call as u64);
                let balancer = self.calls[call].balancer as usize;
                self.tell(balancer, &Event::Committed { call: number, start, runs_until: None, news }, now);
                self.tell(balancer, &Event::Ended { call: number, how: EndedHow::Ok, news: RunnerNews::default() }, now);
                self.answered(call, now);
            }
            Happening::Failure { call, news } => {
                let number = CallNumber(call as u64);
                let balancer = self.calls[call].balancer as usize;
                if let Some(news) = news {
                    self.tell(
                        balancer,
                        &Event::Committed { call: number, start: StartKind::Unknown, runs_until: None, news },
                        now,
                    );
                }
                self.tell(balancer, &Event::Ended { call: number, how: EndedHow::Failed, news: RunnerNews::default() }, now);
                if self.is_measured(call) {
                    self.record.failed += 1;
                }
                self.over(call, now);
            }
            Happening::Refusal { call, why, news } => {
                let balancer = self.calls[call].balancer as usize;
                let refused = Event::Refused { call: CallNumber(call as u64), why, retry_after: None, news };
                self.tell(balancer, &refused, now);
            }
            Happening::AskRoom { balancer, runner } => {
                if self.runners[runner as usize].health() == Health::Down {
                    return self.queue.add(now + self.half_trip, Happening::NoRoom { balancer, runner });
                }
                let lent = self.runners[runner as usize].ask_room(balancer, now);
                self.lend(runner, lent, now);
            }
            Happening::RoomDue { runner } => {
                let lent = self.runners[runner as usize].room_due(now);
                self.lend(runner, lent, now);
            }
            Happening::Room { balancer, runner } => {
                self.tell(balancer as usize, &Event::Room { runner: RunnerPlace(runner) }, now);
            }
            Happening::NoRoom { balancer, runner } => {
                let event = Event::NoRoom { runner: RunnerPlace(runner), again_after: Duration::from_millis(50) };
                self.tell(balancer as usize, &event, now);
            }
            Happening::Probe { balancer, runner } => {
                let model = &self.runners[runner as usize];
                let answer = (model.health() != Health::Down).then(|| model.probe());
                self.queue.add(now + self.half_trip, Happening::Probed { balancer, runner, answer });
            }
            Happening::Probed { balancer, runner, answer } => {
                let runner = RunnerPlace(runner);
                let event = match answer {
                    Some((in_flight, latency)) => Event::Probed { runner, in_flight, latency },
                    None => Event::ProbeFailed { runner },
                };
                self.tell(balancer as usize, &event, now);
            }
            Happening::ReportDue { runner } => {
                let model = &self.runners[runner as usize];
                if model.health() != Health::Down {
                    let report =
                        Happening::Report { runner, in_flight: model.in_flight(), slots: model.slots(), warm: model.warm() };
                    self.queue.add(now + self.half_trip, report);
                }
                if let Some(every) = self.setup.reports_every {
                    self.queue.add(now + nanos(every), Happening::ReportDue { runner });
                }
            }
            Happening::Report { runner, in_flight, slots, warm } => {
                let event = Event::Reported { runner: RunnerPlace(runner), in_flight, slots, warm };
                for balancer in 0..self.rules.len() {
                    self.tell(balancer, &event, now);
                }
            }
            Happening::Fault { index, is_begin } => self.fault(index, is_begin, now),
            Happening::Detected { index, is_begin } => self.detected(index, is_begin, now),
        }
    }

    fn answered(&mut self, call: usize, now: u64) {
        let state = self.calls[call];
        if self.is_measured(call) {
            let latency = now - state.call.at;
            self.record.attempts += u64::from(state.attempts);
            self.record.cold += u64::from(matches!(state.start, StartKind::Cold(_)));
            self.record.answered.push(Answered {
                function: state.call.function,
                at_us: state.call.at / 1_000,
                latency_us: micros(latency),
                added_us: micros(latency.saturating_sub(state.call.service_ns)),
                wait_us: micros(state.sent - state.call.at),
            });
        }
        self.over(call, now);
    }

    fn is_measured(&self, call: usize) -> bool {
        self.calls[call].call.at >= self.warm_up
    }

    fn over(&mut self, call: usize, now: u64) {
        let state = &mut self.calls[call];
        if state.is_over {
            return;
        }
        state.is_over = true;
        self.outstanding -= 1;
        self.record.end_ns = now;
        let user = state.user;
        if let Source::Closed(closed) = self.source {
            let next = closed.next(user, now, &mut self.rng);
            self.comes(user, next);
        }
    }

    fn comes(&mut self, user: u32, call: Option<ModelCall>) {
        if let Some(call) = call {
            self.to_come += 1;
            self.queue.add(call.at, Happening::Comes { user, call });
        }
    }

    /// Tells a balancer something and does what it wants.
    fn tell(&mut self, balancer: usize, event: &Event, now: u64) {
        let moment = Moment::from_nanos(now);
        let mut steps = std::mem::take(&mut self.steps);
        let rule = &mut self.rules[balancer];
        rule.step(event, moment, &self.runners, &mut steps);
        // A timer that is overdue is due now.
        self.timers[balancer] = rule.next_timer().map(|at| at.max(moment));
        self.record.log_hash = log_hash::add(self.record.log_hash, now, balancer, event, &steps);
        (self.observe)(balancer, moment, event, &steps);
        for step in steps.drain(..) {
            self.perform(balancer, step, now);
        }
        self.steps = steps;
    }

    fn perform(&mut self, balancer: usize, step: Step, now: u64) {
        let balancer = u32::try_from(balancer).unwrap_or(0);
        let there = now + self.half_trip;
        match step {
            Step::Try { call, runner, .. } => {
                let index = call.0 as usize;
                let state = &mut self.calls[index];
                state.attempts += 1;
                state.sent = now;
                state.runner = runner.0;
                self.queue.add(there, Happening::Reaches { call: index, runner: runner.0 });
            }
            Step::Wait { .. } => {}
            Step::GiveUp { call, .. } => {
                let index = call.0 as usize;
                if self.is_measured(index) {
                    self.record.not_placed += 1;
                }
                self.over(index, now);
            }
            Step::AskRoom { runner } => self.queue.add(there, Happening::AskRoom { balancer, runner: runner.0 }),
            Step::Probe { runner } => self.queue.add(there, Happening::Probe { balancer, runner: runner.0 }),
        }
    }

    fn record(mut self) -> RunRecord {
        let end = match self.source {
            Source::Open { until, .. } if !self.record.is_saturated => nanos(*until).min(self.record.end_ns),
            _ => self.record.end_ns,
        };
        self.record.measured_seconds = end.saturating_sub(self.warm_up) as f64 / 1e9;
        self.record
    }
}

fn place(runner: usize) -> RunnerPlace {
    RunnerPlace(u32::try_from(runner).unwrap_or(u32::MAX))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000).unwrap_or(u32::MAX)
}
