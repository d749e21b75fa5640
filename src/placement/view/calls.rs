//! What attempts, answers, refusals and reports teach about a runner.

use std::time::Duration;

use super::{Attempted, Begun, Expected, LeavesWarm, LookAgain, Refusal, View};
use crate::placement::event::{Admission, FunctionNumber, RefusedKind, RunnerNews, StartKind};
use crate::placement::moment::Moment;
use crate::pool::RunnerPlace;
use crate::protocol::LoadReport;

use super::runner::LONGEST_PAUSE;

impl View {
    /// A call is given to a runner.
    pub(in crate::placement) fn begin(&mut self, place: RunnerPlace, number: FunctionNumber) -> Begun {
        let known = &mut self.functions[number.index()];
        known.own += 1;
        let workers = known.workers.entry(place).or_default();
        workers.own += 1;
        let expected = match (workers.idle > 0, known.facts.keeps_workers) {
            (true, _) => Expected::Warm,
            (false, true) => Expected::Cold,
            (false, false) => Expected::NoWorker,
        };
        if expected == Expected::Warm {
            self.add_idle(place, number, -1);
        }
        let mut is_probe = false;
        if let Some(runner) = self.runner_mut(place) {
            runner.own += 1;
            runner.starting += u32::from(expected == Expected::Cold);
            is_probe = runner.may_probe && runner.learned.is_some_and(|learned| runner.own >= learned);
            runner.may_probe &= !is_probe;
        }
        self.refresh(place);
        Begun { expected, is_probe }
    }

    /// The head of a call's answer came.
    pub(in crate::placement) fn committed(
        &mut self,
        place: RunnerPlace,
        number: FunctionNumber,
        expected: Expected,
        start: StartKind,
    ) {
        let cold = &mut self.functions[number.index()].cold;
        if expected == Expected::Cold && start == StartKind::Warm && cold.get().is_none() {
            // No start was seen yet, and where one was expected none was needed.
            cold.add(Duration::ZERO);
        }
        if let StartKind::Cold(took) = start {
            self.functions[number.index()].cold.add(took);
            // Where a warm one was expected, there is none: what we believed of others there was wrong too.
            if expected == Expected::Warm {
                let idle = self.function(number).idle_on(place);
                self.add_idle(place, number, -i64::from(idle));
            }
        }
        if let Some(runner) = self.runner_mut(place) {
            runner.is_unreachable = false;
            runner.most = runner.most.max(runner.own);
            runner.starting = runner.starting.saturating_sub(u32::from(expected == Expected::Cold));
            if runner.learned.is_none() {
                runner.pause = Duration::ZERO;
            }
        }
        self.refresh(place);
    }

    /// The runner took a call beyond what it was known to take: it may take more, and as many as ever if it was not for want of room that it refused.
    pub(in crate::placement) fn probe_succeeded(&mut self, place: RunnerPlace) {
        if let Some(runner) = self.runner_mut(place) {
            runner.pause = Duration::ZERO;
            if let Some(learned) = &mut runner.learned {
                if std::mem::take(&mut runner.refused_idle) {
                    *learned = (*learned).max(runner.most);
                } else {
                    runner.most = *learned;
                }
                *learned += 1;
                runner.may_probe = true;
            }
        }
        self.refresh(place);
    }

    /// A call is over there. `leaves_warm` tells whether its worker stays.
    pub(in crate::placement) fn ended(&mut self, place: RunnerPlace, number: FunctionNumber, leaves_warm: LeavesWarm) {
        self.take_back(place, number);
        if leaves_warm == LeavesWarm::Yes && self.is_member(place) {
            self.add_idle(place, number, 1);
        }
        if let Some(runner) = self.runner_mut(place) {
            runner.no_memory_until = None;
            if runner.learned.is_none() {
                runner.refuses_until = None;
            }
        }
        if !self.function_refusals.is_empty() {
            self.function_refusals.remove(&(place, number));
        }
        self.refresh(place);
    }

    /// A call that was to be started runs on there: its slot stays taken, as if it were another balancer's.
    pub(in crate::placement) fn runs_on(&mut self, place: RunnerPlace, number: FunctionNumber) {
        self.take_back(place, number);
        if let Some(runner) = self.runner_mut(place)
            && runner.slots.is_some()
        {
            runner.others += 1;
        }
        self.refresh(place);
    }

