//! What a strategy is: a pure decision.

use std::fmt;
use std::time::Instant;

use crate::pool::Snapshot;

/// What a placer is asked: who is next in this pass?
#[derive(Debug)]
pub struct Question<'a> {
    /// The runners of this pass.
    pub snapshot: &'a Snapshot,
    /// What the call is placed by: the function's name.
    pub key: &'a str,
    /// The time, for placers that reckon with it.
    pub now: Instant,
    /// What happened so far in this pass.
    pub pass: &'a mut Pass,
}

/// One walk over a snapshot. A pass tries each runner at most once.
#[derive(Debug, Default)]
pub struct Pass {
    /// A random number, new for each pass. All randomness of a placer comes from here, so that the same seed makes the same decisions.
    pub draw: u64,
    /// How many runners were tried in this pass.
    pub tried: u32,
    /// Where a placer may keep the order it worked out at the pass's first question, as places of the snapshot.
    /// Empty when a pass begins; its memory is used again.
    pub order: Vec<u32>,
}

/// What a placer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try the runner in this place of the snapshot.
    Try(u32),
    /// Nobody is left to try in this pass: wait, then begin another.
    Park,
    /// This call cannot be placed, now or later.
    Reject,
}

/// What a placer is told, off the request path.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PlacerEvent<'a> {
    /// The pool changed. A placer may work here as long as it needs to; until it is done, its earlier knowledge holds.
    PoolChanged(&'a Snapshot),
}

/// A strategy. It does no I/O, reads no clock, spawns nothing and never panics; it is shared by all calls.
///
/// ```
/// use runpool::placement::{Decision, Placer, Question};
///
/// /// Always the first runner, then the second, and so on.
/// #[derive(Debug)]
/// struct InOrder;
///
/// impl Placer for InOrder {
///     fn name(&self) -> &'static str {
///         "in-order"
///     }
///
///     fn decide(&self, question: Question<'_>) -> Decision {
///         let next = question.pass.tried;
///         if (next as usize) < question.snapshot.len() { Decision::Try(next) } else { Decision::Park }
///     }
/// }
/// ```
pub trait Placer: Send + Sync + fmt::Debug {
    /// The name in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// Who is next in this pass. Asked until it parks, rejects, or an attempt commits.
    fn decide(&self, question: Question<'_>) -> Decision;

    /// Takes note of something that happened. Never called from within a call's placement.
    fn observe(&self, _event: PlacerEvent<'_>) {}
}
