//! The connections that a listener has: they are counted, told of its end, cut with it, and have one clock.
//!
//! There may be as many as clients, and most of them idle. A timer for each, a place in the list of those that wait for the end, and one in a list of tasks would be
//! more than a third of what such a connection costs. So each leaves one waker here. It is woken when the listener closes, when the connections are cut, and once a
//! tick, to look at its deadline ([`Watch`](super::watch::Watch)): a part of them at a time, so that thousands of them do not keep others waiting.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::server::Said;

/// The connections of a listener. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<State>);

#[derive(Debug, Default)]
struct State {
    closing: Said,
    is_cut: AtomicBool,
    looks: AtomicU32,
    /// Whom to wake. Protects the list; held while one comes or goes, and to copy a part of it.
    members: Mutex<Slab<Waker>>,
    /// The first one has come.
    begun: Notify,
    /// The last one has gone.
    ended: Notify,
}

/// In so many parts the connections are woken in a tick, if it is long enough.
const PARTS: u32 = 16;

impl Crowd {
    /// Has them end with what they have begun.
    pub(super) fn close(&self) {
        self.0.closing.say();
        self.0.wake(0, 1);
    }

    /// Whether they are to end with what they have begun. Each is woken when that is said.
    pub(super) fn closing(&self) -> &Said {
        &self.0.closing
    }

    /// Another number each time that some of them are woken for the clock.
    pub(super) fn looks(&self) -> u32 {
        self.0.looks.load(Ordering::Relaxed)
    }

    /// One more: it has come when this returns, and is cut when the others are.
    pub(super) fn admit<L: Future<Output = ()>>(&self, life: L) -> Admitted<L> {
        let key = {
            let mut members = self.0.members();
            if members.is_empty() {
                self.0.begun.notify_one();
            }
            members.insert(Waker::noop().clone())
        };
        Admitted { life, member: Member { crowd: Arc::clone(&self.0), key, has_waker: false } }
    }

    /// Wakes each of them once in `tick`, and no later than that after it has come.
    pub(super) async fn keep_time(&self, tick: Duration) -> Infallible {
        let parts = u32::try_from(tick.as_millis()).unwrap_or(PARTS).clamp(1, PARTS);
        loop {
            for part in 0..parts {
                while self.0.members().is_empty() {
                    self.0.begun.notified().await;
                }
                sleep(tick / parts).await;
                self.0.looks.fetch_add(1, Ordering::Relaxed);
                self.0.wake(part, parts);
            }
        }
    }

    /// Returns when there is none.
    pub(super) async fn ended(&self) {
        while !self.0.members().is_empty() {
            self.0.ended.notified().await;
        }
    }

    /// Cuts them when it is dropped.
    pub(super) const fn cut_at_end(&self) -> CutAtEnd<'_> {
        CutAtEnd(self)
    }
}

impl State {
    fn members(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one of so many parts.
    fn wake(&self, part: u32, parts: u32) {
        let (part, parts) = (part as usize, parts as usize);
        let woken: Vec<Waker> = {
            let members = self.members();
            (part..members.capacity()).step_by(parts).filter_map(|key| members.get(key).cloned()).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

/// See [`Crowd::cut_at_end`].
pub(super) struct CutAtEnd<'a>(&'a Crowd);

impl Drop for CutAtEnd<'_> {
    fn drop(&mut self) {
        let state = &*self.0.0;
        state.is_cut.store(true, Ordering::Release);
        state.wake(0, 1);
    }
}

/// The place of one connection among the others.
#[derive(Debug)]
struct Member {
    crowd: Arc<State>,
    key: usize,
    /// It can be woken.
    has_waker: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        let waker = members.try_remove(self.key);
        if members.is_empty() {
            self.crowd.ended.notify_one();
        }
        drop(members);
        // It may be the last thing that is left of the task.
        drop(waker);
    }
}

pin_project! {
    /// The life of one connection among the others: a task.
    #[derive(Debug)]
    pub(super) struct Admitted<L> {
        #[pin]
        life: L,
        // Dropped after it: who waits for the last to go finds nothing left of it.
        member: Member,
    }
}

impl<L: Future<Output = ()>> Future for Admitted<L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !std::mem::replace(&mut this.member.has_waker, true) {
            let mut members = this.member.crowd.members();
            if let Some(waker) = members.get_mut(this.member.key) {
                waker.clone_from(cx.waker());
            }
        }
        // What is said from here on wakes it.
        if this.member.crowd.is_cut.load(Ordering::Acquire) { Poll::Ready(()) } else { this.life.poll(cx) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    /// Lives until the listener closes, and says each time that it is woken.
    async fn life(crowd: Crowd, woken: mpsc::UnboundedSender<()>) {
        poll_fn(|_| {
            let _ = woken.send(());
            if crowd.closing().is_said() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_woken_once_in_a_tick_and_at_the_end_and_then_there_is_none() {
        let (crowd, tick) = (Crowd::default(), Duration::from_secs(5));
        let mut lives = Vec::new();
        for _ in 0..10 * PARTS {
            let (woken, wakes) = mpsc::unbounded_channel();
            tokio::spawn(crowd.admit(life(crowd.clone(), woken)));
            lives.push(wakes);
        }
        let began = Instant::now();
        let timed = async {
            for wakes in &mut lives {
                wakes.recv().await.unwrap();
                wakes.recv().await.unwrap();
            }
        };
        tokio::select! {
            never = crowd.keep_time(tick) => match never {},
            () = timed => {}
        }
        let taken = began.elapsed();
        // The runtime's timers are of milliseconds.
        assert!(taken <= tick + PARTS * Duration::from_millis(2), "the last one was woken after {taken:?}");
        crowd.close();
        crowd.ended().await;
        for wakes in &mut lives {
            let mut times = 0;
            while wakes.recv().await.is_some() {
                times += 1;
            }
            assert!(times <= 2, "woken {times} times more than once in a tick");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_cut_with_their_listener() {
        let crowd = Crowd::default();
        let cut = crowd.cut_at_end();
        for _ in 0..3 {
            tokio::spawn(crowd.admit(pending()));
        }
        tokio::task::yield_now().await;
        drop(cut);
        crowd.ended().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_not_looked_at_yet_counts_and_is_told() {
        let crowd = Crowd::default();
        let (woken, _wakes) = mpsc::unbounded_channel();
        let life = crowd.admit(life(crowd.clone(), woken));
        let mut ended = std::pin::pin!(crowd.ended());
        assert!(futures_util::poll!(ended.as_mut()).is_pending());
        crowd.close();
        tokio::spawn(life);
        ended.await;
    }
}
