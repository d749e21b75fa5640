//! One reading of the clock for each turn of a connection.
//!
//! A call that passes is looked at by a dozen parts that want the time: its record, its placement, the attempt, its connections. What they do lies within some
//! microseconds, and between their readings there is only our own work. So while a connection is worked on, without a pause, all of them see the time at which
//! that turn first asked. What is waited for (a client, a runner, a free slot) lies between turns, and is measured as exactly as the clock allows.

use std::cell::Cell;

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
}

/// A turn, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn(());

impl Turn {
    /// Begins on this thread, which must not wait before the turn is over.
    pub fn begin() -> Self {
        CLOCK.set(Clock::Unread);
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        CLOCK.set(Clock::Outside);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
