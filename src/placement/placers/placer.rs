//! What a strategy is: a pure decision.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use crate::placement::event::{EndedHow, FunctionNumber, RefusedKind};
use crate::placement::moment::Moment;
use crate::placement::view::View;
use crate::placement::wait_queue::WaitQueue;
use crate::pool::RunnerPlace;

/// What a placer is asked when a call comes, or was refused: who is to be tried?
#[derive(Debug)]
pub struct Question<'a> {
    /// What is known of the runners and functions.
    pub view: &'a View,
    /// The call's function.
    pub function: FunctionNumber,
    /// The runners that this call's key has as its homes, first the first: those of the function, or of the function with the call's hint.
    pub homes: &'a [RunnerPlace],
    /// Whether the call came with a hint of its client's, which is in `homes`.
    pub is_hinted: bool,
    /// Runners that refused this call since it last waited. What they said is in the view too.
    pub refused: &'a [RunnerPlace],
    /// The time.
    pub now: Moment,
    /// The source of all of a placer's randomness: the same seed makes the same decisions.
    pub random: &'a mut SmallRng,
    /// Runners to probe, for placers that go by probes. Empty when asked.
    pub probes: &'a mut Vec<RunnerPlace>,
}

impl Question<'_> {
    /// Whether this runner would take the call, as far as is known, and has not just refused it.
    pub fn can_take(&self, runner: RunnerPlace) -> bool {
        self.view.can_take(runner, self.function) && !self.refused.contains(&runner)
    }
}

/// What a placer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try this runner, for this reason.
    Try(RunnerPlace, Reason),
    /// Nobody is to be tried now: the call waits for what comes free.
    Park,
    /// This call cannot be placed, now or later.
    Reject,
}

/// What a placer is asked when a runner has room and calls wait: whose turn is it?
#[derive(Debug)]
pub struct Offer<'a> {
    /// What is known of the runners and functions.
    pub view: &'a View,
    /// The calls that wait.
    pub queue: &'a WaitQueue,
    /// The group of functions that this placer places; ask the queue for its functions.
    pub group: usize,
    /// The runner with room.
    pub runner: RunnerPlace,
    /// The time.
    pub now: Moment,
    /// The source of all of a placer's randomness.
    pub random: &'a mut SmallRng,
}

impl Offer<'_> {
    /// The fairest of the waiting functions that this runner would take. Functions that have as many calls there as they may are passed over;
    /// after 64 of them the rest is not looked at.
    pub fn fairest(&self) -> Option<FunctionNumber> {
        self.queue.functions(self.group).take(64).find(|function| self.view.can_take(self.runner, *function))
    }
}

/// What a placer answers to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// The next waiting call of this function gets it, for this reason.
    Give(FunctionNumber, Reason),
    /// Nobody gets it for now. To be offered again when something changes there, and at this time, if one is named.
    Leave(Option<Moment>),
}

/// Why a call went where it went: for `explain`, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It was next in turn.
    Next,
    /// An idle worker of the function is there.
    Warm,
    /// It is the function's home.
    Home,
    /// The homes before it have no room.
    Spill,
    /// It was the least loaded.
    LeastLoaded,
    /// It was the cheaper of two.
    Cheaper,
    /// A probe said so.
    Probed,
    /// No idle worker is in sight soon enough: a new one costs less.
    StartsSooner,
    /// It had waited too long for a warm worker.
    WaitedLong,
    /// Chosen at random for lack of knowledge.
    AtRandom,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Next,
        Self::Warm,
        Self::Home,
        Self::Spill,
        Self::LeastLoaded,
        Self::Cheaper,
        Self::Probed,
        Self::StartsSooner,
        Self::WaitedLong,
        Self::AtRandom,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Warm => "warm",
            Self::Home => "home",
            Self::Spill => "spill",
            Self::LeastLoaded => "least-loaded",
            Self::Cheaper => "cheaper",
            Self::Probed => "probed",
            Self::StartsSooner => "starts-sooner",
            Self::WaitedLong => "waited-long",
            Self::AtRandom => "at-random",
        }
    }
}

/// What a placer is told, whatever it makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A call of ours ended.
    Ended {
        /// Where.
        runner: RunnerPlace,
        /// Of which function.
        function: FunctionNumber,
        /// From the attempt to the end.
        took: Duration,
        /// How.
        how: EndedHow,
    },
    /// A runner refused.
    Refused {
        /// Which.
        runner: RunnerPlace,
        /// Why.
        why: RefusedKind,
    },
    /// A probe was answered.
    Probed {
        /// By which runner.
        runner: RunnerPlace,
        /// Calls in its slots.
        in_flight: u32,
        /// What a call takes there at that load.
        latency: Duration,
    },
    /// A runner joined, changed or left.
    RunnerChanged {
        /// Which.
        runner: RunnerPlace,
    },
}

/// A strategy. It does no I/O, reads no clock, spawns nothing and never panics. It belongs to one placing loop, so that what it remembers needs
/// no lock.
///
/// ```
/// use runpool::placement::{Decision, Placer, Question, Reason};
///
/// /// Always the first with room.
/// #[derive(Debug)]
/// struct InOrder;
///
/// impl Placer for InOrder {
///     fn name(&self) -> &'static str {
///         "in-order"
///     }
///
///     fn place(&mut self, question: Question<'_>) -> Decision {
///         let first = question.view.open_from(0).find(|runner| question.can_take(*runner));
///         first.map_or(Decision::Park, |runner| Decision::Try(runner, Reason::Next))
///     }
/// }
/// ```
pub trait Placer: Send + fmt::Debug {
    /// The name in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// Who is to be tried for a call that came, or was refused. Not asked while calls of the same function wait: theirs is the first turn.
    fn place(&mut self, question: Question<'_>) -> Decision;

    /// Who gets the room of a runner. In turn, unless a strategy knows better.
    fn pull(&mut self, offer: Offer<'_>) -> Pull {
        offer.fairest().map_or(Pull::Leave(None), |function| Pull::Give(function, Reason::Next))
    }

    /// Takes note of something that happened. The view knows of it already.
    fn observe(&mut self, _noted: Noted, _view: &View, _now: Moment) {}
}
