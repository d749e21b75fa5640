//! So many in a second, with a burst: the generic cell rate algorithm.
//!
//! It is a token bucket that keeps one time instead of a count (ITU-T I.371, annex A; ATM Forum Traffic Management 4.0, "virtual
//! scheduling"): the *theoretical arrival time*, when the next would come if all came evenly. What comes earlier than that by more than the
//! burst allows must wait for the difference. So there is nothing to refill, and nothing to lock: one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::RateLimit;

/// Decides what may pass. Time is given from an origin of the caller's choice, the same for all questions; it may go back a little, as
/// threads ask in their own order.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    /// Nanoseconds between two that come evenly.
    interval_ns: u64,
    /// How much earlier than evenly one may come.
    tolerance_ns: u64,
    /// The theoretical arrival time, in nanoseconds after the origin.
    arrival_ns: AtomicU64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl RateLimiter {
    /// Lets `limit` pass. The whole burst may pass at once at the beginning.
    pub fn new(limit: RateLimit) -> Self {
        let interval_ns = SECOND_NS / u64::from(limit.per_second.max(1));
        // The first of a burst is never early: the others are, each by one interval more.
        let tolerance_ns = interval_ns.saturating_mul(u64::from(limit.burst().max(1) - 1));
        Self { limit, interval_ns, tolerance_ns, arrival_ns: AtomicU64::new(0) }
    }

    /// What may pass.
    pub const fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes the place of one that comes at `now`.
    ///
    /// # Errors
    /// There is none; there will be after this time, if nobody else takes it.
    pub fn take(&self, now: Duration) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut arrival_ns = self.arrival_ns.load(Ordering::Relaxed);
        loop {
            let early_ns = arrival_ns.saturating_sub(now_ns);
            if early_ns > self.tolerance_ns {
                return Err(Duration::from_nanos(early_ns - self.tolerance_ns));
            }
            let next_ns = arrival_ns.max(now_ns).saturating_add(self.interval_ns);
            // Nothing else is published by it: the number is all there is.
            match self.arrival_ns.compare_exchange_weak(arrival_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other_ns) => arrival_ns = other_ns,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limiter(per_second: u32, burst: u32) -> RateLimiter {
        RateLimiter::new(RateLimit { per_second, burst: Some(burst) })
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_burst_passes_at_once_and_then_one_for_each_interval() {
        let limiter = limiter(10, 3);
        assert_eq!([(); 3].map(|()| limiter.take(ms(1_000))), [Ok(()); 3]);
        assert_eq!(limiter.take(ms(1_000)), Err(ms(100)));
        assert_eq!(limiter.take(ms(1_060)), Err(ms(40)));
        assert_eq!((limiter.take(ms(1_100)), limiter.take(ms(1_100))), (Ok(()), Err(ms(100))));
    }

    #[test]
    fn a_time_of_nothing_gives_the_burst_back_and_not_more() {
        let limiter = limiter(10, 3);
        for start in [ms(0), ms(300), ms(1_000_000)] {
            assert_eq!([(); 3].map(|()| limiter.take(start)), [Ok(()); 3], "{start:?}");
            assert_eq!(limiter.take(start), Err(ms(100)));
        }
    }

    #[test]
    fn a_clock_that_a_thread_read_earlier_gives_nothing_away() {
        let limiter = limiter(10, 1);
        assert_eq!(limiter.take(ms(500)), Ok(()));
        assert_eq!(limiter.take(ms(450)), Err(ms(150)));
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_pass_more_than_the_burst_and_the_rate(
            per_second in 1_u32..2_000,
            burst in 1_u32..50,
            steps in proptest::collection::vec(0_u64..5_000, 1..400),
        ) {
            let limiter = limiter(per_second, burst);
            let mut now = Duration::ZERO;
            let mut passed: Vec<Duration> = Vec::new();
            for step_us in steps {
                now += Duration::from_micros(step_us);
                match limiter.take(now) {
                    Ok(()) => passed.push(now),
                    // What was promised holds.
                    Err(wait) => prop_assert!(wait > Duration::ZERO),
                }
            }
            let interval = Duration::from_nanos(SECOND_NS / u64::from(per_second));
            for (index, first) in passed.iter().enumerate() {
                for (last_index, last) in passed.iter().enumerate().skip(index) {
                    let count = u128::try_from(last_index - index).unwrap();
                    let allowed = u128::from(burst) + (*last - *first).as_nanos() / interval.as_nanos();
                    prop_assert!(count < allowed + 1, "{count} more between {first:?} and {last:?}");
                }
            }
        }

        #[test]
        fn after_the_time_that_was_told_one_passes(per_second in 1_u32..2_000, burst in 1_u32..50, at_us in 0_u64..5_000_000) {
            let limiter = limiter(per_second, burst);
            let now = Duration::from_micros(at_us);
            let wait = loop {
                if let Err(wait) = limiter.take(now) {
                    break wait;
                }
            };
            prop_assert_eq!(limiter.take(now + wait), Ok(()));
        }
    }
}
