//! The life of one local runner, as a state machine: no process, no clock, no task.

use std::time::{Duration, Instant};

/// The times that rule a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a process may take until it announces where it listens.
    pub start_limit: Duration,
    /// The pause before a dead runner is started again: doubled with each death, from the first to the second.
    pub pause: (Duration, Duration),
    /// A runner that lived so long starts with the shortest pause again.
    pub steady_after: Duration,
    /// How long ending may take before the process is killed.
    pub deadline: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            start_limit: Duration::from_secs(30),
            pause: (Duration::from_millis(100), Duration::from_secs(5)),
            steady_after: Duration::from_secs(10),
            deadline: Duration::from_secs(35),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The time of [`RunnerLife::due`] has come.
    Due,
    /// The process said where it listens.
    Announced,
    /// The process said something else, or closed its output.
    Garbled,
    /// The process ended and was reaped, or could not be started at all.
    Exited,
    /// The fleet is to end.
    End,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process.
    Start,
    /// Let others know where it listens.
    Publish,
    /// Let others know that it is gone.
    Withdraw,
    /// Ask the process to end (SIGTERM).
    Terminate,
    /// End the process (SIGKILL).
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No process; the next one starts then.
    Pausing { until: Instant },
    /// A process that has not said yet where it listens.
    Starting { since: Instant },
    /// It listens.
    Running { since: Instant },
    /// It was killed for not starting as it should; not reaped yet.
    Doomed,
    /// It was asked to end.
    Ending { until: Instant },
    /// It was killed for not ending in time; not reaped yet.
    Killed,
    /// No process, and none will come.
    Ended,
}

/// One runner, from its first process to its last.
///
/// | state | event | next state | actions |
/// |---|---|---|---|
/// | pausing | due | starting | start |
/// | pausing | end | ended | |
/// | starting | announced | running | publish |
/// | starting | due (start limit), garbled | doomed | kill |
/// | starting | exited | pausing | |
/// | starting | end | ending | terminate |
/// | running | exited | pausing | withdraw |
/// | running | end | ending | withdraw, terminate |
/// | doomed | exited | pausing | |
/// | doomed | end | killed | |
/// | ending | due (deadline) | killed | kill |
/// | ending, killed | exited | ended | |
///
/// Every other pair changes nothing: the events of a process may arrive late.
#[derive(Clone, Debug)]
pub struct RunnerLife {
    timing: Timing,
    state: State,
    /// Deaths in a row of runners that were not steady yet.
    deaths: u32,
}

impl RunnerLife {
    /// A runner whose first process is due now.
    pub const fn new(timing: Timing, now: Instant) -> Self {
        Self { timing, state: State::Pausing { until: now }, deaths: 0 }
    }

