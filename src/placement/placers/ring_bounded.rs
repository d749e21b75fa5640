//! `ring-bounded`: the function's homes in order, none filled beyond a bound while another home is below it.
//!
//! Rule: consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2018) with two changes. The bound is a part of the runner's
//! *own slots*, not a multiple of the pool's mean: a bound on the mean makes calls spill while the pool is nearly empty, and is none at all when it is nearly full.
//! And what spills goes to the next home of the *key*, which the ring finds by hashing again (Chen et al., AAAI 2021), not to the neighbour on the ring, so that a
//! hot function does not flood one runner after another.
//!
//! 1. The first home that would take the call and stays within [`RingBoundedConfig::bound`] of its slots.
//! 2. The first home that would take the call.
//! 3. The next runner with room from a place that is drawn, within the bound if a few looks find one.
//!
//! A call's stickiness hint joins the key of its homes; what this strategy sees of it is other homes.
//!
//! Cost: up to eight looks at known homes; no allocation. Use it where runners hold something warm, functions are many and some are hot: it
//! keeps `ch`'s locality and leaves every home slots for its other functions.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Placer, Question, Reason};
use crate::model::InvalidValue;
use crate::placement::view::RunnerState;

/// What a runner is taken for that has not told its slots.
const UNKNOWN_SLOTS: u32 = 64;
/// Runners beside the homes that are compared with the bound.
const LOOKED_AT: usize = 8;

/// `[placement.ring_bounded]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingBoundedConfig {
    /// The part of its slots that a home is filled to while a later home is below it: more than 0, at most 1. One slot is always within it.
    pub bound: f64,
}

impl Default for RingBoundedConfig {
    fn default() -> Self {
        Self { bound: 0.75 }
    }
}

impl RingBoundedConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let is_usable = self.bound > 0.0 && self.bound <= 1.0;
        if is_usable { Vec::new() } else { vec![InvalidValue::new("bound", "more than 0 and at most 1")] }
    }
}

/// The strategy of this page.
#[derive(Debug)]
pub struct RingBounded {
    config: RingBoundedConfig,
}

impl RingBounded {
    /// The strategy with these settings.
    pub const fn new(config: RingBoundedConfig) -> Self {
        Self { config }
    }

    /// Whether one more call leaves the runner within the bound.
    fn stays_within(&self, runner: &RunnerState) -> bool {
        let slots = f64::from(runner.slots().unwrap_or(UNKNOWN_SLOTS)) * f64::from(runner.weight().min(100)) / 100.0;
        f64::from(runner.in_flight()) + 1.0 <= (slots * self.config.bound).max(1.0)
    }
}

impl Placer for RingBounded {
    fn name(&self) -> &'static str {
        "ring-bounded"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let view = question.view;
        let within = |place| view.runner(place).is_some_and(|runner| self.stays_within(runner));
        let mut taking = question.homes.iter().enumerate().filter(|(_, home)| question.can_take(**home));
        let mut first = None;
        let below = taking.find(|found| {
            first = first.or(Some(*found));
            within(*found.1)
        });
        if let Some((rank, home)) = below.or(first) {
            return Decision::Try(*home, if rank == 0 { Reason::Home } else { Reason::Spill });
        }
        let start = question.random.next_u64() % u64::from(view.places().max(1));
        let mut first = None;
        let others = view.open_from(start as u32).filter(|runner| question.can_take(*runner)).take(LOOKED_AT);
        for runner in others {
            if within(runner) {
                return Decision::Try(runner, Reason::Spill);
            }
            first = first.or(Some(runner));
        }
        first.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::Spill))
    }
}
