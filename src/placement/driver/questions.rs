//! Questions that the loop wants runners to be asked: for room, for their load, for their whole state. Each is a task that ends with the loop.
//!
//! A question for room is a long poll. It is dropped when no call has waited for [`LINGER`]: the runner then lends nothing in vain, and a queue
//! that is empty for a moment costs no connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::kept::{At, Losses};
use super::live::{Inside, LiveLoop, Said};
use crate::placement::event::{Event, FunctionNumber, RunnerNews};
use crate::placement::metrics::RoomAnswer;
use crate::pool::{Member, RunnerPlace, RunnerReport};
use crate::runner::{NoRoom, Room};

/// How long one question for room may wait at the runner.
const WAIT: Duration = Duration::from_secs(10);
/// How long nobody waits before questions for room are dropped.
const LINGER: Duration = Duration::from_millis(20);

/// How a question for room ended.
enum Asked {
    Answered(Result<Room, NoRoom>),
    /// Nobody waits any more.
    Dropped,
}

impl LiveLoop {
    /// Asks a runner for a slot.
    pub(super) fn ask_room(&self, inside: &Inside, place: RunnerPlace) {
        let Some((at, member)) = inside.kept(place) else { return };
        let (this, is_waiting) = (self.weak(), self.is_waiting());
        self.spawn(async move {
            let asked = tokio::select! {
                answer = member.runner.ask_room(WAIT) => Asked::Answered(answer),
                () = nobody_waits(is_waiting) => Asked::Dropped,
            };
            if let Some(live) = this.upgrade() {
                live.room_asked(at, asked);
            }
        });
    }

    fn room_asked(&self, at: At, asked: Asked) {
        let now = Instant::now();
        self.tell_made(|live, inside| {
            let kept = inside.kept_mut(at)?;
            let runner = at.place;
            let (answer, event) = match asked {
                Asked::Answered(Ok(room)) => {
                    kept.lends(room.token, now + room.lease);
                    (RoomAnswer::Granted, Event::Room { runner })
                }
                Asked::Answered(Err(NoRoom::NoneInTime { .. })) => {
                    kept.question_answered();
                    (RoomAnswer::NoneInTime, Event::NoRoom { runner, again_after: Duration::ZERO })
                }
                Asked::Answered(Err(NoRoom::Refused(refused))) => {
                    let pause = kept.pause();
                    (RoomAnswer::Failed, Event::NoRoom { runner, again_after: refused.retry_after.unwrap_or(pause) })
                }
                Asked::Answered(Err(error)) => {
                    tracing::debug!(runner = %kept.member.id, %error, "could not ask for room");
                    (RoomAnswer::Failed, Event::NoRoom { runner, again_after: kept.pause() })
                }
                Asked::Dropped => {
                    kept.question_answered();
                    (RoomAnswer::Dropped, Event::NoRoom { runner, again_after: Duration::ZERO })
                }
            };
            live.metrics().room_asked(answer);
            Some(event)
        });
    }

    /// Probes a runner, unless it is being probed.
    pub(super) fn probe(&self, inside: &mut Inside, place: RunnerPlace) {
        let Some((at, member)) = inside.kept(place) else { return };
        let Some(kept) = inside.kept_mut(at) else { return };
        if std::mem::replace(&mut kept.is_probed, true) {
            return;
        }
        let this = self.weak();
        self.spawn(async move {
            let probed = member.runner.probe().await;
            let Some(live) = this.upgrade() else { return };
            live.tell_made(|_, inside| {
                inside.kept_mut(at)?.is_probed = false;
                Some(match &probed {
                    Ok(probe) => Event::Probed {
                        runner: place,
                        in_flight: probe.load.in_flight,
                        latency: probe.latency.unwrap_or_default(),
                    },
                    Err(_) => Event::ProbeFailed { runner: place },
                })
            });
        });
    }

