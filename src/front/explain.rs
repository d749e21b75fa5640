//! Why calls went where they went: for the client that asks (`runpool-explain: 1`), and for operators, of the last calls.
//!
//! The last calls are kept in rings of slots that are made once; a call writes one slot, under a lock of its own, and who looks for a call goes
//! through all of them. A call that went at once where it should is soon pushed out by the next of its kind, the others stay longer, in a ring of their own: they are
//! the ones that somebody asks for. Each call's slot is memory that nobody has touched for as long as it was in the ring, and to say why it went where it went costs as much as
//! to decide that. So of calls that go smoothly, and come so fast that they would push each other out before anybody could ask, only some are remembered.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::model::{CallId, Function, Outcome, RunnerId};
use crate::placement::{Account, Accounts, Crowd, Report, StartKind};

/// What is remembered of the last calls. Cheap to clone; off by default.
#[derive(Clone, Debug, Default)]
pub struct ExplainedCalls {
    rings: Option<Arc<Rings>>,
}

#[derive(Debug)]
struct Rings {
    /// Calls that the first runner took at once, warm, and answered.
    smooth: Ring,
    /// All others.
    other: Ring,
}

#[derive(Debug)]
struct Ring {
    next: AtomicUsize,
    /// Each protects one call's explanation, for the time of a copy.
    slots: Box<[Mutex<Option<Explained>>]>,
}

/// One call's placement, as it is kept.
#[derive(Clone, Debug)]
struct Explained {
    call_id: CallId,
    function: Option<Arc<Function>>,
    outcome: Outcome,
    placer: &'static str,
    facts: Facts,
}

/// What a report says about a placement.
#[derive(Clone, Debug)]
struct Facts {
    runner: Option<RunnerId>,
    account: Option<Arc<Account>>,
    not_placed: Option<&'static str>,
    crowd: Option<Crowd>,
    waited_ms: f64,
    attempts: u32,
    refusals: u32,
}

impl From<&Report> for Facts {
    fn from(report: &Report) -> Self {
        Self {
            runner: report.runner.clone(),
            account: report.account.clone(),
            not_placed: report.not_placed,
            crowd: report.crowd,
            waited_ms: report.waited.as_secs_f64() * 1e3,
            attempts: report.attempts,
            refusals: report.refusals,
        }
    }
}

/// Where one call went, and why; or why it went nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallPlacement {
    /// The call.
    #[schema(example = "01JDGWPZ6S3XW2N5T0Q8R4VYKM")]
    pub call_id: String,
    /// Its function.
    #[schema(example = "greet")]
    pub function: String,
    /// How the call ended, or how its answer began: `ok` once a runner answered.
    #[schema(example = "ok")]
    pub outcome: String,
    /// The strategy.
    #[schema(example = "delay-pull")]
    pub placer: String,
    /// Why this runner was chosen; of a call that was not placed, why not; of one that ended before it was decided, its outcome with `-` for `_`.
    ///
    /// Chosen: `next` in turn; `warm`: an idle worker of the function is there; `home` of the function; `spill`: the homes before it have no
    /// room; `least-loaded`; `cheaper` of two; `probed`: a probe said so; `starts-sooner`: no idle worker is in sight soon enough;
    /// `waited-long` for a warm worker; `at-random` for lack of knowledge. A strategy of one's own says one of these too.
    ///
    /// Not placed: `no-runner` in the pool until the time was up; `placer-timeout`: no runner had room until then; `deadline-exceeded`;
    /// `deadline-unreachable`: it would pass before the call's turn; `queue-full`: as many calls wait as may; `rejected` by the strategy;
    /// `pool-error`, `pool-fault`: the pool could not be read; `body-gone`: a runner refused after it had read from a body that is not held.
    #[schema(example = "warm")]
    pub reason: String,
    /// The runner that took the call.
    #[schema(example = "127.0.0.1:9001")]
    pub runner: Option<String>,
    /// The chosen runner and the function's first homes, as they looked when the choice was made.
    pub candidates: Vec<CandidateView>,
    /// Milliseconds that the call waited for a runner.
    pub waited_ms: f64,
    /// Attempts, the last included.
    pub attempts: u32,
    /// Attempts that were refused.
    pub refusals: u32,
    /// How it began there: `warm`, `cold`, or `unknown` if the runner did not say.
    #[schema(example = "warm")]
    pub start: Option<String>,
    /// What a cold start took.
    pub start_ms: Option<f64>,
    /// Of a call that was given up: the runners of the pool.
    pub runners: Option<usize>,
    /// Of these, the ones that were known to have room.
    pub runners_with_room: Option<usize>,
    /// Calls that waited then.
    pub waiting: Option<usize>,
}

