//! `random` and `round-robin`: any runner, or the next; a full one queues the call.
//!
//! What a balancer does that knows nothing. Early binding: the call stays where it was sent.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::known::Known;
use crate::placement::{Event, Moment, Step};
use crate::sim::rule::Rule;
use crate::sim::runner::{ModelRunner, OnFull};

#[derive(Debug)]
enum Next {
    AtRandom(Box<StdRng>),
    InTurn(usize),
}

/// The rule.
#[derive(Debug)]
pub(super) struct Spread {
    known: Known,
    next: Next,
}

impl Spread {
    pub(super) fn at_random(seed: u64) -> Self {
        Self { known: Known::default(), next: Next::AtRandom(Box::new(StdRng::seed_from_u64(seed))) }
    }

    pub(super) fn in_turn(seed: u64) -> Self {
        Self { known: Known::default(), next: Next::InTurn(StdRng::seed_from_u64(seed).random_range(0..1_024)) }
    }
}

impl Rule for Spread {
    fn step(&mut self, event: &Event, _now: Moment, _truth: &[ModelRunner], steps: &mut Vec<Step>) {
        self.known.note(event);
        // A refusal here is a runner that is down: another draw.
        let (Event::Arrived { call, .. } | Event::Refused { call, .. }) = event else { return };
        let count = self.known.runners.len();
        if count == 0 {
            return self.known.give_up(*call, steps);
        }
        let index = match &mut self.next {
            Next::AtRandom(rng) => rng.random_range(0..count),
            Next::InTurn(turn) => {
                *turn += 1;
                *turn % count
            }
        };
        self.known.try_on(*call, self.known.runners[index].place, steps);
    }

    fn on_full(&self) -> OnFull {
        OnFull::Queue
    }
}
