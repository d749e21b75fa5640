//! Who decides in a simulation: the product's placing loop, or a rule that is simulated for comparison.

use super::runner::{ModelRunner, OnFull};
use crate::placement::{Event, Moment, PlacingLoop, Step};

/// A balancer's rule: events in, steps out.
pub trait Rule: Send {
    /// Takes note of one event; appends what is to be done. `truth` is how the runners really are: the product's loop never looks at it.
    fn step(&mut self, event: &Event, now: Moment, truth: &[ModelRunner], steps: &mut Vec<Step>);

    /// When [`Event::Timer`] is due, if it is.
    fn next_timer(&self) -> Option<Moment> {
        None
    }

    /// What runners do with a call that finds no slot.
    fn on_full(&self) -> OnFull {
        OnFull::Refuse
    }
}

impl Rule for PlacingLoop {
    fn step(&mut self, event: &Event, now: Moment, _truth: &[ModelRunner], steps: &mut Vec<Step>) {
        Self::step(self, event, now, steps);
    }

    fn next_timer(&self) -> Option<Moment> {
        Self::next_timer(self)
    }
}
