//! The health of all runners of a pool as one state machine: no socket, no clock, no task.
//!
//! | state | event | next state |
//! |---|---|---|
//! | open | `failed_calls` calls failed, one after the other | ejected: failures |
//! | open | `failed_calls` calls found that their function cannot be started, and nowhere else did one within `window` | ejected: failures |
//! | open | below `success_rate` of the calls in `window` succeeded | ejected: success rate |
//! | open | no connection could be made, once | ejected: unreachable |
//! | open | `failed_checks` questions without a good answer, one after the other | ejected: unhealthy |
//! | open, ejected, probing | it says that it drains | draining |
//! | ejected for its calls | the time of the ejection is over, and the last question, if one is asked, was answered well | probing |
//! | ejected as unreachable or unhealthy | a question is answered well (of one that is not asked otherwise: a connection can be made), or, if it is never asked, the time is over | probing |
//! | probing | a call was taken | open, with a slow start |
//! | probing | a call failed, no connection, a question without a good answer | ejected again, for longer |
//! | draining | it says that it is ready: somebody new | open, with a slow start |
//! | draining | `failed_checks` questions without a good answer | ejected: unhealthy |
//!
//! An ejection is refused while as large a share of the pool is ejected already as may be, or if it would leave nobody: then the runner stays
//! open, and what comes next is looked at anew. A runner that drains is not ejected: it said itself that it takes nothing.
//!
//! The length of an ejection grows with its count, which falls by one for each `max_ejection` that the runner is open without another. A refusal says
//! that somebody is well there, and full: it changes nothing. A function that can be started nowhere costs one runner, for the time of an ejection, and no
//! second one: then it is the function. While a runner is ejected or drains, only the state of admission changes; calls that
//! run there are nobody's business here.
//!
//! Successes are not events: on the path of calls they are only counted ([`Tally`](super::tally::Tally)), and every failure comes with that count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::config::HealthConfig;
use crate::pool::{Admission, ClosedWhy, Evidence, RunnerPlace};

/// Time since the machine began.
pub type Age = Duration;

/// Something that the machine is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// A runner joined.
    Joined {
        /// Where.
        place: RunnerPlace,
        /// Whether it is asked how it is.
        is_checked: Checked,
        /// Whether it was there from the beginning, and needs no slow start.
        start: Start,
    },
    /// A runner left.
    Left(RunnerPlace),
    /// An attempt showed something.
    Noted {
        /// About whom.
        place: RunnerPlace,
        /// What.
        evidence: Evidence,
        /// How many of its calls were taken so far, this one included.
        taken: u64,
    },
    /// It was asked how it is.
    Asked {
        /// Who.
        place: RunnerPlace,
        /// What came of it.
        answer: CheckAnswer,
    },
    /// Time has passed.
    Tick,
}

/// Whether a runner is asked how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Again and again.
    Regularly,
    /// Only while no connection can be made to it: whether one can.
    WhenAway,
    /// Never.
    Never,
}

/// How a runner begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With its whole weight.
    Whole,
    /// With a weight that grows.
    Slow,
}

/// What came of asking a runner how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckAnswer {
    /// It is well.
    Well,
    /// It takes no calls any more.
    Draining,
    /// It did not answer in time, or that it is not well.
    Unwell,
    /// No connection could be made.
    Unreachable,
}

/// What a pool is to make of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub place: RunnerPlace,
    /// Whether it gets calls.
    pub admission: Admission,
    /// Percent of its weight that count now.
    pub weight_percent: u32,
}

/// The health of a pool's runners.
#[derive(Debug)]
pub struct Health {
    rules: HealthConfig,
    runners: BTreeMap<RunnerPlace, Runner>,
    /// Those that change with time alone.
    restless: BTreeSet<RunnerPlace>,
    ejected: usize,
}

#[derive(Debug)]
struct Runner {
    state: State,
    checked: Checked,
    failed_checks: u32,
    failed_calls: u32,
    not_started: u32,
    /// When a function could not be started here last.
    not_started_at: Option<Age>,
    /// What was counted as taken at the last failure.
    taken: u64,
    window: Window,
    /// How often it was ejected lately.
    ejections: u32,
    /// Since when the count is as it is.
    counted_at: Age,
}

