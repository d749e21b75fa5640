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
mod calls;
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
use super::event::{FunctionFacts, FunctionNumber, RefusedKind, RunnerFacts};
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
