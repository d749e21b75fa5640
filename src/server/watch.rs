//! The clock of a client's connection: a deadline, looked at when the connections of its listener are.
//!
//! Every step of a connection has a time by which it must be over. A timer for each would be made and unmade several times a request, and one for each connection would be
//! as large as the rest of an idle one. So there is none: the [`Crowd`] wakes each connection once a tick, and it looks at its deadline then, one tick late at most.
//! What is to be noticed in time has a timer of its own, for as long as it lasts.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::crowd::Crowd;

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    crowd: Crowd,
    deadline: Instant,
    /// When the deadline was looked at last: as [`Crowd::looks`] counts.
    looked: u32,
    /// Rings at the deadline, if that is soon.
    soon: Option<Pin<Box<Sleep>>>,
}

/// The longest tick: a deadline that is not set as one that is soon is noticed so late at most.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// How often connections look at their deadlines of which the shortest is this far away.
pub(super) fn tick(shortest: Duration) -> Duration {
    shortest.clamp(Duration::from_millis(1), LONGEST_TICK)
}

impl Watch {
    /// A clock of a connection of this crowd.
    pub(super) fn new(crowd: Crowd, deadline: Instant) -> Self {
        let looked = crowd.looks();
        Self { crowd, deadline, looked, soon: None }
    }

    /// What follows must be over by then.
    pub(super) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.soon = None;
    }

    /// The same, noticed in time.
    pub(super) fn set_soon(&mut self, deadline: Instant) {
        self.deadline = deadline;
        match &mut self.soon {
            Some(timer) if timer.deadline() == deadline => {}
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.soon = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Ready when the deadline has passed.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rings = self.soon.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        let looks = self.crowd.looks();
        if !rings && looks == self.looked {
            return Poll::Pending;
        }
        // Who finds it over and sets no other deadline finds it over again.
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        self.looked = looks;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    /// When a deadline that is `limit` away is noticed.
    async fn noticed(limit: Duration, set: impl FnOnce(&mut Watch, Instant) + Send + 'static) -> Duration {
        let (crowd, began) = (Crowd::default(), Instant::now());
        let mut watch = Watch::new(crowd.clone(), began + 100 * LONGEST_TICK);
        let connection = crowd.admit(async move {
            set(&mut watch, began + limit);
            // A task that has used up its budget of the runtime is woken without having been heard.
            while has_budget_remaining() {
                consume_budget().await;
            }
            poll_fn(|cx| watch.poll_expired(cx)).await;
        });
        let connection = tokio::spawn(connection);
        tokio::select! {
            never = crowd.keep_time(LONGEST_TICK) => match never {},
            ended = connection => ended.unwrap(),
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_noticed_within_a_tick_and_one_that_is_soon_at_once() {
        let limit = Duration::from_secs(7);
        let taken = noticed(limit, Watch::set).await;
        assert!((limit..=limit + LONGEST_TICK).contains(&taken), "noticed after {taken:?}");
        let taken = noticed(limit, Watch::set_soon).await;
        assert!((limit..=limit + Duration::from_millis(2)).contains(&taken), "noticed after {taken:?}");
        let later = move |watch: &mut Watch, deadline: Instant| {
            watch.set_soon(deadline - limit / 2);
            watch.set_soon(deadline);
        };
        let taken = noticed(limit, later).await;
        assert!((limit..=limit + Duration::from_millis(2)).contains(&taken), "noticed after {taken:?}");
    }
}
