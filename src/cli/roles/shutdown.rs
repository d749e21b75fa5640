//! The order in which a process that serves ends, as a state machine: no signals, no clock.

use std::time::Instant;

use crate::front::ShutdownConfig;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody wants the process to end (SIGTERM, SIGINT).
    Terminate,
    /// Whoever the process works for is gone: nobody is left to be told that it is not ready.
    Abandoned,
    /// The time of [`Shutdown::due`] has come.
    Due,
    /// The last call in flight has ended, after the listeners closed.
    Closed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Say from now on that we are not ready; go on taking calls.
    BecomeUnready,
    /// Close the listeners and wait for the calls in flight.
    Close,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every call had its answer.
    Clean,
    /// The deadline cut calls off.
    Cut,
    /// A second signal cut everything off.
    AtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    Grace { until: Instant },
    Closing { until: Instant },
    Ended(Ending),
}

/// The way to the end.
///
/// | phase | event | next phase | actions |
/// |---|---|---|---|
/// | ready | terminate | grace; closing if there is none | become unready (and close) |
/// | ready | abandoned | closing | become unready, close |
/// | grace | due, abandoned | closing | close |
/// | grace, closing | terminate | ended at once | |
/// | closing | closed | ended clean | |
/// | closing | due (deadline) | ended, cut | |
///
/// Every other pair changes nothing.
#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    times: ShutdownConfig,
    phase: Phase,
}

impl Shutdown {
    pub(super) fn new(times: &ShutdownConfig) -> Self {
        Self { times: times.clone(), phase: Phase::Ready }
    }

    /// When [`Event::Due`] is wanted.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Grace { until } | Phase::Closing { until } => Some(until),
            Phase::Ready | Phase::Ended(_) => None,
        }
    }

    /// How it ended, once it has.
    pub(super) const fn ending(&self) -> Option<Ending> {
        match self.phase {
            Phase::Ended(ending) => Some(ending),
            Phase::Ready | Phase::Grace { .. } | Phase::Closing { .. } => None,
        }
    }

    /// Takes an event in; what is to be done comes out, in order.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let closing = Phase::Closing { until: now + self.times.deadline };
        let (next, actions) = match (self.phase, event) {
            (Phase::Ready, Event::Terminate) if !self.times.grace.is_zero() => {
                (Phase::Grace { until: now + self.times.grace }, vec![Action::BecomeUnready])
            }
            (Phase::Ready, Event::Terminate | Event::Abandoned) => (closing, vec![Action::BecomeUnready, Action::Close]),
            (Phase::Grace { .. }, Event::Abandoned) => (closing, vec![Action::Close]),
            (Phase::Grace { until }, Event::Due) if now >= until => (closing, vec![Action::Close]),
            (Phase::Grace { .. } | Phase::Closing { .. }, Event::Terminate) => (Phase::Ended(Ending::AtOnce), vec![]),
            (Phase::Closing { .. }, Event::Closed) => (Phase::Ended(Ending::Clean), vec![]),
            (Phase::Closing { until }, Event::Due) if now >= until => (Phase::Ended(Ending::Cut), vec![]),
            (phase, _) => (phase, vec![]),
        };
        self.phase = next;
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shutdown(grace_s: u64) -> (Shutdown, Instant) {
        let times = ShutdownConfig { grace: Duration::from_secs(grace_s), deadline: Duration::from_secs(30) };
        (Shutdown::new(&times), Instant::now())
    }

    #[test]
    fn unready_first_then_the_listeners_close_then_it_ends_with_the_last_call() {
        let (mut shutdown, now) = shutdown(2);
        assert_eq!(shutdown.due(), None);
        assert_eq!(shutdown.step(Event::Terminate, now), [Action::BecomeUnready]);
        let grace_end = shutdown.due().unwrap();
        assert_eq!(grace_end, now + Duration::from_secs(2));
        assert_eq!(shutdown.step(Event::Due, now), [], "not before its time");
        assert_eq!(shutdown.step(Event::Due, grace_end), [Action::Close]);
        assert_eq!(shutdown.due(), Some(grace_end + Duration::from_secs(30)));
        assert_eq!(shutdown.ending(), None);
        shutdown.step(Event::Closed, grace_end);
        assert_eq!(shutdown.ending(), Some(Ending::Clean));
    }

    #[test]
    fn calls_that_do_not_end_are_cut_at_the_deadline() {
        let (mut shutdown, now) = shutdown(0);
        assert_eq!(shutdown.step(Event::Terminate, now), [Action::BecomeUnready, Action::Close]);
        shutdown.step(Event::Due, shutdown.due().unwrap());
        assert_eq!(shutdown.ending(), Some(Ending::Cut));
    }

    #[test]
    fn a_second_signal_ends_it_at_once_in_every_phase() {
        for grace_s in [0, 2] {
            let (mut shutdown, now) = shutdown(grace_s);
            shutdown.step(Event::Terminate, now);
            assert_eq!(shutdown.step(Event::Terminate, now), []);
            assert_eq!(shutdown.ending(), Some(Ending::AtOnce));
        }
    }

    #[test]
    fn without_a_parent_there_is_no_grace() {
        let (mut shutdown, now) = shutdown(2);
        assert_eq!(shutdown.step(Event::Abandoned, now), [Action::BecomeUnready, Action::Close]);
        let (mut shutdown, now) = self::shutdown(2);
        shutdown.step(Event::Terminate, now);
        assert_eq!(shutdown.step(Event::Abandoned, now), [Action::Close]);
    }
}
