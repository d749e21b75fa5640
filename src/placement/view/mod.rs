//! What a balancer knows of its runners and functions: the ground of every decision.
//!
//! It knows exactly what the protocol tells it, and what follows from its own calls: a runner's slots and load ride on every answer and
//! refusal; its own attempts are counted from the moment they are decided, so that two calls never count on one slot. Nothing here is
//! read off a clock or drawn at random.
//!
//! | knowledge | comes from | forgotten |
//! |---|---|---|
//! | slots, calls of other balancers | load reports | the next report; a full runner's `others` when a pause is over, one slot at a time |
//! | how many calls a plain server takes | a refusal: as many as it had then | it grows by one when a pause is over and a call needs it |
//! | idle workers | reports, our own calls' ends, what the runner says it lost | a report that says otherwise, a cold start where we expected a warm one |
//! | no memory | a refusal | something of ours ended there, or a pause |
//!
//! Every change costs constant time, whatever the number of runners ([`ByLoad`], [`PlaceSet`]).

mod by_load;
mod function;
mod place_set;
mod runner;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rustc_hash::FxHashMap;

pub use function::FunctionState;
pub use runner::{RunnerState, Totals};

use self::by_load::{BUCKETS, ByLoad};
use self::function::Workers;
use self::place_set::PlaceSet;
use self::runner::LONGEST_PAUSE;
use super::event::{Admission, FunctionFacts, FunctionNumber, RefusedKind, RunnerFacts, RunnerNews, StartKind};
use super::homes::Homes;
use super::moment::Moment;
use crate::pool::RunnerPlace;
use crate::protocol::LoadReport;

/// What is known of runners and functions.
#[derive(Debug, Default)]
pub struct View {
    runners: Vec<Option<RunnerState>>,
    members: usize,
    totals: Totals,
    /// Runners that ever were.
    lives: u64,
    functions: Vec<FunctionState>,
    /// Runners with room.
    open: PlaceSet,
    /// The same, by load.
    by_load: ByLoad,
    /// Until when a function is not tried where it has as many calls as it may.
    function_refusals: FxHashMap<(RunnerPlace, FunctionNumber), Moment>,
    homes: Homes,
    retry_all_delay: Duration,
}

/// What the view expects of an attempt that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An idle worker is known, and counted as taken.
    Warm,
    /// A worker will have to be started.
    Cold,
    /// A worker had to be started, and must be there by now.
    Started,
    /// Nothing: runners keep no workers of the function.
    NoWorker,
}

/// An attempt that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) expected: Expected,
    /// It goes beyond what the runner is known to take.
    pub(super) is_probe: bool,
}

/// An attempt that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted {
    pub(super) runner: RunnerPlace,
    pub(super) function: FunctionNumber,
    pub(super) expected: Expected,
}

/// What the runner said to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) why: RefusedKind,
    pub(super) retry_after: Option<Duration>,
    /// For the pause, if the runner did not say how long.
    pub(super) draw: u64,
}

/// When something has to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LookAgain(pub(super) Moment);

impl View {
    pub(super) fn new(retry_all_delay: Duration) -> Self {
        Self { retry_all_delay, ..Self::default() }
    }

    // === what placers may ask ===

    /// How many runners there are.
    pub const fn members(&self) -> usize {
        self.members
    }

    /// Sums over all runners.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Places that runners have or had: every place is below this.
    pub fn places(&self) -> u32 {
        u32::try_from(self.runners.len()).unwrap_or(u32::MAX)
    }

    /// A runner, if it is a member.
    pub fn runner(&self, place: RunnerPlace) -> Option<&RunnerState> {
        self.runners.get(place.index())?.as_ref()
    }

    /// All runners, in the order of their places. Costs as much as there are.
    pub fn runners(&self) -> impl Iterator<Item = (RunnerPlace, &RunnerState)> {
        (0..).zip(&self.runners).filter_map(|(place, runner)| Some((RunnerPlace(place), runner.as_ref()?)))
    }

    /// A function.
    pub fn function(&self, number: FunctionNumber) -> &FunctionState {
        &self.functions[number.index()]
    }

    /// How many runners have room.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The runners with room, in the order of their places, beginning at one.
    pub fn open_from(&self, from: u32) -> impl Iterator<Item = RunnerPlace> {
        self.open.cycle_from(from)
    }

    /// A runner with room, each as likely as any other; `None` if there is none.
    pub fn open_at_random(&self, draw: u64) -> Option<RunnerPlace> {
        self.by_load.nth((draw % self.open.len().max(1) as u64) as usize)
    }

