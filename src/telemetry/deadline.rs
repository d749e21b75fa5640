//! A time limit that has a timer only when it needs one.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::turn;

pin_project! {
    /// Waits for a future until a deadline; `None` if that comes first.
    ///
    /// As tokio's `timeout_at`, without a timer for what is over before the task would be woken anyway ([`turn::is_woken_before`]). A future that always has something to
    /// do is in time all the same: the clock is looked at whatever it does.
    #[derive(Debug)]
    #[must_use]
    pub struct Before<F> {
        #[pin]
        future: F,
        deadline: Instant,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

/// See [`Before`].
pub const fn before<F: Future>(deadline: Instant, future: F) -> Before<F> {
    Before { future, deadline, timer: None }
}

impl<F: Future> Future for Before<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        if turn::now() >= *this.deadline {
            return Poll::Ready(None);
        }
        if turn::is_woken_before(*this.deadline, cx) {
            return Poll::Pending;
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(*this.deadline)));
        timer.as_mut().poll(cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::turn::Turn;
    use std::future::{pending, poll_fn, ready};
    use std::time::Duration;

    const LATE: Duration = Duration::from_millis(2);

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_is_had_and_what_never_comes_is_given_up_in_time() {
        let (began, limit) = (Instant::now(), Duration::from_secs(7));
        assert_eq!(before(began, ready(1)).await, Some(1));
        assert_eq!(before(began + limit, pending::<()>()).await, None);
        assert!((limit..=limit + LATE).contains(&began.elapsed()), "given up after {:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_woken_anyway_gives_up_in_time_and_has_a_timer_only_at_the_end() {
        let within = Duration::from_secs(2);
        for limit in [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(60)] {
            let (began, mut ticks) = (Instant::now(), tokio::time::interval(within));
            let mut waits = std::pin::pin!(before(began + limit, pending::<()>()));
            let given_up = poll_fn(|cx| {
                while ticks.poll_tick(cx).is_ready() {}
                let _turn = Turn::begin_woken(cx, within);
                let polled = waits.as_mut().poll(cx);
                assert_eq!(waits.timer.is_some(), began.elapsed() + within >= limit, "at {:?} of {limit:?}", began.elapsed());
                polled
            });
            assert_eq!(given_up.await, None);
            assert!((limit..=limit + LATE).contains(&began.elapsed()), "{limit:?} was over after {:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_always_has_something_to_do_is_given_up_in_time() {
        let (began, limit) = (Instant::now(), Duration::from_secs(3));
        // Woken each time without having been heard, as is a timer that is asked then.
        let busy = async {
            loop {
                tokio::task::coop::consume_budget().await;
            }
        };
        let clock = async {
            while began.elapsed() < 2 * limit {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            given_up = before::<_>(began + limit, busy) => assert_eq!(given_up, None::<()>),
            () = clock => panic!("it was not given up"),
        }
        assert!((limit..=limit + LATE).contains(&began.elapsed()), "given up after {:?}", began.elapsed());
    }
}
