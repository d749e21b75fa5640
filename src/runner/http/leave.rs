//! What is remembered of an agent that drains: it gets no more calls until it says that it is ready.
//!
//! The gate of an agent that drains stays closed for the rest of its life, and at the end of that its listener and its connections close. A
//! call that arrives in that moment is lost, though it did not run, since nobody can prove that (P1 forbids another try). A question that
//! is lost harms nobody. So the first refusal with the word `draining` is the last that calls see of this agent, and whether another one has taken its
//! address is found out with questions.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Until the next question, at least. Calls that come between two questions count as refused.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(50);

/// Whether an agent has taken its leave.
#[derive(Debug, Default)]
pub(super) struct Leave {
    /// Protects the state; held for a look.
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// It takes calls, for all that is known.
    #[default]
    Here,
    /// It has said that it drains, and was asked last at that time.
    Gone { asked: Option<Instant> },
}

/// What is to be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Try it.
    Try,
    /// Ask whether somebody is ready there; then tell [`Leave::is_back`].
    Ask,
    /// Count it as refused.
    Refuse,
}

impl Leave {
    /// What is to be done with a call that comes `now`.
    pub(super) fn way(&self, now: Instant) -> Way {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Here => Way::Try,
            State::Gone { asked: Some(asked) } if now.saturating_duration_since(asked) < BETWEEN_QUESTIONS => Way::Refuse,
            State::Gone { .. } => {
                *state = State::Gone { asked: Some(now) };
                Way::Ask
            }
        }
    }

    /// The agent has said that it drains.
    pub(super) fn is_taken(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Here) {
            *state = State::Gone { asked: None };
        }
    }

    /// Somebody at its address is ready.
    pub(super) fn is_back(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Here;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_is_asked_now_and_then_until_it_is_back() {
        let (leave, now) = (Leave::default(), Instant::now());
        assert_eq!(leave.way(now), Way::Try);
        leave.is_taken();
        assert_eq!(leave.way(now), Way::Ask, "the first call need not wait");
        leave.is_taken();
        assert_eq!(leave.way(now), Way::Refuse, "calls that were under way change nothing");
        assert_eq!(leave.way(now + BETWEEN_QUESTIONS), Way::Ask);
        assert_eq!(leave.way(now + BETWEEN_QUESTIONS), Way::Refuse);
        leave.is_back();
        assert_eq!(leave.way(now + BETWEEN_QUESTIONS), Way::Try);
    }
}