    /// Two different runners with room, each pair as likely as any other; fewer, if there are not so many.
    pub fn two_open_at_random(&self, draw: u64) -> [Option<RunnerPlace>; 2] {
        let count = self.open.len().max(1) as u64;
        let first = (draw >> 32) % count;
        let second = (draw & u64::from(u32::MAX)) % count.saturating_sub(1).max(1);
        // The second is drawn among those that are left.
        let second = if second >= first { second + 1 } else { second };
        [self.by_load.nth(first as usize), self.by_load.nth(second as usize)]
    }

    /// The runners with room, least loaded first, ties in an order that `draw` decides.
    pub fn by_load(&self, draw: u64) -> impl Iterator<Item = RunnerPlace> {
        self.by_load.ascending(draw)
    }

    /// Whether this runner would take a call of this function now, as far as we know.
    pub fn can_take(&self, runner: RunnerPlace, function: FunctionNumber) -> bool {
        let Some(state) = self.runner(runner) else { return false };
        if state.room() == 0 {
            return false;
        }
        let known = self.function(function);
        let workers = known.workers.get(&runner);
        let limit = known.facts.concurrency;
        (limit == 0 || workers.is_none_or(|workers| workers.own < limit))
            && (state.no_memory_until.is_none() || workers.is_some_and(|workers| workers.idle > 0))
            && (self.function_refusals.is_empty() || !self.function_refusals.contains_key(&(runner, function)))
    }

    /// Of the runners with an idle worker of this function that would take a call, the least loaded; among many, of sixteen.
    pub fn least_loaded_warm(&self, function: FunctionNumber, draw: u64) -> Option<RunnerPlace> {
        const LOOKED_AT: usize = 16;
        let warm_on = &self.function(function).warm_on;
        let start = (draw % warm_on.len().max(1) as u64) as usize;
        let (before, after) = warm_on.split_at(start.min(warm_on.len()));
        after
            .iter()
            .chain(before)
            .take(LOOKED_AT)
            .copied()
            .filter(|place| self.can_take(*place, function))
            .min_by_key(|place| self.runner(*place).map_or(u32::MAX, |runner| runner.load(1_024)))
    }

    // === membership ===

    pub(super) fn set_runner(&mut self, place: RunnerPlace, facts: RunnerFacts) {
        if place.index() >= self.runners.len() {
            self.runners.resize(place.index() + 1, None);
        }
        match &mut self.runners[place.index()] {
            Some(runner) if runner.facts.name == facts.name => {
                if facts.slots.is_some() && runner.slots.is_none() {
                    runner.slots = facts.slots;
                }
                if facts.admission != runner.facts.admission {
                    // What it refused before it was checked says nothing about now.
                    (runner.refuses_until, runner.pause) = (None, Duration::ZERO);
                    if runner.learned == Some(0) {
                        runner.learned = None;
                    }
                }
                runner.facts = facts;
            }
            _ => {
                // Another one may have had this place, and what is known of workers there is of that one.
                self.remove_runner(place);
                self.members += 1;
                self.lives += 1;
                self.runners[place.index()] = Some(RunnerState::new(facts, self.lives));
            }
        }
        self.refresh(place);
    }

    pub(super) fn remove_runner(&mut self, place: RunnerPlace) {
        let Some(runner) = self.runners.get_mut(place.index()).and_then(Option::take) else { return };
        self.members -= 1;
        self.count(runner.counted, Totals::default());
        self.refresh(place);
        for function in runner.warm {
            let known = &mut self.functions[function.index()];
            let idle = known.idle_on(place);
            known.idle -= idle;
            known.forget_idle(place);
        }
        for function in &mut self.functions {
            function.workers.remove(&place);
        }
        self.function_refusals.retain(|(of, _), _| *of != place);
    }

    pub(super) fn set_function(&mut self, number: FunctionNumber, facts: FunctionFacts) {
        match self.functions.get_mut(number.index()) {
            Some(known) => {
                known.homes_of = u64::MAX;
                known.facts = facts;
            }
            None => self.functions.push(FunctionState::new(number, facts)),
        }
        self.find_homes(number);
    }

    pub(super) fn knows(&self, number: FunctionNumber) -> bool {
        number.index() < self.functions.len()
    }

    /// Which of the runners that ever had this place has it now; none has 0.
    pub(super) fn life(&self, place: RunnerPlace) -> u64 {
        self.runner(place).map_or(0, |runner| runner.life)
    }

    /// A call is over whose runner has left.
    pub(super) fn ended_elsewhere(&mut self, number: FunctionNumber) {
        let known = &mut self.functions[number.index()];
        known.own = known.own.saturating_sub(1);
    }

    pub(super) fn is_member(&self, place: RunnerPlace) -> bool {
        self.runner(place).is_some()
    }

    pub(super) const fn homes_mut(&mut self) -> &mut Homes {
        &mut self.homes
    }

