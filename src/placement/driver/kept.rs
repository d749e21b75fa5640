//! What the driver keeps of one runner beside what the loop knows: losses it has heard of, slots that were lent, and how questions fared.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::FunctionName;
use crate::placement::event::FunctionNumber;
use crate::pool::{Member, RunnerPlace};
use crate::protocol::{LostWarm, RoomToken};

/// Which runner: its place, and which of those that ever had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) place: RunnerPlace,
    pub(super) life: u64,
}

/// One runner of the pool.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) member: Arc<Member>,
    pub(super) life: u64,
    /// A probe is under way: one is enough.
    pub(super) is_probed: bool,
    /// It is being asked for its whole state, since losses were missed.
    pub(super) is_asked_for_status: bool,
    /// The number of the newest loss that the loop was told of; `None` before the first word about losses.
    seen_loss: Option<u64>,
    /// Slots that it lends, and until when.
    lent: Vec<(RoomToken, Instant)>,
    /// When the last of our calls began or ended there.
    last_turn: Option<Instant>,
    /// Functions of which calls of ours ended there lately, and when; the newest last.
    ends: VecDeque<(FunctionNumber, Instant)>,
    /// Questions for room that failed, one after the other.
    failed_questions: u32,
}

/// What a word about lost workers says that was not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Losses {
    /// These, maybe none.
    Told(Vec<(FunctionName, u32)>),
    /// Some were missed: what is believed to be warm there may not be.
    Missed,
}

/// Ends of calls that are remembered, to tell what a report cannot have taken in.
const REMEMBERED_ENDS: usize = 64;
/// The pause after a question for room that could not be asked, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Kept {
    pub(super) const fn new(member: Arc<Member>, life: u64) -> Self {
        Self {
            member,
            life,
            is_probed: false,
            is_asked_for_status: false,
            seen_loss: None,
            lent: Vec::new(),
            last_turn: None,
            ends: VecDeque::new(),
            failed_questions: 0,
        }
    }

    /// The same runner, as the pool describes it now.
    pub(super) fn now(self, member: Arc<Member>) -> Self {
        Self { member, ..self }
    }

    /// Takes note of a word about lost workers. Words may overtake each other: older ones say nothing new. The first one says nothing
    /// either, as nothing was believed to be warm before it but what the same answer told.
    pub(super) fn losses(&mut self, lost: &LostWarm) -> Losses {
        let Some(seen) = self.seen_loss else {
            self.seen_loss = Some(lost.newest());
            return Losses::Told(Vec::new());
        };
        self.seen_loss = Some(seen.max(lost.newest()));
        match lost.since(seen) {
            Some(lost) => Losses::Told(lost.into_iter().map(|(name, count)| (name.clone(), count)).collect()),
            None => Losses::Missed,
        }
    }

    /// Its whole state was told, with the losses up to this number.
    pub(super) fn told_whole(&mut self, lost_seq: u64) {
        self.seen_loss = self.seen_loss.max(Some(lost_seq));
    }

    /// A call of ours begins there.
    pub(super) const fn begins(&mut self, now: Instant) {
        self.last_turn = Some(now);
    }

    /// A call of ours is over there.
    pub(super) fn ends(&mut self, function: FunctionNumber, now: Instant) {
        self.last_turn = Some(now);
        if self.ends.len() == REMEMBERED_ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back((function, now));
    }

    /// Whether calls of ours began or ended there since.
    pub(super) fn is_moved_since(&self, moment: Instant) -> bool {
        self.last_turn.is_some_and(|last| last >= moment)
    }

    /// Functions of which calls of ours ended there since; `None` if there were too many to remember.
    pub(super) fn ended_since(&self, moment: Instant) -> Option<Vec<FunctionNumber>> {
        let is_all = self.ends.len() < REMEMBERED_ENDS || self.ends.front().is_some_and(|(_, at)| *at < moment);
        is_all.then(|| self.ends.iter().filter(|(_, at)| *at >= moment).map(|(function, _)| *function).collect())
    }

    /// It lends a slot.
    pub(super) fn lends(&mut self, token: RoomToken, until: Instant) {
        self.failed_questions = 0;
        self.lent.push((token, until));
    }

    /// A slot that it still lends, for one call.
    pub(super) fn take_lent(&mut self, now: Instant) -> Option<RoomToken> {
        self.lent.retain(|(_, until)| *until > now);
        (!self.lent.is_empty()).then(|| self.lent.remove(0).0)
    }

    /// A question for room was answered, if only by no.
    pub(super) const fn question_answered(&mut self) {
        self.failed_questions = 0;
    }

    /// When it makes sense to ask again after a question that could not be asked.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failed_questions.min(8));
        self.failed_questions = self.failed_questions.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::doubles::Scripted;

    fn kept() -> Kept {
        Kept::new(Arc::new(Member::new(Arc::new(Scripted::busy("a:1")))), 1)
    }

    fn lost(text: &str) -> LostWarm {
        text.parse().unwrap()
    }

    #[test]
    fn each_loss_is_told_once_and_a_gap_is_noticed() {
        let mut kept = kept();
        let told =
            |list: &[(&str, u32)]| Losses::Told(list.iter().map(|(name, count)| (name.parse().unwrap(), *count)).collect());
        assert_eq!(kept.losses(&lost("seq=10; a*2")), told(&[]), "of before our time");
        assert_eq!(kept.losses(&lost("seq=12; b, a*3")), told(&[("b", 1), ("a", 1)]));
        assert_eq!(kept.losses(&lost("seq=11; a*3")), told(&[]), "an answer that was overtaken");
        assert_eq!(kept.losses(&lost("seq=12; b, a*3")), told(&[]));
        assert_eq!(kept.losses(&lost("seq=1000; c")), Losses::Missed);
        kept.told_whole(1_001);
        assert_eq!(kept.losses(&lost("seq=1001; d, c")), told(&[]), "the whole state had it already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lent_slot_is_for_one_call_and_not_beyond_its_lease() {
        let (mut kept, now) = (kept(), Instant::now());
        let lease = Duration::from_millis(50);
        kept.lends(RoomToken(1), now + lease);
        kept.lends(RoomToken(2), now + 2 * lease);
        assert_eq!(kept.take_lent(now), Some(RoomToken(1)));
        assert_eq!(kept.take_lent(now + 3 * lease), None);
    }

    #[test]
    fn questions_that_fail_pause_longer_and_longer_up_to_a_second() {
        let mut kept = kept();
        let pauses: Vec<u128> = (0..6).map(|_| kept.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
        kept.question_answered();
        assert_eq!(kept.pause(), FIRST_PAUSE);
    }
}
