//! A call's hold on the loop: what it tells of its attempts, and that it is gone.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Accounts, Course};
use super::kept::At;
use super::live::{LiveLoop, Next, REJECTED, Said, wake};
use crate::placement::event::{CallNumber, EndedHow, Event, FunctionNumber, RefusedKind, RunnerNews, StartKind};

/// A call in the loop. Dropped before its end, it is gone from there at once.
pub(super) struct CallGuard<'a> {
    live: Cow<'a, Arc<LiveLoop>>,
    call: CallNumber,
    function: FunctionNumber,
    is_over: bool,
}

impl<'a> CallGuard<'a> {
    /// That of a call which has just come.
    pub(super) fn new(live: Cow<'a, Arc<LiveLoop>>, call: CallNumber, function: FunctionNumber) -> Self {
        Self { live, call, function, is_over: false }
    }

    /// The same, for as long as anybody likes.
    pub(super) fn into_owned(mut self) -> CallGuard<'static> {
        self.is_over = true;
        CallGuard { live: Cow::Owned(Arc::clone(&self.live)), call: self.call, function: self.function, is_over: false }
    }

    /// The head of the answer came; of one that is still to come, its runner ends the call by `runs_until` if that is known. Returns why the call went
    /// where it went.
    pub(super) fn committed(
        &self,
        at: At,
        start: StartKind,
        runs_until: Option<Instant>,
        said: Said,
        accounts: Accounts,
    ) -> Course {
        let mut inside = self.live.lock();
        let news = self.live.news(&mut inside, at, said);
        let runs_until = runs_until.map(|until| self.live.moment(until));
        let stepped = self.live.step(&mut inside, &Event::Committed { call: self.call, start, runs_until, news }, None);
        let course = inside.course(self.call, inside.latest, accounts);
        drop(inside);
        wake(stepped.woken);
        course
    }

    /// The head of the answer came, and all of its body with it: the call's time on its runner is over. Returns why the call went where it went.
    pub(super) fn answered(mut self, at: At, start: StartKind, said: Said, accounts: Accounts) -> Course {
        self.is_over = true;
        let mut inside = self.live.lock();
        let news = self.live.news(&mut inside, at, said);
        let committed = Event::Committed { call: self.call, start, runs_until: None, news };
        let committed = self.live.step(&mut inside, &committed, None);
        let course = inside.course(self.call, inside.latest, accounts);
        inside.ended(at, self.function);
        let ended = Event::Ended { call: self.call, how: EndedHow::Ok, news: RunnerNews::default() };
        let ended = self.live.step(&mut inside, &ended, None);
        drop(inside);
        wake(committed.woken);
        wake(ended.woken);
        course
    }

    /// The call is committed, and there is no answer of its function. Returns why it went where it went.
    pub(super) fn failed(mut self, at: At, how: EndedHow, said: Said) -> Course {
        self.is_over = true;
        let mut inside = self.live.lock();
        let course = inside.course(self.call, self.live.now(), Accounts::All);
        inside.ended(at, self.function);
        let news = self.live.news(&mut inside, at, said);
        let stepped = self.live.step(&mut inside, &Event::Ended { call: self.call, how, news }, None);
        drop(inside);
        wake(stepped.woken);
        course
    }

    /// The runner refused.
    pub(super) fn refused(&self, at: At, why: RefusedKind, retry_after: Option<Duration>, said: Said) -> Next {
        let mut inside = self.live.lock();
        let news = self.live.news(&mut inside, at, said);
        let event = Event::Refused { call: self.call, why, retry_after, news };
        let stepped = self.live.step(&mut inside, &event, Some(self.call));
        drop(inside);
        wake(stepped.woken);
        stepped.mine.unwrap_or(REJECTED)
    }

    /// The call's time on its runner is over.
    pub(super) fn ended(mut self, at: At, how: EndedHow) {
        self.is_over = true;
        let (call, function) = (self.call, self.function);
        self.live.tell_made(|_, inside| {
            inside.ended(at, function);
            Some(Event::Ended { call, how, news: RunnerNews::default() })
        });
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.live.tell(&Event::ClientGone { call: self.call });
        }
    }
}