    /// Grows whenever homes were worked out anew; 0 before the first time.
    pub const fn homes_version(&self) -> u64 {
        self.homes.version()
    }

    pub(super) const fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Sees to it that a function's homes are those of the newest ring.
    pub(super) fn find_homes(&mut self, number: FunctionNumber) {
        let known = &mut self.functions[number.index()];
        if known.homes_of != self.homes.version() {
            known.homes_of = self.homes.version();
            known.homes.clear();
            self.homes.first(&known.facts.name, None, &mut known.homes);
        }
    }

    // === calls ===

    /// A call is given to a runner.
    pub(super) fn begin(&mut self, place: RunnerPlace, number: FunctionNumber) -> Begun {
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
    pub(super) fn committed(&mut self, place: RunnerPlace, number: FunctionNumber, expected: Expected, start: StartKind) {
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
            runner.starting = runner.starting.saturating_sub(u32::from(expected == Expected::Cold));
            if runner.learned.is_none() {
                runner.pause = Duration::ZERO;
            }
        }
        self.refresh(place);
    }

    /// The runner took a call beyond what it was known to take: it may take more.
    pub(super) fn probe_succeeded(&mut self, place: RunnerPlace) {
        if let Some(runner) = self.runner_mut(place) {
            runner.pause = Duration::ZERO;
            if let Some(learned) = &mut runner.learned {
                *learned += 1;
                runner.may_probe = true;
            }
        }
        self.refresh(place);
    }