    /// When [`Event::Due`] is wanted.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Pausing { until } | State::Ending { until } => Some(until),
            State::Starting { since } => Some(since + self.timing.start_limit),
            State::Running { .. } | State::Doomed | State::Killed | State::Ended => None,
        }
    }

    /// Whether it is over: no process is left, and none will come.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes an event in; what is to be done comes out, in order. A `Start` that failed is to be answered with [`Event::Exited`].
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let (next, actions) = match (self.state, event) {
            (State::Pausing { until }, Event::Due) if now >= until => (State::Starting { since: now }, vec![Action::Start]),
            (State::Pausing { .. }, Event::End) => (State::Ended, vec![]),

            (State::Starting { .. }, Event::Announced) => (State::Running { since: now }, vec![Action::Publish]),
            (State::Starting { since }, Event::Due) if now >= since + self.timing.start_limit => {
                (State::Doomed, vec![Action::Kill])
            }
            (State::Starting { .. }, Event::Garbled) => (State::Doomed, vec![Action::Kill]),
            (State::Starting { .. } | State::Doomed, Event::Exited) => (self.pause(now), vec![]),
            (State::Starting { .. }, Event::End) => (self.ending(now), vec![Action::Terminate]),

            (State::Running { since }, Event::Exited) => {
                if now.saturating_duration_since(since) >= self.timing.steady_after {
                    self.deaths = 0;
                }
                (self.pause(now), vec![Action::Withdraw])
            }
            (State::Running { .. }, Event::End) => (self.ending(now), vec![Action::Withdraw, Action::Terminate]),

            (State::Doomed, Event::End) => (State::Killed, vec![]),
            (State::Ending { until }, Event::Due) if now >= until => (State::Killed, vec![Action::Kill]),
            (State::Ending { .. } | State::Killed, Event::Exited) => (State::Ended, vec![]),

            (state, _) => (state, vec![]),
        };
        self.state = next;
        actions
    }

    fn ending(&self, now: Instant) -> State {
        State::Ending { until: now + self.timing.deadline }
    }

    fn pause(&mut self, now: Instant) -> State {
        let (shortest, longest) = self.timing.pause;
        let factor = 1_u32.checked_shl(self.deaths).unwrap_or(u32::MAX);
        self.deaths = self.deaths.saturating_add(1);
        State::Pausing { until: now + shortest.saturating_mul(factor).min(longest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMING: Timing = Timing {
        start_limit: Duration::from_secs(30),
        pause: (Duration::from_millis(100), Duration::from_secs(5)),
        steady_after: Duration::from_secs(10),
        deadline: Duration::from_secs(3),
    };

    /// A life and the time it is at.
    struct Bench {
        life: RunnerLife,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { life: RunnerLife::new(TIMING, now), now }
        }

        fn step(&mut self, event: Event) -> Vec<Action> {
            self.life.step(event, self.now)
        }

        /// Goes to the time that is due, and says how far that was.
        fn wait(&mut self) -> Duration {
            let due = self.life.due().unwrap();
            let waited = due.saturating_duration_since(self.now);
            self.now = due;
            waited
        }

        fn running() -> Self {
            let mut bench = Self::new();
            assert_eq!(bench.step(Event::Due), [Action::Start]);
            assert_eq!(bench.step(Event::Announced), [Action::Publish]);
            bench
        }
    }

    #[test]
    fn a_runner_is_published_when_it_listens_and_withdrawn_when_it_died() {
        let mut bench = Bench::running();
        assert_eq!(bench.life.due(), None);
        assert_eq!(bench.step(Event::Exited), [Action::Withdraw]);
        assert_eq!(bench.wait(), Duration::from_millis(100));
        assert_eq!(bench.step(Event::Due), [Action::Start]);
    }

    #[test]
    fn the_pause_grows_while_a_runner_keeps_dying_and_shrinks_after_a_steady_life() {
        let mut bench = Bench::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(bench.step(Event::Due), [Action::Start]);
            bench.step(Event::Exited);
            pauses.push(bench.wait().as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        bench.step(Event::Due);
        bench.step(Event::Announced);
        bench.now += TIMING.steady_after;
        bench.step(Event::Exited);
        assert_eq!(bench.wait(), Duration::from_millis(100));
    }

    #[test]
    fn a_runner_that_does_not_say_where_it_listens_is_killed_and_started_again() {
        for event in [Event::Due, Event::Garbled] {
            let mut bench = Bench::new();
            bench.step(Event::Due);
            assert_eq!(bench.step(Event::Due), [], "not before its time");
            bench.wait();
            assert_eq!(bench.step(event), [Action::Kill]);
            assert_eq!(bench.step(Event::Announced), [], "too late");
            assert_eq!(bench.step(Event::Exited), []);
            bench.wait();
            assert_eq!(bench.step(Event::Due), [Action::Start]);
        }
    }

    #[test]
    fn a_runner_that_does_not_end_in_time_is_killed() {
        let mut bench = Bench::running();
        assert_eq!(bench.step(Event::End), [Action::Withdraw, Action::Terminate]);
        assert_eq!(bench.wait(), TIMING.deadline);
        assert_eq!(bench.step(Event::Due), [Action::Kill]);
        assert!(!bench.life.is_ended());
        assert_eq!(bench.step(Event::Exited), []);
        assert!(bench.life.is_ended());
    }

    #[test]
    fn a_runner_without_process_ends_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.step(Event::End), []);
        assert!(bench.life.is_ended());
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![Just(Event::Due), Just(Event::Announced), Just(Event::Garbled), Just(Event::Exited), Just(Event::End)]
    }

    proptest! {
        /// Whatever happens in whatever order: there is never a second process, nothing is published twice, and what was told to end
        /// starts nothing any more.
        #[test]
        fn no_order_of_events_makes_two_processes(events in proptest::collection::vec((event(), 0..40_u64), 0..60)) {
            let mut bench = Bench::new();
            let (mut is_alive, mut is_published, mut is_told_to_end) = (false, false, false);
            for (event, seconds) in events {
                bench.now += Duration::from_secs(seconds);
                // Events of a process come only from one.
                if !is_alive && matches!(event, Event::Announced | Event::Garbled | Event::Exited) {
                    continue;
                }
                is_told_to_end |= event == Event::End;
                if event == Event::Exited {
                    is_alive = false;
                }
                for action in bench.step(event) {
                    match action {
                        Action::Start => {
                            prop_assert!(!is_alive && !is_told_to_end);
                            is_alive = true;
                        }
                        Action::Publish => prop_assert!(!std::mem::replace(&mut is_published, true)),
                        Action::Withdraw => prop_assert!(std::mem::replace(&mut is_published, false)),
                        Action::Terminate | Action::Kill => prop_assert!(is_alive),
                    }
                }
                prop_assert!(!bench.life.is_ended() || (!is_alive && !is_published));
                prop_assert!(!is_published || is_alive);
            }
        }
    }
}
