//! How long calls usually stay in their slots: what tells a refused balancer when to come back, and a probing one how fast this agent is.
//!
//! Moving averages, each of about the last ten calls: one for each function, one for all, and one for each number of calls that were inside when
//! a call came. Prequal (NSDI'24, section 4.1) estimates latency from the calls that came at the present number in flight, or the
//! nearest number for which there are any; it takes the median of the recent ones, for which this average stands.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::model::Digest;

/// Functions whose average is kept. Past it all are forgotten, as that needs no order of age and is made good within ten calls.
const MAX_FUNCTIONS: usize = 10_000;

/// Numbers in flight that have an average of their own; the last one stands for all above.
const MAX_BESIDE: u32 = 256;

/// The averages.
#[derive(Debug)]
pub(crate) struct Usual {
    all: Average,
    by_function: FxHashMap<Digest, Average>,
    by_beside: Vec<Average>,
}

/// A moving average of seconds; nothing before the first.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<f64>);

impl Usual {
    /// Nothing is known, of an agent with `slots` slots.
    pub(crate) fn new(slots: u32) -> Self {
        let places = usize::try_from(slots.clamp(1, MAX_BESIDE)).unwrap_or(1);
        Self { all: Average::default(), by_function: FxHashMap::default(), by_beside: vec![Average::default(); places] }
    }

    /// A call of `function` took so long, and when it came `beside` calls were inside, itself included.
    pub(crate) fn note(&mut self, function: &Digest, beside: u32, took: Duration) {
        self.all.note(took);
        if self.by_function.len() >= MAX_FUNCTIONS && !self.by_function.contains_key(function) {
            self.by_function.clear();
        }
        self.by_function.entry(function.clone()).or_default().note(took);
        let place = self.place(beside);
        if let Some(average) = self.by_beside.get_mut(place) {
            average.note(took);
        }
    }

    /// How much longer a call of `function` is expected to stay that has been inside for `elapsed`.
    ///
    /// One that has been there for longer than usual is expected to stay as long again: the durations of functions have heavy tails, where what has
    /// lasted long lasts (Lindy's law), and "at any moment" would make a refused balancer come back at once, again and again.
    pub(crate) fn left(&self, function: &Digest, elapsed: Duration) -> Option<Duration> {
        let usual = self.by_function.get(function).and_then(|average| average.get()).or_else(|| self.all.get())?;
        Some(usual.checked_sub(elapsed).filter(|left| !left.is_zero()).unwrap_or(elapsed))
    }

    /// How long calls take that come when `beside` are inside: from the nearest number of which any ended, the higher one of two.
    pub(crate) fn beside(&self, beside: u32) -> Option<Duration> {
        let place = self.place(beside.saturating_add(1));
        (0..self.by_beside.len()).find_map(|distance| {
            let above = self.by_beside.get(place.saturating_add(distance)).and_then(Average::get);
            above.or_else(|| place.checked_sub(distance).and_then(|below| self.by_beside.get(below)).and_then(Average::get))
        })
    }

    fn place(&self, beside: u32) -> usize {
        let place = usize::try_from(beside.saturating_sub(1)).unwrap_or(usize::MAX);
        place.min(self.by_beside.len().saturating_sub(1))
    }
}

impl Average {
    fn note(&mut self, took: Duration) {
        /// Weight of the newest call: about the last ten count.
        const WEIGHT: f64 = 0.1;
        let seconds = took.as_secs_f64();
        self.0 = Some(self.0.map_or(seconds, |usual| usual + WEIGHT * (seconds - usual)));
    }

    fn get(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.0?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionSpec;

    fn function(name: &str) -> Digest {
        Digest::of(&FunctionSpec::named(name.parse().unwrap()))
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_left_is_the_functions_own_usual_time_without_what_is_over() {
        let mut usual = Usual::new(4);
        assert_eq!(usual.left(&function("f"), ms(1)), None);
        usual.note(&function("f"), 1, ms(100));
        assert_eq!(usual.left(&function("f"), ms(30)), Some(ms(70)));
        assert_eq!(usual.left(&function("new"), ms(30)), Some(ms(70)), "of a new one all that is known is what is usual here");
        usual.note(&function("f"), 1, ms(200));
        assert_eq!(usual.left(&function("f"), ms(30)), Some(ms(80)));
    }

    #[test]
    fn what_has_lasted_long_will_last() {
        let mut usual = Usual::new(4);
        usual.note(&function("f"), 1, ms(100));
        assert_eq!(usual.left(&function("f"), ms(100)), Some(ms(100)));
        assert_eq!(usual.left(&function("f"), ms(5_000)), Some(ms(5_000)));
    }

    #[test]
    fn latency_is_that_of_calls_that_came_when_it_was_as_full_as_now() {
        let mut usual = Usual::new(4);
        assert_eq!(usual.beside(0), None);
        usual.note(&function("f"), 1, ms(10));
        usual.note(&function("f"), 4, ms(40));
        assert_eq!([0, 1, 2, 3, 9].map(|beside| usual.beside(beside)), [10, 10, 40, 40, 40].map(|took| Some(ms(took))));
    }

    #[test]
    fn versions_that_come_and_go_are_not_kept_for_ever() {
        let mut usual = Usual::new(1);
        for number in 0..=MAX_FUNCTIONS {
            usual.note(&function(&format!("f{number}")), 1, ms(1));
        }
        assert!(usual.by_function.len() <= MAX_FUNCTIONS);
    }
}