    /// An attempt was withdrawn before it was decided, or ended before its head came.
    pub(in crate::placement) fn start_is_over(&mut self, place: RunnerPlace, expected: Expected) {
        if let Some(runner) = self.runner_mut(place) {
            runner.starting = runner.starting.saturating_sub(u32::from(expected == Expected::Cold));
        }
        self.refresh(place);
    }

    /// What a whole call took on a warm worker.
    pub(in crate::placement) fn took(&mut self, number: FunctionNumber, service: Duration) {
        self.functions[number.index()].service.add(service);
    }

    /// Notes whether a call failed there.
    pub(in crate::placement) fn note_failing(&mut self, place: RunnerPlace, failed: f64) {
        if let Some(runner) = self.runner_mut(place) {
            runner.failing += 0.2 * (failed - runner.failing);
        }
    }

    /// A runner refused. Returns when it makes sense to look again, if only time can tell.
    pub(in crate::placement) fn refused(
        &mut self,
        attempted: &Attempted,
        refusal: &Refusal,
        news: &RunnerNews,
        now: Moment,
    ) -> Option<LookAgain> {
        let Attempted { runner: place, function: number, expected } = *attempted;
        let Refusal { why, retry_after, draw } = *refusal;
        self.take_back(place, number);
        self.start_is_over(place, expected);
        if expected == Expected::Warm && self.is_member(place) {
            self.add_idle(place, number, 1);
        }
        let retry_all_delay = self.retry_all_delay;
        self.learn(place, number, news);
        let runner = self.runner_mut(place)?;
        // Decorrelated jitter (AWS Architecture Blog, "Exponential Backoff and Jitter", 2015), but never shorter than the last: between the last and
        // three times the last.
        let least = runner.pause.max(retry_all_delay).as_nanos() as u64;
        let drawn = Duration::from_nanos(least + draw % (2 * least).max(1)).min(LONGEST_PAUSE);
        let pause = retry_after.unwrap_or(drawn).max(Duration::from_millis(1));
        let until = now + pause;
        // Calls that were on their way when it began to refuse say nothing new: only what was tried after a pause makes the next one longer.
        let known_until = runner.refuses_until.filter(|known| *known > now && (retry_after.is_none() || *known >= until));
        runner.is_unreachable = why == RefusedKind::Unreachable;
        match why {
            RefusedKind::Memory => runner.no_memory_until = Some(until),
            RefusedKind::FunctionBusy => {
                runner.pause = drawn;
                self.function_refusals.insert((place, number), until);
                self.refresh(place);
                return Some(LookAgain(until));
            }
            _ if runner.slots.is_some_and(|slots| runner.own + runner.others >= slots) => {
                // It said how full it is. Of what others have there we hear nothing but from itself.
                if known_until.is_some() {
                    self.refresh(place);
                    return None;
                }
                (runner.refuses_until, runner.pause) = (Some(until), drawn);
            }
            _ => {
                (runner.learned, runner.may_probe) = (Some(runner.own), false);
                // Of many that are refused at once, the last is refused with what it still has.
                runner.refused_idle = runner.own == 0 || runner.is_unreachable;
                if known_until.is_some() {
                    self.refresh(place);
                    return None;
                }
                (runner.refuses_until, runner.pause) = (Some(until), drawn);
            }
        }
        self.refresh(place);
        Some(LookAgain(until))
    }

    /// What a runner said by the way.
    pub(in crate::placement) fn learn(&mut self, place: RunnerPlace, number: FunctionNumber, news: &RunnerNews) {
        if *news == RunnerNews::default() || !self.is_member(place) {
            return;
        }
        for (function, lost) in &news.lost_warm {
            if self.knows(*function) {
                self.add_idle(place, *function, -i64::from(*lost));
            }
        }
        if let Some(load) = news.load {
            self.report(place, load);
            // Our calls that are on their way there will take some of the idle workers, and are counted as having done so. What it tells is
            // therefore the most there can be, and the truth if no other call of ours is there.
            let known = self.function(number);
            let (idle, own) = (known.idle_on(place), known.own_on(place));
            if load.warm < idle || own <= 1 {
                self.add_idle(place, number, i64::from(load.warm) - i64::from(idle));
            }
        }
        self.refresh(place);
    }

