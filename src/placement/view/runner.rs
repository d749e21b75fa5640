//! One runner as the placing loop knows it.

use std::time::Duration;

use crate::placement::event::{Admission, FunctionNumber, RunnerFacts};
use crate::placement::moment::Moment;

/// The longest pause before a runner that refuses without saying when to come back is tried again.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Sums over runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that are known to be there.
    pub in_flight: u64,
    /// Slots of those that said how many they have.
    pub slots: u64,
    /// Calls of ours for which workers are being started, as far as we know.
    pub starting: u64,
}

/// One runner: what it said, what we know we have there, and whether it may be tried.
#[derive(Clone, Debug)]
pub struct RunnerState {
    pub(super) facts: RunnerFacts,
    /// Differs from that of every other runner that ever had the same place.
    pub(super) life: u64,
    /// What of it is counted in the totals.
    pub(super) counted: Totals,
    /// Its slots, once it said so.
    pub(super) slots: Option<u32>,
    /// Calls of ours there: being tried or running.
    pub(super) own: u32,
    /// Calls of others there, worked out of its last report.
    pub(super) others: u32,
    /// Calls of ours for which a worker is being started, as far as we know.
    pub(super) starting: u32,
    /// How many calls of ours a runner that tells nothing seems to take: as many as it had when it last refused one more.
    pub(super) learned: Option<u32>,
    /// The most calls of ours that it had at once and took, as far as is known of now.
    pub(super) most: u32,
    /// It refused, or was not there, when it had nothing of ours: that was not for want of room.
    pub(super) refused_idle: bool,
    /// Until then it is not tried beyond what it is known to take.
    pub(super) refuses_until: Option<Moment>,
    /// No connection could be made when it was last tried.
    pub(super) is_unreachable: bool,
    /// It may be tried once beyond `learned`.
    pub(super) may_probe: bool,
    /// The pause that the last refusal brought, from which the next is drawn.
    pub(super) pause: Duration,
    /// It has no memory for another worker, until something ends there or this moment.
    pub(super) no_memory_until: Option<Moment>,
    /// A question for room is under way.
    pub(super) is_asked_for_room: bool,
    /// Functions of which idle workers are there, each once.
    pub(super) warm: Vec<FunctionNumber>,
    /// Moving average of the share of calls that failed there, 0 to 1.
    pub(super) failing: f64,
}

impl RunnerState {
    pub(super) fn new(facts: RunnerFacts, life: u64) -> Self {
        let slots = facts.slots;
        Self {
            facts,
            life,
            counted: Totals::default(),
            slots,
            own: 0,
            others: 0,
            starting: 0,
            learned: None,
            most: 0,
            refused_idle: false,
            refuses_until: None,
            is_unreachable: false,
            may_probe: false,
            pause: Duration::ZERO,
            no_memory_until: None,
            is_asked_for_room: false,
            warm: Vec::new(),
            failing: 0.0,
        }
    }

    /// What it is known by in all balancers.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// Its share, in hundredths of a usual runner's.
    pub const fn weight(&self) -> u32 {
        self.facts.weight
    }

    /// Calls of ours there: being tried or running.
    pub const fn own(&self) -> u32 {
        self.own
    }

    /// All calls that are known to be there.
    pub const fn in_flight(&self) -> u32 {
        self.own + self.others
    }

    /// Its slots, if they are known.
    pub const fn slots(&self) -> Option<u32> {
        self.slots
    }

    /// Calls of ours there for which a worker is being started, as far as we know.
    pub const fn starting(&self) -> u32 {
        self.starting
    }

    /// Whether no connection could be made when it was last tried.
    pub const fn is_unreachable(&self) -> bool {
        self.is_unreachable
    }

    /// Moving average of the share of calls that failed there, 0 to 1.
    pub const fn failing(&self) -> f64 {
        self.failing
    }

    /// Functions of which idle workers are there.
    pub fn warm(&self) -> &[FunctionNumber] {
        &self.warm
    }

    /// How many more calls it would take, as far as we know; [`u32::MAX`] where nothing is known.
    pub fn room(&self) -> u32 {
        if self.facts.weight == 0 {
            return 0;
        }
        let by_admission = match self.facts.admission {
            Admission::Open => u32::MAX,
            Admission::OneProbe => 1_u32.saturating_sub(self.own),
            Admission::Closed => 0,
        };
        let by_slots = self.slots.map_or(u32::MAX, |slots| slots.saturating_sub(self.in_flight()));
        let by_limit = match self.facts.max_in_flight {
            0 => u32::MAX,
            limit => limit.saturating_sub(self.own),
        };
        let by_learning = self.learned.map_or(u32::MAX, |learned| learned.saturating_sub(self.own));
        by_admission.min(by_slots).min(by_limit).min(by_learning)
    }

    /// How full it is in parts of `full`, a runner of less weight being fuller.
    pub fn load(&self, full: u32) -> u32 {
        // A runner of unknown size is taken for one of this many slots: only the order matters.
        const UNKNOWN: u32 = 64;
        let slots = u64::from(self.slots.unwrap_or(UNKNOWN).max(1)) * u64::from(self.facts.weight.max(1));
        let load = u64::from(self.in_flight()) * 100 * u64::from(full) / slots;
        u32::try_from(load).unwrap_or(u32::MAX).min(full)
    }
}
