//! What goes wrong, and when the pool sees it.

use super::{Happening, Run, place};
use crate::placement::{Admission, Event, Moment, RunnerChange, RunnerFacts, Step};
use crate::sim::runner::Health;
use crate::sim::setup::FaultKind;

impl<F> Run<'_, F>
where
    F: FnMut(usize, Moment, &Event, &[Step]),
{
    pub(super) fn fault(&mut self, index: usize, is_begin: bool, now: u64) {
        let fault = self.setup.faults[index];
        let model = &mut self.runners[fault.runner];
        match (fault.kind, is_begin) {
            (FaultKind::Antagonist(share), _) => {
                model.set_factor(if is_begin { share } else { 1.0 }, now);
                self.shared_changed(place(fault.runner).0);
            }
            (_, false) => model.set_health(Health::Up),
            (FaultKind::FailsFast, true) => model.set_health(Health::FailsFast),
            (FaultKind::Killed, true) => {
                model.set_health(Health::Down);
                self.lives[fault.runner] += 1;
                self.turns[fault.runner] += 1;
                for balancer in self.runners[fault.runner].waiting_for_room() {
                    self.queue.add(now + self.half_trip, Happening::NoRoom { balancer, runner: place(fault.runner).0 });
                }
                for call in self.runners[fault.runner].lose_all() {
                    self.queue.add(now + self.half_trip, Happening::Failure { call, news: None });
                }
            }
        }
    }

    pub(super) fn detected(&mut self, index: usize, is_begin: bool, now: u64) {
        let fault = self.setup.faults[index];
        let mut change = self.joined(fault.runner);
        if is_begin {
            match (&mut change, fault.kind) {
                (RunnerChange::Set { facts, .. }, FaultKind::FailsFast) => facts.admission = Admission::Closed,
                _ => change = RunnerChange::Left { runner: place(fault.runner) },
            }
        }
        let event = Event::RunnersChanged { changes: vec![change] };
        for balancer in 0..self.rules.len() {
            self.tell(balancer, &event, now);
            self.tell(balancer, &Event::HomesMade, now);
        }
    }

    pub(super) fn joined(&self, runner: usize) -> RunnerChange {
        let facts = RunnerFacts {
            name: format!("runner-{runner}"),
            weight: 100,
            admission: Admission::Open,
            max_in_flight: 0,
            slots: Some(self.setup.runners[runner].slots),
        };
        RunnerChange::Set { runner: place(runner), facts }
    }
}