    /// A call is over there. `leaves_warm` tells whether its worker stays.
    pub(super) fn ended(&mut self, place: RunnerPlace, number: FunctionNumber, leaves_warm: LeavesWarm) {
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
    pub(super) fn runs_on(&mut self, place: RunnerPlace, number: FunctionNumber) {
        self.take_back(place, number);
        if let Some(runner) = self.runner_mut(place)
            && runner.slots.is_some()
        {
            runner.others += 1;
        }
        self.refresh(place);
    }

    /// An attempt was withdrawn before it was decided, or ended before its head came.
    pub(super) fn start_is_over(&mut self, place: RunnerPlace, expected: Expected) {
        if let Some(runner) = self.runner_mut(place) {
            runner.starting = runner.starting.saturating_sub(u32::from(expected == Expected::Cold));
        }
        self.refresh(place);
    }

    /// What a whole call took on a warm worker.
    pub(super) fn took(&mut self, number: FunctionNumber, service: Duration) {
        self.functions[number.index()].service.add(service);
    }

    /// Notes whether a call failed there.
    pub(super) fn note_failing(&mut self, place: RunnerPlace, failed: f64) {
        if let Some(runner) = self.runner_mut(place) {
            runner.failing += 0.2 * (failed - runner.failing);
        }
    }

    /// A runner refused. Returns when it makes sense to look again, if only time can tell.
    pub(super) fn refused(
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
    pub(super) fn learn(&mut self, place: RunnerPlace, number: FunctionNumber, news: &RunnerNews) {
        if !self.is_member(place) {
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
    pub(super) fn reported(&mut self, place: RunnerPlace, in_flight: u32, slots: u32, warm: &[(FunctionNumber, u32)]) {
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
    pub(super) fn granted(&mut self, place: RunnerPlace) {
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
    pub(super) fn try_unreachable(&mut self, place: RunnerPlace) -> bool {
        let Some(runner) = self.runner_mut(place) else { return false };
        if !std::mem::take(&mut runner.is_unreachable) {
            return false;
        }
        runner.refuses_until = None;
        runner.learned = Some(runner.own + 1);
        self.refresh(place);
        self.open.contains(place)
    }

    /// The question for room ended without.
    pub(super) fn not_granted(&mut self, place: RunnerPlace, until: Moment) {
        if let Some(runner) = self.runner_mut(place) {
            runner.is_asked_for_room = false;
            runner.refuses_until = Some(until);
        }
    }

    /// Whether a question for room makes sense: the runner is full by what others have there, and nobody asks yet.
    pub(super) fn begin_asking_for_room(&mut self, place: RunnerPlace) -> bool {
        let Some(runner) = self.runner_mut(place) else { return false };
        let is_full = runner.slots.is_some_and(|slots| runner.own + runner.others >= slots);
        let may_be_tried = runner.facts.weight > 0 && runner.facts.admission != Admission::Closed;
        let asks = is_full && runner.others > 0 && may_be_tried && !runner.is_asked_for_room;
        runner.is_asked_for_room |= asks;
        asks
    }

    /// Whether the end of a pause there would change anything now: there may have been another refusal, or news, since it began.
    pub(super) fn is_pause_over(&self, place: RunnerPlace, now: Moment) -> bool {
        let is_over = |until: Option<Moment>| until.is_some_and(|until| until <= now);
        self.runner(place).is_some_and(|runner| is_over(runner.refuses_until) || is_over(runner.no_memory_until))
            || self.function_refusals.iter().any(|((of, _), until)| *of == place && *until <= now)
    }

    /// A pause is over: what a runner was believed to refuse may be tried once. Returns whether that made room.
    pub(super) fn pause_is_over(&mut self, place: RunnerPlace, now: Moment) -> bool {
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

    // === private ===

    fn runner_mut(&mut self, place: RunnerPlace) -> Option<&mut RunnerState> {
        self.runners.get_mut(place.index())?.as_mut()
    }

    fn report(&mut self, place: RunnerPlace, load: LoadReport) {
        if let Some(runner) = self.runner_mut(place) {
            runner.slots = Some(load.slots);
            runner.learned = None;
            runner.others = load.in_flight.saturating_sub(runner.own);
        }
    }

    /// One call of ours less.
    fn take_back(&mut self, place: RunnerPlace, number: FunctionNumber) {
        let known = &mut self.functions[number.index()];
        known.own = known.own.saturating_sub(1);
        if let Some(workers) = known.workers.get_mut(&place) {
            workers.own = workers.own.saturating_sub(1);
        }
        known.forget_empty(place);
        if let Some(runner) = self.runner_mut(place) {
            runner.own = runner.own.saturating_sub(1);
        }
    }

    fn add_idle(&mut self, place: RunnerPlace, number: FunctionNumber, change: i64) {
        let known = &mut self.functions[number.index()];
        let Workers { idle, position, .. } = *known.workers.entry(place).or_default();
        let new = u32::try_from(i64::from(idle).saturating_add(change).max(0)).unwrap_or(u32::MAX);
        if new == idle {
            return known.forget_empty(place);
        }
        known.idle = known.idle - idle + new;
        let Some(workers) = known.workers.get_mut(&place) else { return };
        workers.idle = new;
        if idle == 0 {
            workers.position = u32::try_from(known.warm_on.len()).unwrap_or(u32::MAX);
            known.warm_on.push(place);
            if let Some(runner) = self.runner_mut(place) {
                runner.warm.push(number);
            }
        } else if new == 0 {
            known.take_from_warm(position);
            known.forget_empty(place);
            if let Some(runner) = self.runner_mut(place)
                && let Some(position) = runner.warm.iter().position(|function| *function == number)
            {
                runner.warm.swap_remove(position);
            }
        }
    }

    /// Sees to it that the indexes tell the truth about a runner.
    fn refresh(&mut self, place: RunnerPlace) {
        let bucket = self
            .runner(place)
            .filter(|runner| runner.room() > 0)
            .map(|runner| runner.load(u32::try_from(BUCKETS).unwrap_or(u32::MAX) - 1) as usize);
        match bucket {
            Some(_) => self.open.insert(place),
            None => self.open.remove(place),
        }
        self.by_load.set(place, bucket);
        if let Some(runner) = self.runner_mut(place) {
            let now = Totals {
                in_flight: u64::from(runner.in_flight()),
                slots: u64::from(runner.slots.unwrap_or(0)),
                starting: u64::from(runner.starting),
            };
            let before = std::mem::replace(&mut runner.counted, now);
            self.count(before, now);
        }
    }

    fn count(&mut self, before: Totals, now: Totals) {
        self.totals.in_flight = self.totals.in_flight - before.in_flight + now.in_flight;
        self.totals.slots = self.totals.slots - before.slots + now.slots;
        self.totals.starting = self.totals.starting - before.starting + now.starting;
    }
}

/// Whether a call that ended leaves an idle worker behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeavesWarm {
    Yes,
    No,
}

// === impl FunctionState ===

impl FunctionState {
    fn forget_idle(&mut self, place: RunnerPlace) {
        let Some(workers) = self.workers.get_mut(&place) else { return };
        if workers.idle > 0 {
            workers.idle = 0;
            let position = workers.position;
            self.take_from_warm(position);
        }
    }

    /// Keeps no entry of a runner on which nothing of the function is: functions times runners would be many.
    fn forget_empty(&mut self, place: RunnerPlace) {
        if self.workers.get(&place).is_some_and(|workers| workers.idle == 0 && workers.own == 0) {
            self.workers.remove(&place);
        }
    }

    fn take_from_warm(&mut self, position: u32) {
        self.warm_on.swap_remove(position as usize);
        if let Some(moved) = self.warm_on.get(position as usize).copied()
            && let Some(workers) = self.workers.get_mut(&moved)
        {
            workers.position = position;
        }
    }
}