/// The calls that count for their share.
#[derive(Debug, Default)]
struct Window {
    since: Age,
    taken_before: u64,
    failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open { slow_since: Option<Age>, percent: u32 },
    Ejected { why: ClosedWhy, until: Age, is_well: bool },
    Probing,
    Draining,
}

impl Health {
    /// A pool with no runner yet.
    pub const fn new(rules: HealthConfig) -> Self {
        Self { rules, runners: BTreeMap::new(), restless: BTreeSet::new(), ejected: 0 }
    }

    /// Takes note of an event at `now`, and appends what changes.
    pub fn step(&mut self, event: HealthEvent, now: Age, verdicts: &mut Vec<Verdict>) {
        match event {
            HealthEvent::Joined { place, is_checked, start } => {
                self.forget(place);
                let is_slow = start == Start::Slow && !self.rules.slow_start.is_zero();
                let state = State::open(is_slow.then_some(now));
                let window = Window { since: now, ..Window::default() };
                let runner = Runner {
                    state,
                    checked: is_checked,
                    failed_checks: 0,
                    failed_calls: 0,
                    not_started: 0,
                    not_started_at: None,
                    taken: 0,
                    window,
                    ejections: 0,
                    counted_at: now,
                };
                self.runners.insert(place, runner);
                if is_slow {
                    self.restless.insert(place);
                    verdicts.extend(self.verdict(place));
                }
            }
            HealthEvent::Left(place) => self.forget(place),
            HealthEvent::Noted { place, evidence, taken } => self.noted(place, evidence, taken, now, verdicts),
            HealthEvent::Asked { place, answer } => self.asked(place, answer, now, verdicts),
            HealthEvent::Tick => self.time_passed(now, verdicts),
        }
    }

    /// Whether the runner is to be asked often, since it may be back.
    pub fn may_return(&self, place: RunnerPlace) -> bool {
        self.runners.get(&place).is_some_and(|runner| !matches!(runner.state, State::Open { .. }) || runner.failed_checks > 0)
    }

    /// Whether something changes with time alone.
    pub fn is_restless(&self) -> bool {
        !self.restless.is_empty()
    }

    /// How many are ejected now.
    pub const fn ejected(&self) -> usize {
        self.ejected
    }

    fn forget(&mut self, place: RunnerPlace) {
        if let Some(runner) = self.runners.remove(&place) {
            self.ejected -= usize::from(runner.state.is_ejection());
        }
        self.restless.remove(&place);
    }

    fn noted(&mut self, place: RunnerPlace, evidence: Evidence, taken: u64, now: Age, verdicts: &mut Vec<Verdict>) {
        let window = self.rules.window;
        let Some(runner) = self.runners.get_mut(&place) else { return };
        if now.saturating_sub(runner.window.since) > window {
            runner.window = Window { since: now, taken_before: runner.taken, failed: 0 };
        }
        if taken > runner.taken {
            runner.failed_calls = 0;
            runner.not_started = 0;
            runner.taken = taken;
        }
        if evidence == Evidence::NotStarted {
            runner.not_started = runner.not_started.saturating_add(1);
            runner.not_started_at = Some(now);
        }
        let (state, not_started) = (runner.state, runner.not_started);
        match (evidence, state) {
            (Evidence::Took, State::Probing) => self.open(place, now, verdicts),
            (Evidence::Took | Evidence::Refused, _) => {}
            (Evidence::Unreachable, State::Open { .. } | State::Probing) => {
                self.eject(place, ClosedWhy::Unreachable, now, verdicts)
            }
            (Evidence::Failed, State::Probing) => self.eject(place, ClosedWhy::Failures, now, verdicts),
            (Evidence::Failed, State::Open { .. }) => {
                runner.failed_calls = runner.failed_calls.saturating_add(1);
                runner.window.failed += 1;
                let succeeded = taken.saturating_sub(runner.window.taken_before);
                let calls = succeeded + runner.window.failed;
                let (failed_calls, rules) = (runner.failed_calls, &self.rules);
                // Counts of one window are far below what a double holds exactly.
                let is_too_low = (succeeded as f64) < rules.success_rate * calls as f64;
                if failed_calls >= rules.failed_calls {
                    self.eject(place, ClosedWhy::Failures, now, verdicts);
                } else if calls >= u64::from(rules.success_rate_calls) && is_too_low {
                    self.eject(place, ClosedWhy::SuccessRate, now, verdicts);
                }
            }
            (Evidence::NotStarted, State::Open { .. } | State::Probing) => {
                let is_enough = not_started >= self.rules.failed_calls || state == State::Probing;
                if is_enough && !self.fails_to_start_elsewhere(place, now) {
                    self.eject(place, ClosedWhy::Failures, now, verdicts);
                }
            }
            // Calls that were under way when it was ejected.
            (Evidence::Failed | Evidence::NotStarted | Evidence::Unreachable, State::Ejected { .. } | State::Draining) => {}
        }
    }

