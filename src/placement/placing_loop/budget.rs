//! The budget of attempts on runners that did not say they have room.

use std::time::Duration;

use crate::placement::moment::Moment;

/// One attempt for every five calls placed, and ten each second; saved up for ten seconds (tower's `TpsBudget`, its defaults).
const PER_PLACED: f64 = 0.2;
const PER_SECOND: f64 = 10.0;
const MOST: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptBudget {
    left: f64,
    as_of: Moment,
}

impl Default for AttemptBudget {
    fn default() -> Self {
        Self { left: MOST, as_of: Moment::ZERO }
    }
}

impl AttemptBudget {
    /// A call was placed.
    pub(super) fn placed(&mut self, now: Moment) {
        self.accrue(now);
        self.left = (self.left + PER_PLACED).min(MOST);
    }

    /// Takes one attempt out.
    ///
    /// # Errors
    /// None is left; there will be one then.
    pub(super) fn take(&mut self, now: Moment) -> Result<(), Moment> {
        self.accrue(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.left) / PER_SECOND + 0.001))
    }

    fn accrue(&mut self, now: Moment) {
        self.left = ((now - self.as_of).as_secs_f64().mul_add(PER_SECOND, self.left)).min(MOST);
        self.as_of = now;
    }
}