    /// What a runner said beside an answer or a refusal, as the loop takes it. If losses were missed, nothing is believed to be warm there until
    /// it has told its whole state, which it is asked for once.
    pub(super) fn news(&self, inside: &mut Inside, at: At, said: Said) -> RunnerNews {
        let Said { load, lost } = said;
        let losses = match (&lost, inside.kept_mut(at)) {
            (Some(lost), Some(kept)) => kept.losses(lost),
            _ => Losses::Told(Vec::new()),
        };
        let lost_warm = match losses {
            Losses::Told(lost) => lost.iter().filter_map(|(name, count)| Some((inside.number(name.as_str())?, *count))).collect(),
            Losses::Missed => {
                if let Some(kept) = inside.kept_mut(at)
                    && !std::mem::replace(&mut kept.is_asked_for_status, true)
                {
                    self.ask_status(at, Arc::clone(&kept.member));
                }
                let view = inside.view();
                let warm: &[FunctionNumber] = view.runner(at.place).map_or(&[], |runner| runner.warm());
                warm.iter().map(|function| (*function, view.function(*function).idle_on(at.place))).collect()
            }
        };
        RunnerNews { load, lost_warm }
    }

    /// Asks agents that joined how many slots they have.
    pub(super) fn ask_newcomers(&self, inside: &mut Inside) {
        for place in inside.take_newcomers() {
            let Some((at, member)) = inside.kept(place) else { continue };
            if let Some(kept) = inside.kept_mut(at) {
                kept.is_asked_for_status = true;
                self.ask_status(at, member);
            }
        }
    }

    fn ask_status(&self, at: At, member: Arc<Member>) {
        let (this, permits) = (self.weak(), Arc::clone(&self.asked_for_status));
        self.spawn(async move {
            // Never closed.
            let permit = permits.acquire().await;
            let asked_at = Instant::now();
            let answer = member.runner.status().await;
            drop(permit);
            let Some(live) = this.upgrade() else { return };
            live.tell_made(|_, inside| {
                inside.kept_mut(at)?.is_asked_for_status = false;
                // Without an answer it stays at that nothing is warm there, until calls show better.
                inside.whole_state(at, RunnerReport::of(at.place, asked_at, answer.ok()?))
            });
        });
    }

    /// A runner told its whole state.
    pub(super) fn reported(&self, report: RunnerReport) {
        self.tell_made(|_, inside| {
            let (at, _) = inside.kept(report.place)?;
            inside.whole_state(at, report)
        });
    }
}

impl Inside {
    /// A runner's whole state as it is now: what it said, but for what our own calls have changed there since it was asked. `None` if too many have.
    fn whole_state(&mut self, at: At, report: RunnerReport) -> Option<Event> {
        let RunnerReport { place, asked_at, load, warm_workers, lost_seq } = report;
        let kept = self.kept_mut(at)?;
        let is_moved = kept.is_moved_since(asked_at);
        let ended = kept.ended_since(asked_at)?;
        kept.told_whole(lost_seq);
        let mut warm: Vec<(FunctionNumber, u32)> = warm_workers
            .iter()
            .filter_map(|(name, idle)| Some((self.number(name)?, *idle)))
            .filter(|(function, _)| !ended.contains(function))
            .collect();
        // What happened meanwhile is known better than it could be told.
        let view = self.view();
        let mut kept_as_known = ended;
        kept_as_known.sort_unstable();
        kept_as_known.dedup();
        warm.extend(kept_as_known.into_iter().map(|function| (function, view.function(function).idle_on(place))));
        let known = view.runner(place).map_or(load.in_flight, |runner| runner.in_flight());
        let in_flight = if is_moved { known } else { load.in_flight };
        Some(Event::Reported { runner: place, in_flight, slots: load.slots, warm })
    }
}

/// Comes when no call has waited for [`LINGER`].
async fn nobody_waits(mut is_waiting: watch::Receiver<bool>) {
    loop {
        if is_waiting.wait_for(|is_waiting| !is_waiting).await.is_err() {
            return;
        }
        if tokio::time::timeout(LINGER, is_waiting.wait_for(|is_waiting| *is_waiting)).await.is_err() {
            return;
        }
    }
}

/// The loop, if it still is.
pub(super) type WeakLoop = Weak<LiveLoop>;
