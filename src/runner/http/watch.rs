//! The clock of a connection to a runner: one timer, moved seldom.
//!
//! A timer for each call would be made and unmade thousands of times a second. So there is one, and it looks at the deadline only now and then: without work for a call
//! that is answered.

use std::num::NonZero;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
    /// How long the timer sleeps at most. In few bytes, as a connection has little else when it is idle.
    tick_millis: u32,
    /// The task that the timer wakes. A task that has used up its budget of the runtime is woken without having been heard.
    wakes: Option<TaskId>,
}

/// Tells a task from others as long as somebody holds a waker of it: such as a timer or a socket that is to wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskId(NonZero<usize>);

impl TaskId {
    /// The task that is to be woken.
    fn of(cx: &Context<'_>) -> Option<Self> {
        NonZero::new(cx.waker().data().addr()).map(Self)
    }
}

/// The longest time between two looks.
const LONGEST_TICK: Duration = Duration::from_secs(5);

impl Watch {
    /// A clock whose shortest limit is `shortest`.
    pub(super) fn new(now: Instant, shortest: Duration) -> Self {
        let tick = shortest.clamp(Duration::from_millis(1), LONGEST_TICK);
        let first = now + tick;
        Self {
            timer: Box::pin(sleep_until(first)),
            deadline: first,
            tick_millis: u32::try_from(tick.as_millis()).unwrap_or(u32::MAX),
            wakes: None,
        }
    }

    /// What follows must be over by then: noticed in time even if it is sooner than the next look.
    pub(super) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.timer.deadline() {
            self.wakes = None;
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Ready when the deadline has passed.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // To be told once more whom to wake costs the timer a few atomic operations.
        let task = TaskId::of(cx);
        if task.is_some() && self.wakes == task && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        self.wakes = None;
        loop {
            let asks = has_budget_remaining();
            if self.timer.as_mut().poll(cx).is_pending() {
                self.wakes = task.filter(|_| asks);
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.deadline.min(now + Duration::from_millis(self.tick_millis.into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::coop::consume_budget;

    #[tokio::test(start_paused = true)]
    async fn a_task_without_budget_is_woken_all_the_same_when_the_time_is_over() {
        let limit = Duration::from_secs(2);
        let mut watch = Watch::new(Instant::now(), limit);
        watch.set(Instant::now() + limit);
        while has_budget_remaining() {
            consume_budget().await;
        }
        let expired = poll_fn(|cx| watch.poll_expired(cx));
        assert!(tokio::time::timeout(limit * 10, expired).await.is_ok());
    }
}
