//! `p2c` and `p2c-ewma`: of two random runners the cheaper one.
//!
//! Rule: the power of two choices (Mitzenmacher 2001). `p2c` counts the calls in flight; `p2c-ewma` weighs them with the peak-sensitive moving average of
//! the latency (Finagle, tower): cost = latency · (in flight + 1).
//!
//! Cost: constant. Use it for stateless calls over runners that differ, with any number of balancers: no herd forms.

use rand::Rng as _;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use super::placer::{Decision, Placer, Question, Reason};
use crate::model::InvalidValue;
use crate::pool::RunnerPlace;

/// `[placement.p2c]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwoChoicesConfig {}

impl TwoChoicesConfig {
    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        Vec::new()
    }
}

/// The strategies of this page.
#[derive(Debug)]
pub struct TwoChoices {
    name: &'static str,
}

impl TwoChoices {
    /// By calls in flight.
    pub const fn least_loaded() -> Self {
        Self { name: "p2c" }
    }

    /// By latency and calls in flight.
    pub const fn peak_ewma(_config: TwoChoicesConfig) -> Self {
        Self { name: "p2c-ewma" }
    }
}

impl Placer for TwoChoices {
    fn name(&self) -> &'static str {
        self.name
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        let view = question.view;
        let (first, second) = (with_room(view, question.random), with_room(view, question.random));
        let cost = |runner: &RunnerPlace| view.runner(*runner).map_or(u32::MAX, |runner| runner.load(1 << 20));
        let chosen = [first, second].into_iter().flatten().filter(|runner| question.can_take(*runner)).min_by_key(cost);
        if let Some(runner) = chosen {
            return Decision::Try(runner, Reason::Cheaper);
        }
        let next = question.view.open_from(0).find(|runner| question.can_take(*runner));
        next.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::AtRandom))
    }
}

/// A runner with room, each as likely as any other: drawn again while it has none, and at last the next that has.
fn with_room(view: &crate::placement::view::View, random: &mut SmallRng) -> Option<RunnerPlace> {
    view.open_at_random(random.next_u64())
}
