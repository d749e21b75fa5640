//! Growing, random pauses between repetitions.

use std::time::Duration;

/// How the pauses between repetitions grow: pause `n` (from 0) lies evenly in `min ..= min + interval × (2^(n+1) − 1)`, never above `max`.
/// The rule is Fn's: the whole range is random, so that many who failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How many repetitions there are; `None` is no limit.
    pub max_retries: Option<u32>,
    /// By how much the range grows at first.
    pub interval: Duration,
    /// The shortest pause.
    pub min: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Backoff {
    /// The pause before repetition `retry` (from 0), or `None` if there is to be none. `draw` is a random number: all randomness of
    /// this rule comes from there.
    pub fn pause(&self, retry: u32, draw: u64) -> Option<Duration> {
        if self.max_retries.is_some_and(|max_retries| retry >= max_retries) {
            return None;
        }
        let (_, longest) = self.range(retry);
        let width_ns = u64::try_from(longest.saturating_sub(self.min).as_nanos()).unwrap_or(u64::MAX);
        let share = if width_ns == u64::MAX { draw } else { draw % (width_ns + 1) };
        Some(self.min.min(self.max) + Duration::from_nanos(share))
    }

    /// The shortest and the longest pause before repetition `retry`.
    pub fn range(&self, retry: u32) -> (Duration, Duration) {
        let doublings = 2_u32.checked_pow(retry.saturating_add(1)).unwrap_or(u32::MAX);
        let growth = self.interval.saturating_mul(doublings - 1);
        (self.min.min(self.max), self.min.saturating_add(growth).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The longest pauses in milliseconds, until the rule ends.
    fn longest(backoff: Backoff) -> Vec<u128> {
        (0..).map_while(|retry| backoff.pause(retry, 0).map(|_| backoff.range(retry).1.as_millis())).take(10).collect()
    }

    /// Case 20 of the ancestor's acceptance list.
    #[test]
    fn back_off() {
        let never = Backoff { max_retries: Some(0), interval: ms(100), min: ms(100), max: ms(1_000) };
        assert_eq!(never.pause(0, 7), None);

        let forever = Backoff { max_retries: None, interval: ms(100), min: ms(100), max: ms(100) };
        assert!((0..1_000).all(|retry| forever.pause(retry, u64::from(retry) * 7_919) == Some(ms(100))));

        let grows = Backoff { max_retries: Some(5), interval: ms(100), min: ms(1_000), max: ms(10_000) };
        assert_eq!(longest(grows), [1_100, 1_300, 1_700, 2_500, 4_100]);
        assert!((0..5).all(|retry| grows.range(retry).0 == ms(1_000)));
        assert_eq!(longest(Backoff { max: ms(2_000), ..grows }), [1_100, 1_300, 1_700, 2_000, 2_000]);

        let bare = Backoff { max_retries: Some(5), interval: ms(1_000), min: Duration::ZERO, max: Duration::MAX };
        assert_eq!(longest(bare), [1_000, 3_000, 7_000, 15_000, 31_000]);
    }

    proptest! {
        #[test]
        fn no_pause_leaves_its_range(retry in 0..40_u32, interval_ms in 0..10_000_u64, min_ms in 0..10_000_u64, max_ms in 0..100_000_u64, draw: u64) {
            let backoff = Backoff { max_retries: None, interval: ms(interval_ms), min: ms(min_ms), max: ms(max_ms) };
            let (shortest, longest) = backoff.range(retry);
            let pause = backoff.pause(retry, draw).unwrap();
            prop_assert!(shortest <= pause && pause <= longest, "{pause:?} is not in {shortest:?}..={longest:?}");
        }
    }
}
