//! The placing loop: one machine for all calls of a pool. Events go in, steps come out; no socket, no clock, no task. Production and the simulator
//! drive the same object, and the same seed makes the same steps.
//!
//! | a call is | event | then |
//! |---|---|---|
//! | – | arrives, calls of its function wait | it waits behind them |
//! | – | arrives otherwise | its placer is asked: *tried* there, or it waits, or it is given up |
//! | tried | refused | its placer is asked again; if nobody is left, it waits in front of its function's queue |
//! | tried | its answer's head came | *running*: no other runner is ever tried |
//! | waiting | a runner has room, and its placer gives it to this call | tried there; the slot is its own from then on |
//! | waiting | placer timeout or deadline over | given up |
//! | tried, running | ended, or its client is gone | forgotten; its runner has room |
//! | running | its answer is still read when its runner must have ended it | the same: who reads slowly holds no slot |
//! | waiting | its client is gone | forgotten; its place is free at once |
//!
//! A runner is offered to the waiting calls when something says that it has room: a call of ours ended there, it reported, it joined, it granted
//! a slot that we had asked for, or a pause is over after which a runner that tells nothing is tried once. One offer for each slot, given to one call.
//!
//! Fallback attempts (after a pause, on a runner that did not say it has room) are paid out of a budget: one for every five calls placed, and
//! ten each second (tower's retry budget), so that waiting on silent runners never becomes a storm.

mod budget;
mod calls;
mod explanation;
mod offers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use self::budget::AttemptBudget;
use self::calls::{CallState, Hold, Stage};
pub use self::explanation::{Candidate, Explanation, Waited};
use super::config::{PlacerChoice, PlacerSettings};
use super::event::{
    CallNumber, EndedHow, Event, FunctionFacts, FunctionNumber, GaveUp, RefusedKind, RunnerChange, RunnerNews, StartKind, Step,
};
use super::homes::{HomeRing, RingMember};
use super::moment::Moment;
use super::placers::{self, Decision, Noted, Placer, Question, Reason};
use super::view::{Attempted, Begun, Expected, LeavesWarm, Refusal, RunnerState, View};
use super::wait_queue::{Position, WaitLimits, WaitQueue, Waiting};
use crate::pool::RunnerPlace;

/// What the loop obeys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopRules {
    /// The pause before a runner that refused without a word is tried again, at least.
    pub retry_all_delay: Duration,
    /// Bounds of the wait queue.
    pub waiting: WaitLimits,
    /// The placers' own settings.
    pub placers: PlacerSettings,
}

/// The placing loop.
#[derive(Debug)]
pub struct PlacingLoop {
    rules: LoopRules,
    view: View,
    queue: WaitQueue,
    groups: Vec<Group>,
    /// The group of each function.
    group_of: Vec<usize>,
    calls: FxHashMap<CallNumber, CallState>,
    alarms: BTreeSet<(Moment, Alarm)>,
    budget: AttemptBudget,
    random: SmallRng,
    /// A ring that the driver made, for the next [`Event::HomesMade`].
    ring: Option<Arc<HomeRing>>,
    /// The [`Alarm::Offer`] among the alarms.
    offer_at: Option<Moment>,
    /// Memory that is used again: groups by whose turn it is, runners that a call is offered, probes of a decision, homes of a call with a hint.
    turns: Vec<(u64, Moment, usize)>,
    /// With which runner the next round of offers begins.
    offer_from: u32,
    /// Runners that the round under way has not come to.
    offer_left: usize,
    near: Vec<RunnerPlace>,
    probes: Vec<RunnerPlace>,
    hinted_homes: Vec<RunnerPlace>,
}

/// What a start is taken to take before one of the function was seen.
const UNKNOWN_START: Duration = Duration::from_millis(400);

/// A start is over after so many usual ones.
const STARTS_WAITED_FOR: u32 = 4;

/// The functions of one strategy.
#[derive(Debug)]
struct Group {
    choice: Option<PlacerChoice>,
    placer: Box<dyn Placer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// Runners with room are to be offered again.
    Offer,
    /// A runner's pause is over.
    Pause(RunnerPlace),
    /// A worker that was started for a call must be there, whether or not the call's answer has come.
    Started(CallNumber),
    /// A waiting call's time is up.
    GiveUp(CallNumber),
    /// A running call's runner has ended it by now, although its answer is still being read.
    RunIsOver(CallNumber),
}