    fn fails_to_start_elsewhere(&self, place: RunnerPlace, now: Age) -> bool {
        let is_recent = |at: Age| now.saturating_sub(at) <= self.rules.window;
        self.runners.iter().any(|(other, runner)| *other != place && runner.not_started_at.is_some_and(is_recent))
    }

    fn asked(&mut self, place: RunnerPlace, answer: CheckAnswer, now: Age, verdicts: &mut Vec<Verdict>) {
        let Some(runner) = self.runners.get_mut(&place) else { return };
        runner.failed_checks = match answer {
            CheckAnswer::Well | CheckAnswer::Draining => 0,
            CheckAnswer::Unwell | CheckAnswer::Unreachable => runner.failed_checks.saturating_add(1),
        };
        let is_enough = runner.failed_checks >= self.rules.failed_checks;
        match (answer, &mut runner.state) {
            (CheckAnswer::Draining, State::Draining) | (CheckAnswer::Well, State::Open { .. } | State::Probing) => {}
            (CheckAnswer::Draining, _) => self.set(place, State::Draining, verdicts),
            (CheckAnswer::Well, State::Draining) => self.open(place, now, verdicts),
            (CheckAnswer::Well, State::Ejected { why, until, is_well }) => {
                *is_well = true;
                if matches!(why, ClosedWhy::Unreachable | ClosedWhy::Unhealthy) || *until <= now {
                    self.set(place, State::Probing, verdicts);
                }
            }
            (CheckAnswer::Unreachable, State::Open { .. } | State::Probing) => {
                self.eject(place, ClosedWhy::Unreachable, now, verdicts);
            }
            (CheckAnswer::Unwell, State::Probing) => self.eject(place, ClosedWhy::Unhealthy, now, verdicts),
            (CheckAnswer::Unwell, State::Open { .. }) | (CheckAnswer::Unwell | CheckAnswer::Unreachable, State::Draining) => {
                if is_enough {
                    let why = if answer == CheckAnswer::Unwell { ClosedWhy::Unhealthy } else { ClosedWhy::Unreachable };
                    self.eject(place, why, now, verdicts);
                }
            }
            (CheckAnswer::Unwell | CheckAnswer::Unreachable, State::Ejected { is_well, .. }) => *is_well = false,
        }
    }

    fn time_passed(&mut self, now: Age, verdicts: &mut Vec<Verdict>) {
        for place in self.restless.iter().copied().collect::<Vec<_>>() {
            let slow_start = self.rules.slow_start;
            let Some(runner) = self.runners.get_mut(&place) else { continue };
            match &mut runner.state {
                State::Ejected { why, until, is_well } if *until <= now => {
                    let is_let_in = match (runner.checked, why) {
                        (Checked::Never, _) => true,
                        (Checked::WhenAway, why) => *why != ClosedWhy::Unreachable,
                        (Checked::Regularly, ClosedWhy::Failures | ClosedWhy::SuccessRate) => *is_well,
                        (Checked::Regularly, _) => false,
                    };
                    if is_let_in {
                        self.set(place, State::Probing, verdicts);
                    }
                }
                State::Open { slow_since: Some(since), percent } => {
                    let grown = percent_after(now.saturating_sub(*since), slow_start);
                    if grown != *percent {
                        let slow_since = (grown < 100).then_some(*since);
                        self.set(place, State::Open { slow_since, percent: grown }, verdicts);
                    }
                }
                _ => {}
            }
        }
    }

