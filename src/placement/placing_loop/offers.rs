//! Offers: whose turn it is when a runner has room, and who looks when.

use std::time::Duration;

use rand::Rng as _;

use super::calls::Stage;
use super::{Alarm, PlacingLoop};
use crate::placement::event::{CallNumber, EndedHow, FunctionNumber, RunnerNews, Step};
use crate::placement::moment::Moment;
use crate::placement::placers::{Offer, Pull};
use crate::placement::view::Expected;
use crate::pool::RunnerPlace;

/// Runners that are offered in one step of a round.
const AT_ONCE: usize = 128;

/// How soon the rest of a round of offers follows.
const SOON: Duration = Duration::from_millis(1);

impl PlacingLoop {
    /// Offers a runner's room to the waiting calls, as long as there is any of either.
    pub(super) fn offer(&mut self, runner: RunnerPlace, now: Moment, steps: &mut Vec<Step>) {
        while !self.queue.is_empty() && self.view.runner(runner).is_some_and(|known| known.room() > 0) {
            let mut given = false;
            // The group whose next call is fairest is asked first.
            let mut turns = std::mem::take(&mut self.turns);
            turns.clear();
            turns.extend((0..self.groups.len()).filter_map(|group| {
                let first = self.queue.functions(group).next()?;
                Some((self.queue.virtual_time(first), self.queue.head(first)?.since, group))
            }));
            turns.sort_unstable();
            for (_, _, group) in &turns {
                if self.offer_to(*group, runner, now, steps) {
                    given = true;
                    break;
                }
            }
            self.turns = turns;
            if !given {
                break;
            }
        }
        if !self.queue.is_empty() && self.view.begin_asking_for_room(runner) {
            steps.push(Step::AskRoom { runner });
        }
    }

    /// Offers a runner's room to one group once. Whether somebody took it.
    fn offer_to(&mut self, group: usize, runner: RunnerPlace, now: Moment, steps: &mut Vec<Step>) -> bool {
        while self.queue.waiting_functions(group) > 0 {
            let offer = Offer { view: &self.view, queue: &self.queue, group, runner, now, random: &mut self.random };
            let (function, reason) = match self.groups[group].placer.pull(offer) {
                Pull::Give(function, reason) if self.view.can_take(runner, function) => (function, reason),
                Pull::Give(..) => return false,
                Pull::Leave(again) => {
                    if let Some(at) = again {
                        self.look_again(at.max(now + Duration::from_micros(100)));
                    }
                    return false;
                }
            };
            let Some(head) = self.queue.head(function) else { return false };
            if self.calls.get(&head.call).is_some_and(|state| state.give_up_at() <= now) {
                // Its alarm is due, and the next is offered the room.
                self.give_up(head.call, now, steps);
                continue;
            }
            let charge = self.view.function(function).service();
            self.queue.pop(function, charge, now);
            if let Some(state) = self.calls.get_mut(&head.call) {
                self.alarms.remove(&(state.give_up_at(), Alarm::GiveUp(head.call)));
                if let Stage::Waiting(since) = state.stage {
                    state.waited += now - since;
                }
            }
            self.try_on(head.call, runner, reason, now, steps);
            return true;
        }
        false
    }

    /// Offers the homes of a function that has come to wait, and a few other runners with room. All of them would cost as much as there are, for every
    /// call that waits; the others have been offered to whoever waited before.
    pub(super) fn offer_near(&mut self, function: FunctionNumber, now: Moment, steps: &mut Vec<Step>) {
        const OTHERS: usize = 8;
        let group = self.group_of[function.index()];
        let start = self.random.next_u64() % u64::from(self.view.places().max(1));
        let mut near = std::mem::take(&mut self.near);
        near.clear();
        near.extend(self.view.function(function).homes());
        near.extend(self.view.open_from(start as u32).take(OTHERS));
        for runner in &near {
            while self.view.runner(*runner).is_some_and(|known| known.room() > 0) && self.offer_to(group, *runner, now, steps) {}
        }
        self.near = near;
    }

