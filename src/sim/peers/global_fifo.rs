//! `global-fifo`: one queue in front of all runners, and perfect knowledge of them.
//!
//! The oldest call is always next. It goes to a runner with a free slot: one with an idle worker of its function if there is one, else the
//! one with the fewest calls that has memory. The rule looks at the runners themselves, which nothing real can do: it shows that information alone
//! does not decide, and is the bound of what first-come-first-served can reach.

use std::collections::{HashMap, VecDeque};

use super::known::Known;
use crate::placement::{CallNumber, Event, FunctionNumber, GaveUp, Moment, Step};
use crate::pool::RunnerPlace;
use crate::sim::rule::Rule;
use crate::sim::runner::ModelRunner;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct GlobalFifo {
    known: Known,
    waiting: VecDeque<(CallNumber, Moment)>,
    /// Idle workers that calls on their way will take.
    claimed: HashMap<(RunnerPlace, FunctionNumber), u32>,
    /// When such a call will have reached its runner.
    on_their_way: VecDeque<(Moment, RunnerPlace, FunctionNumber)>,
}

/// Longer than half a round trip, and short.
const ON_THE_WAY: std::time::Duration = std::time::Duration::from_micros(260);

impl GlobalFifo {
    fn serve(&mut self, now: Moment, truth: &[ModelRunner], steps: &mut Vec<Step>) {
        while let Some((_, runner, function)) = self.on_their_way.front().copied().filter(|(at, ..)| *at <= now) {
            self.on_their_way.pop_front();
            if let Some(claimed) = self.claimed.get_mut(&(runner, function)) {
                *claimed = claimed.saturating_sub(1);
            }
        }
        while let Some((call, give_up_at)) = self.waiting.front().copied() {
            if give_up_at <= now {
                self.waiting.pop_front();
                steps.push(Step::GiveUp { call, why: GaveUp::PlacerTimeout, retry_after: None });
                continue;
            }
            let Some(runner) = self.choose(self.known.function(call), truth) else { break };
            self.waiting.pop_front();
            let function = self.known.function(call);
            *self.claimed.entry((runner, function)).or_default() += 1;
            self.on_their_way.push_back((now + ON_THE_WAY, runner, function));
            self.known.try_on(call, runner, steps);
        }
    }

    fn choose(&self, function: FunctionNumber, truth: &[ModelRunner]) -> Option<RunnerPlace> {
        let key = |index: usize| {
            let runner = &self.known.runners[index];
            let model = truth.get(runner.place.0 as usize)?;
            let claimed = self.claimed.get(&(runner.place, function)).copied().unwrap_or(0);
            let is_warm = model.idle_workers(function) > claimed;
            (runner.in_flight < runner.slots && (is_warm || model.has_memory_for(function))).then_some((
                !is_warm,
                runner.in_flight,
                runner.place,
            ))
        };
        (0..self.known.runners.len()).filter_map(key).min().map(|(_, _, place)| place)
    }
}

impl Rule for GlobalFifo {
    fn step(&mut self, event: &Event, now: Moment, truth: &[ModelRunner], steps: &mut Vec<Step>) {
        self.known.note(event);
        match event {
            Event::Arrived { call, give_up_at, .. } => self.waiting.push_back((*call, *give_up_at)),
            Event::Refused { call, .. } => self.waiting.push_front((*call, now + std::time::Duration::from_secs(360))),
            Event::Ended { .. } => {}
            _ => return,
        }
        self.serve(now, truth, steps);
    }
}
