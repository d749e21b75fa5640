//! The warm workers that an agent lost: `runpool-lost: seq=17; greet, resize*2`.
//!
//! A balancer believes a worker warm from the end of the call that it saw it run. Its belief goes wrong when the idle worker is evicted for
//! another function, reaches its idle timeout or dies. An agent numbers such losses, one by one, and tells the last few on everything that it
//! answers, so that each balancer learns of each loss however many of them there are, from whichever answer it sees next:
//!
//! * `seq` is the number of the newest loss. The first number of an agent's life is the time of its start in milliseconds, so that a new life at the
//!   same address goes on above the old one, as a gap.
//! * The names follow, the newest loss first; `name*2` stands for two losses one after the other. Versions of one function count
//!   together, since a balancer knows functions by name.
//! * A balancer that has seen `seen` applies the losses above it ([`LostWarm::since`]). If they are not all told, there is a gap: what it
//!   believes of this agent may be wrong, and `GET /status` has the whole truth, with the `lost_seq` it belongs to.

use std::fmt;
use std::str::FromStr;

use crate::model::FunctionName;

/// The newest losses of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostWarm {
    newest: u64,
    /// The newest first.
    runs: Vec<(FunctionName, u32)>,
}

/// The text does not tell of lost workers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` tells of no lost workers: expected `seq=N; NAME, NAME*N`, at most {} names", LostWarm::MAX_RUNS)]
pub struct InvalidLost {
    text: String,
}

impl LostWarm {
    /// The most runs of one name after the other that are told.
    pub const MAX_RUNS: usize = 8;

    /// Nothing was lost, and the next loss will have the number after `newest`.
    pub const fn none(newest: u64) -> Self {
        Self { newest, runs: Vec::new() }
    }

    /// Notes one more loss.
    pub fn note(&mut self, function: &FunctionName) {
        self.newest = self.newest.saturating_add(1);
        match self.runs.first_mut() {
            Some((name, count)) if name == function => *count = count.saturating_add(1),
            _ => {
                self.runs.truncate(Self::MAX_RUNS - 1);
                self.runs.insert(0, (function.clone(), 1));
            }
        }
    }

    /// The number of the newest loss: what a balancer has seen when it has taken this in.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// How many workers of which function were lost after the loss with the number `seen`, the newest first; `None` if there were more than
    /// are told here. One that is older than what was seen (answers overtake each other) tells nothing new.
    pub fn since(&self, seen: u64) -> Option<Vec<(&FunctionName, u32)>> {
        let mut missing = self.newest.saturating_sub(seen);
        let mut lost = Vec::new();
        for (name, count) in &self.runs {
            if missing == 0 {
                break;
            }
            let new = u32::try_from(missing).unwrap_or(u32::MAX).min(*count);
            lost.push((name, new));
            missing -= u64::from(new);
        }
        (missing == 0).then_some(lost)
    }
}

impl fmt::Display for LostWarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq={}", self.newest)?;
        for (position, (name, count)) in self.runs.iter().enumerate() {
            f.write_str(if position == 0 { "; " } else { ", " })?;
            match count {
                1 => write!(f, "{name}")?,
                _ => write!(f, "{name}*{count}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for LostWarm {
    type Err = InvalidLost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidLost { text: text.to_owned() };
        let (seq, names) = text.split_once("; ").map_or((text, None), |(seq, names)| (seq, Some(names)));
        let newest = seq.strip_prefix("seq=").and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        let mut runs = Vec::new();
        let mut told: u64 = 0;
        for run in names.into_iter().flat_map(|names| names.split(", ")) {
            let (name, count) = run.split_once('*').map_or((run, Some(1)), |(name, count)| (name, count.parse().ok()));
            let count: u32 = count.filter(|count| *count > 0).ok_or_else(wrong)?;
            told = told.saturating_add(u64::from(count));
            runs.push((name.parse().map_err(|_| wrong())?, count));
        }
        // More losses than numbers were given: one of the two is wrong, and no number could be given to each.
        if runs.len() > Self::MAX_RUNS || told > newest {
            return Err(wrong());
        }
        Ok(Self { newest, runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> FunctionName {
        text.parse().unwrap()
    }

    fn lost(base: u64, names: &[&str]) -> LostWarm {
        let mut lost = LostWarm::none(base);
        for text in names {
            lost.note(&name(text));
        }
        lost
    }

    #[test]
    fn losses_are_told_the_newest_first_and_counted_together_where_they_follow_each_other() {
        let told = lost(13, &["b", "a", "a", "c"]);
        assert_eq!(told.to_string(), "seq=17; c, a*2, b");
        assert_eq!(told.to_string().parse(), Ok(told));
        assert_eq!(LostWarm::none(5).to_string(), "seq=5");
        assert_eq!("seq=5".parse(), Ok(LostWarm::none(5)));
    }

    #[test]
    fn every_balancer_applies_what_it_has_not_seen_and_notices_a_gap() {
        let told = lost(13, &["b", "a", "a", "c"]);
        let (a, b, c) = (name("a"), name("b"), name("c"));
        assert_eq!(told.since(17), Some(vec![]));
        assert_eq!(told.since(99), Some(vec![]), "an answer that was overtaken");
        assert_eq!(told.since(16), Some(vec![(&c, 1)]));
        assert_eq!(told.since(15), Some(vec![(&c, 1), (&a, 1)]), "in the middle of a run");
        assert_eq!(told.since(13), Some(vec![(&c, 1), (&a, 2), (&b, 1)]));
        assert_eq!(told.since(12), None, "one is not told");
        let many = lost(0, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
        assert_eq!(many.to_string(), "seq=10; j, i, h, g, f, e, d, c");
        assert_eq!((many.since(2).map(|lost| lost.len()), many.since(1)), (Some(8), None));
    }

    #[test]
    fn what_is_not_strictly_of_this_form_is_not_read() {
        let nine = format!("seq=99; {}", ["a"; 9].join(", "));
        let texts =
            ["", "seq=", "seq=-1", "seq=1;a", "seq=1; ", "seq=1; a*0", "seq=1; a*2", "seq=9; a,b", "seq=9; .a", "17; a", &nine];
        for text in texts {
            assert!(text.parse::<LostWarm>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(base in 0_u64..1 << 50, names in proptest::collection::vec("[a-c]{1,2}", 0..40)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let told = lost(base, &names);
            prop_assert_eq!(told.to_string().parse(), Ok(told));
        }

        /// However many answers a balancer misses: either it knows exactly what was lost, or it knows that it does not.
        #[test]
        fn no_loss_is_applied_twice_or_missed_unnoticed(
            names in proptest::collection::vec("[a-c]", 1..60),
            looks in proptest::collection::vec(0_usize..60, 0..20),
        ) {
            let (mut told, mut seen, mut applied) = (LostWarm::none(100), 100, 0);
            for (position, text) in names.iter().enumerate() {
                told.note(&name(text));
                if looks.contains(&position) {
                    match told.since(seen) {
                        Some(lost) => applied += lost.iter().map(|(_, count)| u64::from(*count)).sum::<u64>(),
                        None => applied = told.newest() - 100,
                    }
                    seen = told.newest();
                    prop_assert_eq!(applied, seen - 100);
                }
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(seq=[0-9]{1,30})?.*") {
            let _ = text.parse::<LostWarm>();
        }
    }
}