/// A runner as it looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CandidateView {
    /// What the pool knows it by.
    #[schema(example = "127.0.0.1:9001")]
    pub runner: String,
    /// Calls that were known to be there.
    pub in_flight: u32,
    /// Its slots, if they were known.
    pub slots: Option<u32>,
    /// Idle workers of the function that were known to be there.
    pub idle: u32,
}

impl ExplainedCalls {
    /// Remembers this many calls that went smoothly, and as many that did not; 0 remembers none.
    pub fn new(calls: usize) -> Self {
        let rings = || Arc::new(Rings { smooth: Ring::new(calls), other: Ring::new(calls) });
        Self { rings: (calls > 0).then(rings) }
    }

    /// How a call was placed, if it is among the last.
    pub fn find(&self, call_id: CallId) -> Option<CallPlacement> {
        let rings = self.rings.as_ref()?;
        rings
            .other
            .slots
            .iter()
            .chain(&rings.smooth.slots)
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
            .find_map(|slot| {
                let explained = slot.as_ref().filter(|explained| explained.call_id == call_id)?;
                Some(explained.view())
            })
    }

    /// Whether the next call is to be remembered even if it goes smoothly, for which it needs an account. Each worker lets as many such calls follow each other as the ring
    /// has slots, and one each millisecond after that.
    pub(super) fn wants_next(&self, now: Instant) -> bool {
        self.rings.as_ref().is_some_and(|rings| {
            let mut allowance = ALLOWANCE.get();
            let is_wanted = allowance.take(now, rings.smooth.slots.len());
            ALLOWANCE.set(allowance);
            is_wanted
        })
    }

    /// Whether a call is remembered at all.
    pub const fn is_on(&self) -> bool {
        self.rings.is_some()
    }

    /// Remembers a call, with the account that its report has, which is taken; one that went smoothly only if it was to have an account.
    pub(super) fn remember(
        &self,
        call_id: CallId,
        function: Option<&Arc<Function>>,
        outcome: Outcome,
        placer: &'static str,
        accounts: Accounts,
        report: &mut Report,
    ) {
        let Some(rings) = &self.rings else { return };
        let ring = match (went_smoothly(outcome, report), accounts) {
            (true, Accounts::All) => &rings.smooth,
            (true, Accounts::Unusual) => return,
            (false, _) => &rings.other,
        };
        let account = report.account.take();
        let facts = Facts { account, ..Facts::from(&*report) };
        ring.put(Explained { call_id, function: function.cloned(), outcome, placer, facts });
    }
}

/// How often a call that went smoothly is remembered while such calls come faster.
const EVERY: Duration = Duration::from_millis(1);

thread_local! {
    static ALLOWANCE: Cell<Allowance> = const { Cell::new(Allowance { left: 0, grown: None }) };
}

/// How many more calls that go smoothly this thread may have remembered.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: usize,
    /// When it had all of `left`; never at first.
    grown: Option<Instant>,
}