impl PlacingLoop {
    /// A loop without runners and functions. The seed decides every random draw.
    pub fn new(rules: LoopRules, seed: u64) -> Self {
        Self {
            view: View::new(rules.retry_all_delay),
            queue: WaitQueue::new(rules.waiting),
            groups: Vec::new(),
            group_of: Vec::new(),
            calls: FxHashMap::default(),
            alarms: BTreeSet::new(),
            budget: AttemptBudget::default(),
            random: SmallRng::seed_from_u64(seed),
            ring: None,
            offer_at: None,
            offer_from: 0,
            offer_left: 0,
            turns: Vec::new(),
            near: Vec::new(),
            probes: Vec::new(),
            hinted_homes: Vec::new(),
            rules,
        }
    }

    /// The same, with this placer for all functions, whatever they name.
    #[must_use]
    pub fn with_placer(mut self, placer: Box<dyn Placer>) -> Self {
        self.groups = vec![Group { choice: None, placer }];
        self
    }

    /// What is known of runners and functions.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// The calls that wait.
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// The rules.
    pub const fn rules(&self) -> &LoopRules {
        &self.rules
    }

    /// The name of a function's strategy.
    pub fn placer_name(&self, function: FunctionNumber) -> &'static str {
        self.group_of.get(function.index()).map_or("none", |group| self.groups[*group].placer.name())
    }

    /// When [`Event::Timer`] is due, if it is.
    pub fn next_timer(&self) -> Option<Moment> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The runners of which a ring is to be made, by name, and the ring that it can be made out of.
    pub fn ring_members(&self) -> (Vec<RingMember>, Option<Arc<HomeRing>>) {
        let members = self.view.runners().filter(|(_, runner)| runner.weight() > 0);
        (members.map(|(place, runner)| (place, Arc::from(runner.name()))).collect(), self.view.homes().ring().cloned())
    }

    /// Hands over a ring that was made of [`PlacingLoop::ring_members`]; [`Event::HomesMade`] puts it into use. Without one the event
    /// makes the ring itself, which takes milliseconds for hundreds of runners.
    pub fn hand_over(&mut self, ring: Arc<HomeRing>) {
        self.ring = Some(ring);
    }

    /// Why a call that is being tried or running went where it went.
    pub fn explanation(&self, call: CallNumber, now: Moment) -> Option<Explanation> {
        let state = self.calls.get(&call)?;
        Some(state.explain(self.placer_name(state.function), now))
    }

    /// Why the runner of such a call was chosen, and whether it went smoothly so far: at once, to the first runner, without a cold start that is known of.
    pub fn course(&self, call: CallNumber) -> Option<(Option<Reason>, bool)> {
        self.calls.get(&call).map(CallState::course)
    }

    /// Takes note of one event; appends what is to be done.
    pub fn step(&mut self, event: &Event, now: Moment, steps: &mut Vec<Step>) {
        match event {
            Event::Function { function, facts } => self.set_function(*function, facts.clone()),
            Event::RunnersChanged { changes } => self.change_runners(changes, now, steps),
            Event::HomesMade => self.renew_homes(),
            Event::Arrived { call, function, hint, give_up_at, deadline, bytes } => {
                if !self.view.knows(*function) {
                    return steps.push(Step::GiveUp { call: *call, why: GaveUp::Rejected, retry_after: None });
                }
                let state = CallState::new(*function, *hint, *give_up_at, *deadline, *bytes, now);
                self.arrive(*call, state, now, steps);
            }
            Event::Refused { call, why, retry_after, news } => self.refused(*call, *why, *retry_after, news, now, steps),
            Event::Committed { call, start, runs_until, news } => {
                self.committed(*call, *start, *runs_until, news, now, steps);
            }
            Event::Ended { call, how, news } => self.ended(*call, *how, news, now, steps),
            Event::ClientGone { call } => self.client_gone(*call, now, steps),
            Event::Reported { runner, in_flight, slots, warm } => {
                self.view.reported(*runner, *in_flight, *slots, warm);
                self.offer(*runner, now, steps);
            }
            Event::Room { runner } => {
                self.view.granted(*runner);
                self.offer(*runner, now, steps);
            }
            Event::NoRoom { runner, again_after } => self.no_room(*runner, *again_after, now, steps),
            Event::Probed { runner, in_flight, latency } => {
                self.note(Noted::Probed { runner: *runner, in_flight: *in_flight, latency: *latency }, now);
            }
            Event::ProbeFailed { .. } => {}
            Event::Timer => self.ring_alarms(now, steps),
        }
    }

    // === membership ===

    fn set_function(&mut self, function: FunctionNumber, facts: FunctionFacts) {
        let group = match self.groups.iter().position(|group| group.choice.is_none_or(|choice| choice == facts.placer)) {
            Some(group) => group,
            None => {
                let placer = placers::placer(facts.placer, &self.rules.placers);
                self.groups.push(Group { choice: Some(facts.placer), placer });
                self.groups.len() - 1
            }
        };
        if self.group_of.len() <= function.index() {
            self.group_of.resize(function.index() + 1, group);
        }
        self.group_of[function.index()] = group;
        self.queue.set_function(function, group, &facts.flow, facts.weight);
        self.view.set_function(function, facts);
    }

    fn change_runners(&mut self, changes: &[RunnerChange], now: Moment, steps: &mut Vec<Step>) {
        for change in changes {
            let runner = match change {
                RunnerChange::Set { runner, facts } => {
                    self.view.set_runner(*runner, facts.clone());
                    *runner
                }
                RunnerChange::Left { runner } => {
                    self.view.remove_runner(*runner);
                    *runner
                }
            };
            self.note(Noted::RunnerChanged { runner }, now);
            self.offer(runner, now, steps);
        }
    }

    fn renew_homes(&mut self) {
        let ring = self.ring.take().unwrap_or_else(|| {
            let (members, former) = self.ring_members();
            Arc::new(HomeRing::make(&members, former.as_deref()))
        });
        self.view.homes_mut().set(ring);
        // Those that wait are offered by their homes; the others find theirs when a call comes.
        for group in 0..self.groups.len() {
            let waiting: Vec<FunctionNumber> = self.queue.functions(group).collect();
            for function in waiting {
                self.view.find_homes(function);
            }
        }
    }

    // === calls ===

    fn arrive(&mut self, call: CallNumber, state: CallState, now: Moment, steps: &mut Vec<Step>) {
        let function = state.function;
        if state.deadline.is_some_and(|deadline| deadline <= now) {
            return steps.push(Step::GiveUp { call, why: GaveUp::DeadlineExceeded, retry_after: None });
        }
        self.view.find_homes(function);
        self.calls.insert(call, state);
        if self.queue.waiting(function) > 0 {
            self.park(call, Position::Last, now, steps);
        } else {
            self.place(call, Position::Last, now, steps);
        }
    }

    /// Takes a call out, and gives back the memory that a burst of calls has needed.
    fn forget(&mut self, call: CallNumber) -> Option<CallState> {
        const KEPT: usize = 1_024;
        let state = self.calls.remove(&call);
        if self.calls.capacity() > KEPT && self.calls.len() < self.calls.capacity() / 8 {
            self.calls.shrink_to(self.calls.len() * 2);
        }
        state
    }

    /// Asks the placer, and does what it says. `position` is where the call waits if it has to.
    fn place(&mut self, call: CallNumber, position: Position, now: Moment, steps: &mut Vec<Step>) {
        let Some(state) = self.calls.get(&call) else { return };
        let function = state.function;
        let group = self.group_of[function.index()];
        self.probes.clear();
        let homes = match state.hint {
            None => self.view.function(function).homes(),
            Some(hint) => {
                self.hinted_homes.clear();
                self.view.homes().first(self.view.function(function).name(), Some(hint), &mut self.hinted_homes);
                &self.hinted_homes
            }
        };
        let question = Question {
            view: &self.view,
            function,
            homes,
            is_hinted: state.hint.is_some(),
            refused: &state.refused,
            now,
            random: &mut self.random,
            probes: &mut self.probes,
        };
        let decision = self.groups[group].placer.place(question);
        steps.extend(self.probes.drain(..).map(|runner| Step::Probe { runner }));
        match decision {
            // A placer that names a runner which would not take the call has nobody to name.
            Decision::Try(runner, reason) if self.view.can_take(runner, function) => {
                self.try_on(call, runner, reason, now, steps)
            }
            Decision::Try(..) | Decision::Park => self.park(call, position, now, steps),
            Decision::Reject => {
                self.forget(call);
                steps.push(Step::GiveUp { call, why: GaveUp::Rejected, retry_after: self.queue.drains_in() });
            }
        }
    }

    fn try_on(&mut self, call: CallNumber, runner: RunnerPlace, reason: Reason, now: Moment, steps: &mut Vec<Step>) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        state.note_choice(&self.view, runner, reason);
        let Begun { expected, is_probe } = self.view.begin(runner, state.function);
        let starts_until = (expected == Expected::Cold).then(|| {
            let start = self.view.function(state.function).cold().unwrap_or(UNKNOWN_START);
            now + start * STARTS_WAITED_FOR
        });
        if let Some(until) = starts_until {
            self.alarms.insert((until, Alarm::Started(call)));
        }
        state.attempts += 1;
        state.stage = Stage::Tried(Hold { runner, life: self.view.life(runner), expected, starts_until, is_probe, since: now });
        steps.push(Step::Try { call, runner, attempt: state.attempts });
    }

    /// The attempt is decided: nobody has to look whether its worker has started.
    fn forget_start(&mut self, call: CallNumber, hold: &Hold) {
        if let Some(until) = hold.starts_until {
            self.alarms.remove(&(until, Alarm::Started(call)));
        }
    }

    fn park(&mut self, call: CallNumber, position: Position, now: Moment, steps: &mut Vec<Step>) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let (function, give_up_at) = (state.function, state.give_up_at());
        if give_up_at <= now {
            return self.give_up(call, now, steps);
        }
        if position == Position::Last
            && let (Some(deadline), Some(turn)) = (state.deadline, self.queue.turn_in(function))
            && now + turn + self.view.function(function).service().unwrap_or_default() > deadline
            && !self.queue.is_empty()
        {
            self.forget(call);
            return steps.push(Step::GiveUp { call, why: GaveUp::DeadlineUnreachable, retry_after: Some(turn) });
        }
        let waiting = Waiting { call, since: state.arrived };
        if self.queue.push(function, waiting, state.bytes, position).is_err() {
            self.forget(call);
            return steps.push(Step::GiveUp { call, why: GaveUp::QueueFull, retry_after: self.queue.drains_in() });
        }
        state.stage = Stage::Waiting(now);
        state.refused.clear();
        self.alarms.insert((give_up_at, Alarm::GiveUp(call)));
        steps.push(Step::Wait { call });
        self.ask_for_room(function, steps);
        // A placer may park a call although somebody has room, and give it to the call at an offer.
        if self.view.open_count() > 0 {
            self.offer_near(function, now, steps);
        } else if position == Position::Last {
            self.offer_unreachable(function, now, steps);
        }
    }

    /// Nobody has room: a runner to which no connection could be made is tried by the very next call that comes, not only after its pause, so that
    /// no pause keeps one unused that is back (within the budget of attempts).
    fn offer_unreachable(&mut self, function: FunctionNumber, now: Moment, steps: &mut Vec<Step>) {
        const OTHERS: u32 = 8;
        let others = (0..self.view.places().min(OTHERS)).map(RunnerPlace);
        let near: Vec<RunnerPlace> = self.view.function(function).homes().iter().copied().chain(others).collect();
        let may_be_back = near.into_iter().find(|runner| self.view.runner(*runner).is_some_and(RunnerState::is_unreachable));
        if let Some(runner) = may_be_back
            && self.budget.take(now).is_ok()
            && self.view.try_unreachable(runner)
        {
            self.offer(runner, now, steps);
        }
    }

    fn refused(
        &mut self,
        call: CallNumber,
        why: RefusedKind,
        retry_after: Option<Duration>,
        news: &RunnerNews,
        now: Moment,
        steps: &mut Vec<Step>,
    ) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let Stage::Tried(hold) = state.stage else { return };
        state.refused.push(hold.runner);
        state.refusals += 1;
        let function = state.function;
        self.forget_start(call, &hold);
        if self.view.life(hold.runner) != hold.life {
            self.view.ended_elsewhere(function);
            return self.place(call, Position::First, now, steps);
        }
        let draw = self.random.next_u64();
        let again = self.view.refused(
            &Attempted { runner: hold.runner, function, expected: hold.expected },
            &Refusal { why, retry_after, draw },
            news,
            now,
        );
        if let Some(again) = again {
            self.alarms.insert((again.0, Alarm::Pause(hold.runner)));
        }
        self.note(Noted::Refused { runner: hold.runner, why }, now);
        self.place(call, Position::First, now, steps);
        // What it refused was this call; for others it may have room.
        self.offer(hold.runner, now, steps);
    }

    fn committed(
        &mut self,
        call: CallNumber,
        start: StartKind,
        runs_until: Option<Moment>,
        news: &RunnerNews,
        now: Moment,
        steps: &mut Vec<Step>,
    ) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let Stage::Tried(hold) = state.stage else { return };
        state.stage = Stage::Running(hold, start);
        state.runs_until = runs_until;
        if let Some(until) = runs_until {
            self.alarms.insert((until, Alarm::RunIsOver(call)));
        }
        let function = state.function;
        self.forget_start(call, &hold);
        self.budget.placed(now);
        if self.view.life(hold.runner) != hold.life {
            return;
        }
        self.view.committed(hold.runner, function, hold.expected, start);
        if hold.is_probe {
            self.view.probe_succeeded(hold.runner);
        }
        self.view.learn(hold.runner, function, news);
        self.offer(hold.runner, now, steps);
    }

    fn ended(&mut self, call: CallNumber, how: EndedHow, news: &RunnerNews, now: Moment, steps: &mut Vec<Step>) {
        let Some(state) = self.calls.get(&call) else { return };
        let (function, runs_until) = (state.function, state.runs_until);
        let (hold, start) = match state.stage {
            Stage::Waiting(_) | Stage::New => return self.client_gone(call, now, steps),
            Stage::Tried(hold) => (hold, None),
            Stage::Running(hold, start) => (hold, Some(start)),
        };
        if start.is_none() {
            self.forget_start(call, &hold);
        }
        if let Some(until) = runs_until {
            self.alarms.remove(&(until, Alarm::RunIsOver(call)));
        }
        self.forget(call);
        if self.view.life(hold.runner) != hold.life {
            return self.view.ended_elsewhere(function);
        }
        if start.is_none() {
            self.view.start_is_over(hold.runner, hold.expected);
        }
        if how == EndedHow::RunsOn {
            self.view.note_failing(hold.runner, 0.0);
            self.view.learn(hold.runner, function, news);
            self.view.runs_on(hold.runner, function);
            // Others may wait for room that only the runner can tell of now.
            return self.offer(hold.runner, now, steps);
        }
        let keeps_workers = self.view.function(function).facts().keeps_workers;
        let leaves_warm = match (how, start) {
            (EndedHow::Ok, Some(StartKind::Warm | StartKind::Cold(_))) if keeps_workers => LeavesWarm::Yes,
            _ => LeavesWarm::No,
        };
        let took = now - hold.since;
        if how == EndedHow::Ok {
            let cold = if let Some(StartKind::Cold(cold)) = start { cold } else { Duration::ZERO };
            self.view.took(function, took.saturating_sub(cold));
        }
        if how != EndedHow::Withdrawn {
            self.view.note_failing(hold.runner, if how == EndedHow::Failed { 1.0 } else { 0.0 });
        }
        self.view.learn(hold.runner, function, news);
        self.view.ended(hold.runner, function, leaves_warm);
        self.note(Noted::Ended { runner: hold.runner, function, took, how }, now);
        self.offer(hold.runner, now, steps);
    }

    fn client_gone(&mut self, call: CallNumber, now: Moment, steps: &mut Vec<Step>) {
        let Some(state) = self.calls.get(&call) else { return };
        match state.stage {
            Stage::Tried(_) | Stage::Running(..) => {
                self.ended(call, EndedHow::Withdrawn, &RunnerNews::default(), now, steps);
            }
            Stage::New | Stage::Waiting(_) => self.forget_waiting(call),
        }
    }

    fn forget_waiting(&mut self, call: CallNumber) {
        let Some(state) = self.forget(call) else { return };
        if let Stage::Waiting(_) = state.stage {
            self.alarms.remove(&(state.give_up_at(), Alarm::GiveUp(call)));
            self.queue.remove(state.function, call, state.bytes);
        }
    }

    fn give_up(&mut self, call: CallNumber, now: Moment, steps: &mut Vec<Step>) {
        let Some(state) = self.calls.get(&call) else { return };
        let why = if state.deadline.is_some_and(|deadline| deadline <= now) {
            GaveUp::DeadlineExceeded
        } else if self.view.members() == 0 {
            GaveUp::NoRunner
        } else {
            GaveUp::PlacerTimeout
        };
        self.forget_waiting(call);
        steps.push(Step::GiveUp { call, why, retry_after: self.queue.drains_in() });
    }

    fn note(&mut self, noted: Noted, now: Moment) {
        for group in &mut self.groups {
            group.placer.observe(noted, &self.view, now);
        }
    }
}