    fn open(&mut self, place: RunnerPlace, now: Age, verdicts: &mut Vec<Verdict>) {
        if let Some(runner) = self.runners.get_mut(&place) {
            runner.failed_calls = 0;
            runner.not_started = 0;
            runner.window = Window { since: now, taken_before: runner.taken, failed: 0 };
            runner.counted_at = now;
        }
        self.set(place, State::open((!self.rules.slow_start.is_zero()).then_some(now)), verdicts);
    }

    fn eject(&mut self, place: RunnerPlace, why: ClosedWhy, now: Age, verdicts: &mut Vec<Verdict>) {
        if !self.may_eject(place) {
            return;
        }
        let (ejection, max_ejection) = (self.rules.ejection, self.rules.max_ejection);
        let Some(runner) = self.runners.get_mut(&place) else { return };
        let forgiven = now.saturating_sub(runner.counted_at).as_nanos() / max_ejection.as_nanos().max(1);
        runner.ejections = runner.ejections.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)).saturating_add(1);
        runner.counted_at = now;
        let lasts = ejection.saturating_mul(runner.ejections).min(max_ejection);
        // Calls failed, whoever answers a question: until it is asked again, it counts as well if it was not asked.
        let is_well = matches!(why, ClosedWhy::Failures | ClosedWhy::SuccessRate);
        self.set(place, State::Ejected { why, until: now + lasts, is_well }, verdicts);
    }

    /// Whether the pool can do without this one, too.
    fn may_eject(&self, place: RunnerPlace) -> bool {
        // Who is ejected, or is only probed, is among those that the pool does without.
        let is_out = |runner: &Runner| runner.state.is_ejection();
        if self.runners.get(&place).is_some_and(is_out) {
            return true;
        }
        let all = self.runners.len();
        // A share of a number of runners, rounded down.
        let most = (self.rules.max_ejected_share * all as f64) as usize;
        self.ejected < most.min(all.saturating_sub(1))
    }

    fn set(&mut self, place: RunnerPlace, state: State, verdicts: &mut Vec<Verdict>) {
        let Some(runner) = self.runners.get_mut(&place) else { return };
        self.ejected -= usize::from(runner.state.is_ejection());
        self.ejected += usize::from(state.is_ejection());
        runner.state = state;
        if matches!(state, State::Ejected { .. } | State::Open { slow_since: Some(_), .. }) {
            self.restless.insert(place);
        } else {
            self.restless.remove(&place);
        }
        verdicts.extend(self.verdict(place));
    }

    fn verdict(&self, place: RunnerPlace) -> Option<Verdict> {
        let (admission, weight_percent) = match self.runners.get(&place)?.state {
            State::Open { percent, .. } => (Admission::Open, percent),
            State::Ejected { why, .. } => (Admission::Closed(why), 100),
            State::Probing => (Admission::OneProbe, 100),
            State::Draining => (Admission::Closed(ClosedWhy::Draining), 100),
        };
        Some(Verdict { place, admission, weight_percent })
    }
}

impl State {
    const fn open(slow_since: Option<Age>) -> Self {
        let percent = if slow_since.is_some() { SLOWEST_PERCENT } else { 100 };
        Self::Open { slow_since, percent }
    }

    /// Whether it counts as ejected: also while a single call finds out whether it is back.
    const fn is_ejection(self) -> bool {
        matches!(self, Self::Ejected { .. } | Self::Probing)
    }
}

/// The weight that a slow start begins with, and the steps it grows in.
const SLOWEST_PERCENT: u32 = 10;

fn percent_after(age: Duration, slow_start: Duration) -> u32 {
    let share = age.as_nanos().saturating_mul(100) / slow_start.as_nanos().max(1);
    let percent = u32::try_from(share).unwrap_or(100).min(100);
    (percent / SLOWEST_PERCENT * SLOWEST_PERCENT).max(SLOWEST_PERCENT)
}