impl Allowance {
    /// Takes one, if any is left; there are never more than `most`.
    fn take(&mut self, now: Instant, most: usize) -> bool {
        match self.grown {
            Some(grown) => {
                let since = now.saturating_duration_since(grown);
                if since >= EVERY {
                    let more = usize::try_from(since.as_nanos() / EVERY.as_nanos()).unwrap_or(usize::MAX);
                    self.left = self.left.saturating_add(more).min(most);
                    self.grown = Some(now);
                }
            }
            None => *self = Self { left: most, grown: Some(now) },
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// Whether a call went as most do: at once, to the first runner, and to a warm worker as far as is known.
fn went_smoothly(outcome: Outcome, report: &Report) -> bool {
    let is_cold = report.account.as_ref().is_some_and(|account| matches!(account.explanation.start, Some(StartKind::Cold(_))));
    outcome == Outcome::Ok && report.attempts == 1 && report.waited.is_zero() && !is_cold
}

impl Ring {
    fn new(calls: usize) -> Self {
        Self { next: AtomicUsize::new(0), slots: (0..calls).map(|_| Mutex::default()).collect() }
    }

    fn put(&self, explained: Explained) {
        let slot = &self.slots[self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(explained);
    }
}

/// The value of `runpool-explained`.
pub(super) fn header(call_id: CallId, outcome: Outcome, placer: &'static str, report: &Report) -> Option<HeaderValue> {
    let view = Explained { call_id, function: None, outcome, placer, facts: report.into() }.view();
    let mut text = format!("placer={}, reason={}", view.placer, view.reason);
    if let Some(runner) = &view.runner {
        let _ = write!(text, ", runner={runner}");
    }
    if !view.candidates.is_empty() {
        let candidates: Vec<String> = view.candidates.iter().map(CandidateView::to_string).collect();
        let _ = write!(text, ", candidates=\"{}\"", candidates.join("; "));
    }
    let CallPlacement { waited_ms, attempts, .. } = view;
    let _ = write!(text, ", waited={waited_ms:.1}ms, attempts={attempts}");
    if let Some(start) = &view.start {
        let _ = write!(text, ", start={start}");
    }
    if let (Some(runners), Some(with_room), Some(waiting)) = (view.runners, view.runners_with_room, view.waiting) {
        let _ = write!(text, ", runners={runners}, with-room={with_room}, waiting={waiting}");
    }
    // Names of runners are what the user wrote; one that does not fit in a header costs the header.
    HeaderValue::try_from(text).ok()
}

impl std::fmt::Display for CandidateView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runner, in_flight, slots, idle } = self;
        match slots {
            Some(slots) => write!(f, "{runner} {in_flight}/{slots} warm={idle}"),
            None => write!(f, "{runner} {in_flight}/? warm={idle}"),
        }
    }
}

impl Explained {
    fn view(&self) -> CallPlacement {
        let Facts { runner, account, not_placed, crowd, waited_ms, attempts, refusals } = self.facts.clone();
        let explanation = account.as_ref().map(|account| &account.explanation);
        let start = explanation.and_then(|explanation| explanation.start);
        let chosen = explanation.and_then(|explanation| explanation.reason).map(|reason| reason.as_str());
        // A call that left before it was decided, say: its outcome is all there is to tell.
        let reason = not_placed.or(chosen).map_or_else(|| self.outcome.as_str().replace('_', "-"), str::to_owned);
        let candidates = account.as_deref().map_or_else(Vec::new, |Account { explanation, names }| {
            let seen =
                explanation.candidates.iter().zip(names).filter_map(|(candidate, name)| Some(((*candidate)?, name.as_ref()?)));
            let view = |(candidate, name): (crate::placement::Candidate, &RunnerId)| CandidateView {
                runner: name.to_string(),
                in_flight: candidate.in_flight,
                slots: candidate.slots,
                idle: candidate.idle,
            };
            seen.map(view).collect()
        });
        CallPlacement {
            call_id: self.call_id.to_string(),
            function: self.function.as_ref().map_or_else(String::new, |function| function.name().to_string()),
            outcome: self.outcome.as_str().to_owned(),
            placer: self.placer.to_owned(),
            reason,
            runner: runner.map(|runner| runner.to_string()),
            candidates,
            waited_ms,
            attempts,
            refusals,
            start: start.map(|start| match start {
                StartKind::Warm => "warm".to_owned(),
                StartKind::Cold(_) => "cold".to_owned(),
                StartKind::Unknown => "unknown".to_owned(),
            }),
            start_ms: start
                .and_then(|start| if let StartKind::Cold(took) = start { Some(took.as_secs_f64() * 1e3) } else { None }),
            runners: crowd.map(|crowd| crowd.runners),
            runners_with_room: crowd.map(|crowd| crowd.with_room),
            waiting: crowd.map(|crowd| crowd.waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{GaveUp, NotPlaced, Reason};

    fn id(number: u64) -> CallId {
        CallId::from_parts(number, 1)
    }

    #[test]
    fn the_last_calls_are_remembered_and_no_others() {
        let calls = ExplainedCalls::new(2);
        let smooth = Report { attempts: 1, ..Report::default() };
        let refused = Report { attempts: 7, ..Report::default() };
        calls.remember(id(9), None, Outcome::Ok, "ch", Accounts::All, &mut refused.clone());
        for number in 1..=3 {
            calls.remember(id(number), None, Outcome::Ok, "ch", Accounts::All, &mut smooth.clone());
        }
        assert_eq!(calls.find(id(1)), None);
        assert_eq!(calls.find(id(3)).map(|found| found.attempts), Some(1));
        assert_eq!(calls.find(id(9)).map(|found| found.attempts), Some(7), "not pushed out by calls that went smoothly");
        for number in 10..=11 {
            calls.remember(id(number), None, Outcome::RunnerReset, "ch", Accounts::All, &mut smooth.clone());
        }
        assert_eq!((calls.find(id(9)), calls.find(id(3)).is_some()), (None, true));
        let off = ExplainedCalls::new(0);
        off.remember(id(1), None, Outcome::Ok, "ch", Accounts::All, &mut Report::default());
        assert!(off.find(id(1)).is_none() && !off.is_on());
    }

    #[test]
    fn of_calls_that_follow_each_other_faster_than_anybody_asks_only_some_are_remembered() {
        std::thread::spawn(|| {
            let (calls, began) = (ExplainedCalls::new(3), Instant::now());
            let wanted = |after: Duration| (0..9).filter(|_| calls.wants_next(began + after)).count();
            assert_eq!([0, 0, 1, 1, 3, 100].map(|millis| wanted(Duration::from_millis(millis))), [3, 0, 1, 0, 2, 3]);
            assert!(!ExplainedCalls::new(0).wants_next(began + Duration::from_secs(1)));
        })
        .join()
        .unwrap();
        let calls = ExplainedCalls::new(1);
        let mut smooth = Report { attempts: 1, ..Report::default() };
        calls.remember(id(1), None, Outcome::Ok, "ch", Accounts::Unusual, &mut smooth);
        assert!(calls.find(id(1)).is_none());
        calls.remember(id(2), None, Outcome::RunnerReset, "ch", Accounts::Unusual, &mut smooth);
        assert!(calls.find(id(2)).is_some(), "it did not go smoothly");
    }

    #[test]
    fn a_call_that_was_given_up_says_what_it_was_up_against() {
        let crowd = Crowd { runners: 2, with_room: 0, waiting: 40 };
        let report = Report {
            crowd: Some(crowd),
            not_placed: Some(GaveUp::PlacerTimeout.as_str()),
            waited: std::time::Duration::from_millis(1_500),
            ..Report::default()
        };
        assert_eq!(
            header(id(1), Outcome::PlacerTimeout, "ch", &report).unwrap(),
            "placer=ch, reason=placer-timeout, waited=1500.0ms, attempts=0, runners=2, with-room=0, waiting=40"
        );
    }

    /// As the comment of [`CallPlacement::reason`] is what the OpenAPI document says.
    #[test]
    fn every_reason_is_listed_where_people_look() {
        let readme = include_str!("../../README.md");
        let openapi = crate::front::admin::openapi_document().unwrap();
        let pool = crate::pool::PoolError { fault: crate::pool::Fault::User, detail: String::new() };
        let not_placed = [NotPlaced::PoolFault(pool.clone()), NotPlaced::PoolError(pool), NotPlaced::BodyGone];
        let words = (Reason::ALL.iter().map(|reason| reason.as_str()))
            .chain(GaveUp::ALL.iter().map(|why| why.as_str()))
            .chain(not_placed.iter().map(NotPlaced::as_str));
        for word in words {
            assert!(readme.contains(&format!("`{word}`")), "{word} is not in README.md");
            assert!(openapi.contains(&format!("`{word}`")), "{word} is not in the comment of CallPlacement::reason");
        }
    }

    #[test]
    fn a_call_that_was_never_decided_is_explained_by_its_outcome() {
        let told = header(id(1), Outcome::RunnerReset, "ch", &Report::default()).unwrap();
        assert_eq!(told, "placer=ch, reason=runner-reset, waited=0.0ms, attempts=0");
    }
}
