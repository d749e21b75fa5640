//! `prequal`.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Placer, Question, Reason};
use crate::model::InvalidValue;

/// `[placement.prequal]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrequalConfig {}

impl PrequalConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        Vec::new()
    }
}

/// The strategy of this page.
#[derive(Debug)]
pub struct Prequal {}

impl Prequal {
    /// The strategy with these settings.
    pub const fn new(_config: PrequalConfig) -> Self {
        Self {}
    }
}

impl Placer for Prequal {
    fn name(&self) -> &'static str {
        "prequal"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let draw = question.random.next_u64();
        let next = question.view.by_load(draw).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::LeastLoaded))
    }
}
