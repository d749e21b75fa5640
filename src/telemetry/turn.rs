//! One reading of the clock for each turn of a connection.
//!
//! A call that passes is looked at by a dozen parts that want the time: its record, its placement, the attempt, its connections. What they do lies within some
//! microseconds, and between their readings there is only our own work. So while a connection is worked on, without a pause, all of them see the time at which
//! that turn first asked. What is waited for (a client, a runner, a free slot) lies between turns, and is measured as exactly as the clock allows.

use std::cell::Cell;
use std::task::Context;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

#[derive(Clone, Copy)]
enum Clock {
    /// No turn is under way: everybody reads for themselves.
    Outside,
    /// Nobody has asked yet.
    Unread,
    Read(Instant),
}

thread_local! {
    static CLOCK: Cell<Clock> = const { Cell::new(Clock::Outside) };
    /// What the clock on the wall showed in the turn that is under way, if somebody has asked.
    static WALL: Cell<Option<SystemTime>> = const { Cell::new(None) };
    /// The waker of the task whose turn it is, and how often that is woken at least.
    static WOKEN: Cell<Option<(usize, Duration)>> = const { Cell::new(None) };
}

/// A turn, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn(());

impl Turn {
    /// Begins on this thread, which must not wait before the turn is over.
    pub fn begin() -> Self {
        CLOCK.set(Clock::Unread);
        WALL.set(None);
        Self(())
    }

    /// The same, of a task that is woken at least so often, whatever else wakes it: see [`is_woken_before`].
    pub fn begin_woken(cx: &Context<'_>, within: Duration) -> Self {
        WOKEN.set(Some((waker(cx), within)));
        Self::begin()
    }
}

/// Tells the waker of a task from those of others, while both are there.
fn waker(cx: &Context<'_>) -> usize {
    cx.waker().data().addr()
}

impl Drop for Turn {
    fn drop(&mut self) {
        CLOCK.set(Clock::Outside);
        WOKEN.set(None);
    }
}

/// When at the latest the task is woken that now waits, but for the milliseconds by which timers are late; if that is sure.
fn woken_within(cx: &Context<'_>) -> Option<Duration> {
    // Whoever waits behind a waker of another kind, as in a set of futures, is not looked at when the task is woken.
    WOKEN.get().filter(|(woken, _)| *woken == waker(cx)).map(|(_, within)| within)
}

/// Whether the task that now waits is woken before this time anyway, so that it needs no timer for it yet.
pub fn is_woken_before(time: Instant, cx: &Context<'_>) -> bool {
    woken_within(cx).is_some_and(|within| now() + within < time)
}

/// The time of the turn that is under way on this thread, else the time.
pub fn now() -> Instant {
    match CLOCK.get() {
        Clock::Read(now) => now,
        Clock::Outside => Instant::now(),
        Clock::Unread => {
            let now = Instant::now();
            CLOCK.set(Clock::Read(now));
            now
        }
    }
}

/// The time of day, read once in a turn likewise.
pub fn wall_clock() -> SystemTime {
    match (CLOCK.get(), WALL.get()) {
        (Clock::Outside, _) => SystemTime::now(),
        (_, Some(shown)) => shown,
        (_, None) => {
            let shown = SystemTime::now();
            WALL.set(Some(shown));
            shown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_time_of_day_is_one_within_a_turn_and_read_anew_in_the_next() {
        let before = SystemTime::now();
        let turn = Turn::begin();
        let shown = wall_clock();
        assert!(shown >= before && wall_clock() == shown && wall_clock() == shown);
        drop(turn);
        while SystemTime::now() <= shown {}
        assert!(wall_clock() > shown, "nobody holds it");
        let _turn = Turn::begin();
        assert!(wall_clock() > shown, "nor does the next turn");
    }

    #[tokio::test]
    async fn only_the_task_itself_counts_on_being_woken_and_only_in_its_turn() {
        let within = Duration::from_secs(5);
        std::future::poll_fn(|cx| {
            assert_eq!(woken_within(cx), None);
            let turn = Turn::begin_woken(cx, within);
            assert_eq!(woken_within(cx), Some(within));
            let other = std::sync::Arc::new(Other);
            assert_eq!(woken_within(&Context::from_waker(&other.into())), None);
            drop(turn);
            assert_eq!(woken_within(cx), None);
            std::task::Poll::Ready(())
        })
        .await;
    }

    struct Other;

    impl std::task::Wake for Other {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn time_stands_still_within_a_turn_and_nowhere_else() {
        let step = Duration::from_millis(7);
        let before = now();
        tokio::time::advance(step).await;
        let turn = Turn::begin();
        assert_eq!(now() - before, step);
        tokio::time::advance(step).await;
        assert_eq!(now() - before, step);
        drop(turn);
        assert_eq!(now() - before, 2 * step);
    }
}
