//! The clock of a client's connection: a deadline, looked at when the connections of its listener are.
//!
//! Every step of a connection has a time by which it must be over. A timer for each would be made and unmade several times a request, and one for each connection would be
//! as large as the rest of an idle one. So there is none as long as the deadline is far: the [`Crowd`] wakes each connection once a tick, and it looks at its deadline then. When that is
//! nearer than the next look, it has a timer, and so it is always noticed in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::crowd::Crowd;
use crate::telemetry::turn;

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    crowd: Crowd,
    deadline: Instant,
    /// When the deadline was looked at last: as [`Crowd::looks`] counts.
    looked: u32,
    /// Rings at the deadline, if that comes before the next look.
    soon: Option<Pin<Box<Sleep>>>,
}

/// The longest tick: so much of its time a deadline may have a timer.
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
        // Not of one that is as far as the shortest limit: of that, there is a look on the way.
        if deadline < turn::now() + self.crowd.tick() {
            self.ring_at(deadline);
        } else {
            self.soon = None;
        }
    }

    fn ring_at(&mut self, deadline: Instant) {
        match &mut self.soon {
            Some(timer) if timer.deadline() == deadline => {}
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.soon = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Ready when the deadline has passed; again and again, until another is set.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let looks = self.crowd.looks();
        if self.soon.is_none() && looks != self.looked {
            self.looked = looks;
            if self.deadline <= Instant::now() + self.crowd.tick() {
                self.ring_at(self.deadline);
            }
        }
        self.soon.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    /// When a deadline is noticed that is set to be `limit` away, `after` the connection began.
    async fn noticed(limit: Duration, after: Duration) {
        let crowd = Crowd::new(LONGEST_TICK);
        let mut watch = Watch::new(crowd.clone(), Instant::now() + 100 * LONGEST_TICK);
        let connection = crowd.join(async move {
            tokio::time::sleep(after).await;
            let began = Instant::now();
            watch.set(began + limit);
            // A task that has used up its budget of the runtime is woken without having been heard.
            while has_budget_remaining() {
                consume_budget().await;
            }
            poll_fn(|cx| watch.poll_expired(cx)).await;
            let taken = began.elapsed();
            assert!((limit..=limit + LATE).contains(&taken), "{limit:?} was noticed after {taken:?}");
        });
        let connection = tokio::spawn(connection);
        tokio::select! {
            never = crowd.keep_time() => match never {},
            ended = connection => ended.unwrap(),
        }
    }

    /// By so much a timer is late at most.
    const LATE: Duration = Duration::from_millis(3);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_noticed_in_time_wherever_it_lies_between_two_looks() {
        for limit in [10, 700, 1_999, 2_000, 2_001, 3_500, 7_000, 60_000].map(Duration::from_millis) {
            for after in [0, 1, 900, 1_990, 2_000, 3_333].map(Duration::from_millis) {
                noticed(limit, after).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_takes_the_place_of_one_that_was_soon() {
        let (crowd, began) = (Crowd::new(LONGEST_TICK), Instant::now());
        let mut watch = Watch::new(crowd.clone(), began + LONGEST_TICK / 4);
        watch.set(began + LONGEST_TICK / 2);
        watch.set(began + LONGEST_TICK * 3);
        let connection = tokio::spawn(crowd.join(async move { poll_fn(|cx| watch.poll_expired(cx)).await }));
        tokio::select! {
            never = crowd.keep_time() => match never {},
            ended = connection => ended.unwrap(),
        }
        assert!((LONGEST_TICK * 3..=LONGEST_TICK * 3 + LATE).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}