    /// A runner told its whole state.
    pub(in crate::placement) fn reported(
        &mut self,
        place: RunnerPlace,
        in_flight: u32,
        slots: u32,
        warm: &[(FunctionNumber, u32)],
    ) {
        if !self.is_member(place) {
            return;
        }
        let known: Vec<FunctionNumber> = self.runner(place).map(|runner| runner.warm.clone()).unwrap_or_default();
        for function in known {
            if !warm.iter().any(|(listed, _)| *listed == function) {
                let idle = self.function(function).idle_on(place);
                self.add_idle(place, function, -i64::from(idle));
            }
        }
        for (function, idle) in warm {
            if !self.knows(*function) {
                continue;
            }
            // Our own calls that are on their way there will take some of them.
            let own = self.function(*function).own_on(place);
            let change = i64::from(*idle) - i64::from(self.function(*function).idle_on(place));
            if change < 0 || own == 0 {
                self.add_idle(place, *function, change);
            }
        }
        self.report(place, LoadReport { in_flight, slots, warm: 0 });
        self.refresh(place);
    }

    /// The runner keeps a slot for us.
    pub(in crate::placement) fn granted(&mut self, place: RunnerPlace) {
        if let Some(runner) = self.runner_mut(place) {
            runner.is_asked_for_room = false;
            runner.refuses_until = None;
            if let Some(slots) = runner.slots {
                runner.others = runner.others.min(slots.saturating_sub(runner.own + 1));
            }
            if runner.learned == Some(0) {
                runner.learned = None;
            }
        }
        self.refresh(place);
    }

    /// Lets a runner to which no connection could be made be tried once more. Whether it may now.
    pub(in crate::placement) fn try_unreachable(&mut self, place: RunnerPlace) -> bool {
        let Some(runner) = self.runner_mut(place) else { return false };
        if !std::mem::take(&mut runner.is_unreachable) {
            return false;
        }
        runner.refuses_until = None;
        (runner.learned, runner.may_probe) = (Some(runner.own + 1), true);
        self.refresh(place);
        self.open.contains(place)
    }

    /// The question for room ended without.
    pub(in crate::placement) fn not_granted(&mut self, place: RunnerPlace, until: Moment) {
        if let Some(runner) = self.runner_mut(place) {
            runner.is_asked_for_room = false;
            runner.refuses_until = Some(until);
        }
    }

    /// Whether a question for room makes sense: the runner is full by what others have there, and nobody asks yet.
    pub(in crate::placement) fn begin_asking_for_room(&mut self, place: RunnerPlace) -> bool {
        let Some(runner) = self.runner_mut(place) else { return false };
        let is_full = runner.slots.is_some_and(|slots| runner.own + runner.others >= slots);
        let may_be_tried = runner.facts.weight > 0 && runner.facts.admission != Admission::Closed;
        let asks = is_full && runner.others > 0 && may_be_tried && !runner.is_asked_for_room;
        runner.is_asked_for_room |= asks;
        asks
    }

    /// Whether the end of a pause there would change anything now: there may have been another refusal, or news, since it began.
    pub(in crate::placement) fn is_pause_over(&self, place: RunnerPlace, now: Moment) -> bool {
        let is_over = |until: Option<Moment>| until.is_some_and(|until| until <= now);
        self.runner(place).is_some_and(|runner| is_over(runner.refuses_until) || is_over(runner.no_memory_until))
            || self.function_refusals.iter().any(|((of, _), until)| *of == place && *until <= now)
    }

    /// A pause is over: what a runner was believed to refuse may be tried once. Returns whether that made room.
    pub(in crate::placement) fn pause_is_over(&mut self, place: RunnerPlace, now: Moment) -> bool {
        self.function_refusals.retain(|_, until| *until > now);
        let Some(runner) = self.runner_mut(place) else { return false };
        if runner.no_memory_until.is_some_and(|until| until <= now) {
            runner.no_memory_until = None;
        }
        if runner.refuses_until.is_some_and(|until| until <= now) {
            runner.refuses_until = None;
            if let Some(learned) = &mut runner.learned {
                // One more than it has now, and no more: the next refusal says how many it takes.
                *learned = (*learned).max(runner.own) + 1;
                runner.may_probe = true;
            }
            if !runner.is_asked_for_room
                && let Some(slots) = runner.slots
                && runner.own + runner.others >= slots
            {
                runner.others = slots.saturating_sub(runner.own + 1).min(runner.others);
            }
        }
        self.refresh(place);
        self.open.contains(place)
    }
}
