//! What happens at the runners: calls come, start and end; slots are lent.

use super::{Happening, Run};
use crate::placement::{Event, Moment, Step};
use crate::sim::runner::{Admitted, Started, Visitor};

impl<F> Run<'_, F>
where
    F: FnMut(usize, Moment, &Event, &[Step]),
{
    pub(super) fn reaches(&mut self, call: usize, runner: u32, now: u64) {
        let state = self.calls[call];
        let visitor =
            Visitor { call, function: state.call.function, service_ns: state.call.service_ns, balancer: state.balancer };
        let model = &mut self.runners[runner as usize];
        match model.admit(visitor, now) {
            Admitted::Runs(started) => {
                self.note_taken(runner, now);
                self.started(started, runner);
            }
            Admitted::Queued => self.note_taken(runner, now),
            Admitted::Refused(why) => {
                let news = model.news(state.call.function, state.balancer);
                self.queue.add(now + self.half_trip, Happening::Refusal { call, why, news });
            }
            Admitted::FailsAtOnce => {
                let news = model.news(state.call.function, state.balancer);
                self.queue.add(now + self.half_trip, Happening::Failure { call, news: Some(news) });
            }
        }
        // A slot that was kept may have been used up.
        self.watch_room(runner);
    }

    pub(super) fn note_taken(&mut self, runner: u32, now: u64) {
        let index = (now / 1_000_000_000) as usize * self.runners.len() + runner as usize;
        if self.record.taken.len() <= index {
            self.record.taken.resize((now / 1_000_000_000 + 1) as usize * self.runners.len(), 0);
        }
        self.record.taken[index] += 1;
        self.record.most_in_flight = self.record.most_in_flight.max(self.runners[runner as usize].in_flight());
    }

    pub(super) fn started(&mut self, started: Started, runner: u32) {
        self.calls[started.call].start = started.start;
        match started.ends_at {
            Some(at) => {
                self.queue.add(at, Happening::Ends { call: started.call, runner, life: self.lives[runner as usize] });
            }
            None => self.shared_changed(runner),
        }
    }

    pub(super) fn shared_changed(&mut self, runner: u32) {
        let turn = &mut self.turns[runner as usize];
        *turn += 1;
        if let Some(at) = self.runners[runner as usize].next_shared_end() {
            self.queue.add(at, Happening::SharedEnd { runner, turn: *turn });
        }
    }

    /// A call has run. Its answer tells the runner's load with this call still counted, as an agent's does.
    pub(super) fn ends(&mut self, call: usize, runner: u32, now: u64) {
        let state = self.calls[call];
        let model = &mut self.runners[runner as usize];
        let news = model.news_of_end(state.call.function, state.balancer, now);
        let lent = model.finish(call, now);
        self.queue.add(now + self.half_trip, Happening::Answer { call, start: state.start, news });
        self.lend(runner, lent, now);
    }

    /// Tells balancers that a slot of a runner is lent to them.
    pub(super) fn lend(&mut self, runner: u32, lent: Vec<u32>, now: u64) {
        for balancer in lent {
            self.queue.add(now + self.half_trip, Happening::Room { balancer, runner });
        }
        self.watch_room(runner);
    }

    /// What a runner does with freed slots.
    pub(super) fn after_end(&mut self, runner: u32, now: u64) {
        while let Some(started) = self.runners[runner as usize].start_next(now) {
            self.started(started, runner);
        }
        self.watch_room(runner);
    }

    pub(super) fn watch_room(&mut self, runner: u32) {
        if let Some(at) = self.runners[runner as usize].take_next_room() {
            self.queue.add(at, Happening::RoomDue { runner });
        }
    }
}