    /// Offers runners with room to one group: so many in one step, and the others soon after, so that a step stays short in a pool of any size.
    fn offer_open(&mut self, group: usize, now: Moment, steps: &mut Vec<Step>) {
        let mut near = std::mem::take(&mut self.near);
        near.clear();
        near.extend(self.view.open_from(self.offer_from).take(AT_ONCE.min(self.offer_left)));
        for runner in &near {
            while self.queue.waiting_functions(group) > 0
                && self.view.runner(*runner).is_some_and(|known| known.room() > 0)
                && self.offer_to(group, *runner, now, steps)
            {}
            if self.queue.waiting_functions(group) == 0 {
                break;
            }
        }
        self.offer_from = near.last().map_or(0, |runner| runner.0.wrapping_add(1)) % self.view.places().max(1);
        self.near = near;
    }

    /// Sees to it that runners with room are offered again at a time.
    fn look_again(&mut self, at: Moment) {
        if self.offer_at.is_some_and(|known| known <= at) {
            return;
        }
        if let Some(later) = self.offer_at.replace(at) {
            self.alarms.remove(&(later, Alarm::Offer));
        }
        self.alarms.insert((at, Alarm::Offer));
    }

    /// Asks runners that are full by what others have there to say when they have room: no more than there are waiting calls, the function's homes first.
    pub(super) fn ask_for_room(&mut self, function: FunctionNumber, steps: &mut Vec<Step>) {
        const OTHERS: usize = 8;
        let homes = self.view.function(function).homes().to_vec();
        let start = self.random.next_u64() % u64::from(self.view.places().max(1));
        let places = self.view.places();
        let others = (0..places.min(OTHERS as u32)).map(|step| RunnerPlace((start as u32 + step) % places.max(1)));
        for runner in homes.into_iter().chain(others) {
            if self.view.begin_asking_for_room(runner) {
                steps.push(Step::AskRoom { runner });
            }
        }
    }

    pub(super) fn no_room(&mut self, runner: RunnerPlace, again_after: Duration, now: Moment, steps: &mut Vec<Step>) {
        self.view.not_granted(runner, now + again_after);
        if again_after.is_zero() {
            self.offer(runner, now, steps);
        } else {
            self.alarms.insert((now + again_after, Alarm::Pause(runner)));
        }
    }

    pub(super) fn ring_alarms(&mut self, now: Moment, steps: &mut Vec<Step>) {
        while let Some((at, alarm)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, alarm));
            match alarm {
                Alarm::GiveUp(call) => self.give_up(call, now, steps),
                Alarm::Started(call) => self.started(call, now, steps),
                // Its worker was killed, as far as we know: no warm one is counted on. Of its real end nobody has to know.
                Alarm::RunIsOver(call) => self.ended(call, EndedHow::Withdrawn, &RunnerNews::default(), now, steps),
                Alarm::Pause(runner) => {
                    if !self.view.is_pause_over(runner, now) {
                        continue;
                    }
                    if !self.queue.is_empty()
                        && let Err(later) = self.budget.take(now)
                    {
                        self.alarms.insert((later, Alarm::Pause(runner)));
                        continue;
                    }
                    if self.view.pause_is_over(runner, now) {
                        self.offer(runner, now, steps);
                    }
                }
                Alarm::Offer => {
                    self.offer_at = None;
                    // A round goes once over the runners with room, however many; then only a placer asks for another.
                    if self.offer_left == 0 {
                        self.offer_left = self.view.open_count();
                    }
                    let from = self.offer_from;
                    for group in 0..self.groups.len() {
                        self.offer_from = from;
                        self.offer_open(group, now, steps);
                    }
                    let is_over = self.queue.is_empty();
                    self.offer_left = if is_over { 0 } else { self.offer_left.saturating_sub(AT_ONCE) };
                    if self.offer_left > 0 {
                        self.look_again(now + SOON);
                    }
                }
            }
        }
    }

    /// The answer of a call does not come before the call has run: the start of its worker was over long before.
    fn started(&mut self, call: CallNumber, now: Moment, steps: &mut Vec<Step>) {
        let Some(Stage::Tried(hold)) = self.calls.get_mut(&call).map(|state| &mut state.stage) else { return };
        if hold.expected != Expected::Cold {
            return;
        }
        hold.expected = Expected::Started;
        let (runner, life) = (hold.runner, hold.life);
        if self.view.life(runner) == life {
            self.view.start_is_over(runner, Expected::Cold);
            self.offer(runner, now, steps);
        }
    }
}
