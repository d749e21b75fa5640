//! The connections that a listener has: they are counted, told of its end, cut with it, and have one clock.
//!
//! There may be as many as clients, and most of them idle. A timer for each, a place in the list of those that wait for the end, and one in a list of tasks would be
//! more than a third of what such a connection costs. So each leaves one waker here. It is woken when the listener closes, when the connections are cut, and once a
//! tick, to look at its deadline ([`Watch`](super::watch::Watch)): some of them at a time, so that of thousands only hundreds stand before who has something to do.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::server::Said;

/// The connections of a listener. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Crowd(Arc<State>);

#[derive(Debug)]
struct State {
    tick: Duration,
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
const PARTS: u32 = 64;

impl Crowd {
    /// None yet. Each will be woken once in `tick`.
    pub(super) fn new(tick: Duration) -> Self {
        Self(Arc::new(State {
            tick,
            closing: Said::default(),
            is_cut: AtomicBool::default(),
            looks: AtomicU32::default(),
            members: Mutex::default(),
            begun: Notify::default(),
            ended: Notify::default(),
        }))
    }

    /// How often each is woken.
    pub(super) fn tick(&self) -> Duration {
        self.0.tick
    }

    /// Has them end with what they have begun.
    pub(super) fn close(&self) {
        self.0.closing.say();
        self.0.wake(0..=0, 1);
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
    pub(super) fn join<L: Future<Output = ()>>(&self, life: L) -> Joined<L> {
        let key = {
            let mut members = self.0.members();
            if members.is_empty() {
                self.0.begun.notify_one();
            }
            members.insert(Waker::noop().clone())
        };
        Joined { life, member: Member { crowd: Arc::clone(&self.0), key, has_waker: false } }
    }

    /// Wakes each of them once in a tick, and no later than that after it has come, but for the milliseconds by which timers are late.
    pub(super) async fn keep_time(&self) -> Infallible {
        let state = &*self.0;
        let parts = u32::try_from(state.tick.as_millis()).unwrap_or(PARTS).clamp(1, PARTS);
        let (step, parts) = (state.tick / parts, parts as usize);
        let mut at = Instant::now();
        loop {
            while state.members().is_empty() {
                state.begun.notified().await;
                at = Instant::now();
            }
            // Who was stopped has nothing to make up for.
            let now = Instant::now();
            at = at.max(now.checked_sub(state.tick).unwrap_or(now));
            let mut earlier = 0;
            for part in 0..parts {
                at += step;
                // A few connections do not wake the process for parts of which there is none.
                if part + 1 < parts && keys(&state.members(), part..=part, parts).next().is_none() {
                    continue;
                }
                sleep_until(at).await;
                state.looks.fetch_add(1, Ordering::Relaxed);
                // With those of parts before that have come meanwhile.
                state.wake(earlier..=part, parts);
                earlier = part + 1;
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

    /// Wakes these of so many parts, outside of the lock.
    fn wake(&self, of: RangeInclusive<usize>, parts: usize) {
        let woken: Vec<Waker> = {
            let members = self.members();
            keys(&members, of, parts).filter_map(|key| members.get(key).cloned()).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

/// The keys of these of so many parts.
fn keys(members: &Slab<Waker>, of: RangeInclusive<usize>, parts: usize) -> impl Iterator<Item = usize> {
    of.flat_map(move |part| (part..members.capacity()).step_by(parts)).filter(|key| members.contains(*key))
}

/// See [`Crowd::cut_at_end`].
pub(super) struct CutAtEnd<'a>(&'a Crowd);

impl Drop for CutAtEnd<'_> {
    fn drop(&mut self) {
        let state = &*self.0.0;
        state.is_cut.store(true, Ordering::Release);
        state.wake(0..=0, 1);
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
            // With the memory that many took.
            *members = Slab::new();
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
    pub(super) struct Joined<L> {
        #[pin]
        life: L,
        // Dropped after it: who waits for the last to go finds nothing left of it.
        member: Member,
    }
}

impl<L: Future<Output = ()>> Future for Joined<L> {
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
    use tokio::time::timeout;

    const TICK: Duration = Duration::from_secs(2);
    /// By so much a timer is late at most.
    const LATE: Duration = Duration::from_millis(3);

    /// Lives until the listener closes, and says when it is woken.
    async fn life(crowd: Crowd, woken: mpsc::UnboundedSender<Instant>) {
        poll_fn(|_| {
            let _ = woken.send(Instant::now());
            if crowd.closing().is_said() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn join(crowd: &Crowd) -> mpsc::UnboundedReceiver<Instant> {
        let (woken, wakes) = mpsc::unbounded_channel();
        tokio::spawn(crowd.join(life(crowd.clone(), woken)));
        wakes
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_woken_once_in_a_tick_whenever_it_has_come_and_at_the_end_and_then_there_is_none() {
        let (crowd, ticks) = (Crowd::new(TICK), 5);
        let coming = async {
            let mut lives = Vec::new();
            for come in [1, 1, 130, 2, 900, 7] {
                lives.extend((0..come).map(|_| join(&crowd)));
                tokio::time::sleep(TICK * 7 / 23).await;
            }
            tokio::time::sleep(TICK * ticks).await;
            lives
        };
        let lives = tokio::select! {
            never = crowd.keep_time() => match never {},
            lives = coming => lives,
        };
        crowd.close();
        crowd.ended().await;
        for mut wakes in lives {
            let (mut last, mut times) = (wakes.recv().await.unwrap(), 0);
            while let Some(woken) = wakes.recv().await {
                let pause = woken - last;
                assert!(pause <= TICK + LATE, "one was not woken for {pause:?}");
                (last, times) = (woken, times + 1);
            }
            // All have been there for so many, and one more is the end; the first for two more.
            assert!((ticks..=ticks + 4).contains(&times), "one was woken {times} times in {ticks} ticks");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_cut_with_their_listener() {
        let crowd = Crowd::new(TICK);
        let cut = crowd.cut_at_end();
        for _ in 0..3 {
            tokio::spawn(crowd.join(pending()));
        }
        tokio::task::yield_now().await;
        drop(cut);
        timeout(TICK, crowd.ended()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_not_looked_at_yet_counts_and_is_told() {
        let crowd = Crowd::new(TICK);
        let (woken, _wakes) = mpsc::unbounded_channel();
        let life = crowd.join(life(crowd.clone(), woken));
        let mut ended = std::pin::pin!(crowd.ended());
        assert!(futures_util::poll!(ended.as_mut()).is_pending());
        crowd.close();
        tokio::spawn(life);
        timeout(TICK, ended).await.unwrap();
    }
}
