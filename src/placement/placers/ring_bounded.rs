//! `ring-bounded`.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Placer, Question, Reason};
use crate::model::InvalidValue;

/// `[placement.ring-bounded]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingBoundedConfig {}

impl RingBoundedConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        Vec::new()
    }
}

/// The strategy of this page.
#[derive(Debug)]
pub struct RingBounded {}

impl RingBounded {
    /// The strategy with these settings.
    pub const fn new(_config: RingBoundedConfig) -> Self {
        Self {}
    }
}

impl Placer for RingBounded {
    fn name(&self) -> &'static str {
        "ring-bounded"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let draw = question.random.next_u64();
        let next = question.view.by_load(draw).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::LeastLoaded))
    }
}
