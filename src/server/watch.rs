//! The clock of a connection: one timer, moved seldom.
//!
//! The connections of clients have one, and those to runners. Every step of a connection has a time by which it must be over. A timer for each would be made and unmade several times a request. So there is one, and
//! it looks at the deadline only now and then: at most one shortest limit late, and without work for a connection that moves on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The clock of one connection.
#[derive(Debug)]
pub(crate) struct Watch {
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
    /// How long the timer sleeps at most.
    tick: Duration,
}

/// The longest tick: a deadline that is not set as one that is soon is noticed so late at most.
const LONGEST_TICK: Duration = Duration::from_secs(5);

impl Watch {
    /// A clock whose shortest limit is `shortest`.
    pub(crate) fn new(now: Instant, shortest: Duration) -> Self {
        let tick = shortest.clamp(Duration::from_millis(1), LONGEST_TICK);
        let first = now + tick;
        Self { timer: Box::pin(sleep_until(first)), deadline: first, tick }
    }

    /// What follows must be over by then.
    pub(crate) const fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The same, noticed in time even if it is sooner than the next look.
    pub(crate) fn set_soon(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.deadline.min(now + self.tick));
        }
        Poll::Pending
    }
}
