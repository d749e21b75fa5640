//! What every peer keeps: the runners and functions it was told of, and its own calls.

use std::collections::HashMap;

use crate::placement::{Admission, CallNumber, Event, FunctionNumber, GaveUp, RunnerChange, Step};
use crate::pool::RunnerPlace;

/// A runner as a peer knows it.
#[derive(Clone, Debug)]
pub(super) struct KnownRunner {
    pub(super) place: RunnerPlace,
    pub(super) name: String,
    pub(super) slots: u32,
    /// Our own calls there.
    pub(super) in_flight: u32,
    /// Calls there by its last whole report.
    pub(super) reported: u32,
}

/// Runners, functions and calls.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The runners that may be tried, by place.
    pub(super) runners: Vec<KnownRunner>,
    /// The functions' names.
    pub(super) functions: Vec<String>,
    /// Which function each call is of, and where it is.
    calls: HashMap<CallNumber, (FunctionNumber, Option<RunnerPlace>)>,
}

impl Known {
    /// Takes note of an event. Answers the function and runner of the call that it ended or refused.
    pub(super) fn note(&mut self, event: &Event) -> Option<(FunctionNumber, RunnerPlace)> {
        match event {
            Event::Function { function, facts } => {
                let index = function.0 as usize;
                if self.functions.len() <= index {
                    self.functions.resize(index + 1, String::new());
                }
                self.functions[index].clone_from(&facts.name);
                None
            }
            Event::RunnersChanged { changes } => {
                changes.iter().for_each(|change| self.change(change));
                None
            }
            Event::Arrived { call, function, .. } => {
                self.calls.insert(*call, (*function, None));
                None
            }
            Event::Refused { call, .. } => {
                let (function, place) = self.calls.get_mut(call)?;
                let (function, place) = (*function, place.take()?);
                self.left(place);
                Some((function, place))
            }
            Event::Ended { call, .. } => {
                let (function, place) = self.calls.remove(call)?;
                self.left(place?);
                Some((function, place?))
            }
            Event::Reported { runner, in_flight, .. } => {
                if let Some(known) = self.runner_mut(*runner) {
                    known.reported = *in_flight;
                }
                None
            }
            _ => None,
        }
    }

    /// Sends a call to a runner.
    pub(super) fn try_on(&mut self, call: CallNumber, runner: RunnerPlace, steps: &mut Vec<Step>) {
        steps.push(Step::Try { call, runner, attempt: 0 });
        if let Some((_, place)) = self.calls.get_mut(&call) {
            *place = Some(runner);
        }
        if let Some(known) = self.runner_mut(runner) {
            known.in_flight += 1;
        }
    }

    /// The function of a call.
    pub(super) fn function(&self, call: CallNumber) -> FunctionNumber {
        self.calls.get(&call).map_or(FunctionNumber(0), |(function, _)| *function)
    }

    /// Where a call is.
    pub(super) fn place(&self, call: CallNumber) -> Option<RunnerPlace> {
        self.calls.get(&call)?.1
    }

    /// A function's name, hashed.
    pub(super) fn key(&self, function: FunctionNumber) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.functions.get(function.0 as usize).map_or(&[], String::as_bytes))
    }

    /// Gives a call up: nobody is there.
    pub(super) fn give_up(&mut self, call: CallNumber, steps: &mut Vec<Step>) {
        self.calls.remove(&call);
        steps.push(Step::GiveUp { call, why: GaveUp::NoRunner, retry_after: None });
    }

    fn runner_mut(&mut self, place: RunnerPlace) -> Option<&mut KnownRunner> {
        // Sorted by place.
        let index = self.runners.binary_search_by_key(&place, |known| known.place).ok()?;
        self.runners.get_mut(index)
    }

    fn left(&mut self, runner: RunnerPlace) {
        if let Some(known) = self.runner_mut(runner) {
            known.in_flight = known.in_flight.saturating_sub(1);
        }
    }

    fn change(&mut self, change: &RunnerChange) {
        match change {
            RunnerChange::Set { runner, facts } if facts.admission != Admission::Closed => {
                if self.runners.iter().all(|known| known.place != *runner) {
                    let slots = facts.slots.unwrap_or(1);
                    self.runners.push(KnownRunner { place: *runner, name: facts.name.clone(), slots, in_flight: 0, reported: 0 });
                    self.runners.sort_by_key(|known| known.place);
                }
            }
            RunnerChange::Set { runner, .. } | RunnerChange::Left { runner } => {
                self.runners.retain(|known| known.place != *runner);
            }
        }
    }
}
