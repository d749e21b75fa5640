//! The gate that everything running passes, so that closing can wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts running sessions until it is closed, and says when the last one has ended after that.
///
/// State is one word: the number of sessions, and a bit for *closed*. So a session either began before the close, which then waits for
/// it, or it did not begin at all; no lock decides between them.
#[derive(Debug, Default)]
pub struct Gate {
    state: AtomicU64,
    /// Told when a closed gate has no session left.
    is_empty: Notify,
}

/// Something that passed the gate; it has left when this is dropped.
#[derive(Debug)]
pub struct Session {
    gate: Arc<Gate>,
}

const CLOSED: u64 = 1 << 63;

impl Gate {
    /// An open gate.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Begins a session; `None` once the gate is closed.
    pub fn enter(self: &Arc<Self>) -> Option<Session> {
        self.admit().then(|| Session { gate: Arc::clone(self) })
    }

    /// Begins a session that its owner ends with [`Gate::leave`]; whether it began.
    pub(super) fn admit(&self) -> bool {
        let add = |state: u64| (state & CLOSED == 0).then_some(state + 1);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }

    /// Ends a session that was admitted.
    pub(super) fn leave(&self) {
        if self.state.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1 {
            self.is_empty.notify_waiters();
        }
    }

    /// Ends a session that was admitted when what is returned is dropped.
    pub(super) fn stay(self: &Arc<Self>) -> Session {
        Session { gate: Arc::clone(self) }
    }

    /// Lets nothing more in. Does not wait, and may be called again.
    pub fn close(&self) {
        if self.state.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED == 0 {
            self.is_empty.notify_waiters();
        }
    }

    /// Waits until the gate is closed and the last session has ended. Safe to drop and to call again.
    pub async fn drained(&self) {
        loop {
            // Listens before it looks: an end between the two would be missed otherwise.
            let mut told = std::pin::pin!(self.is_empty.notified());
            told.as_mut().enable();
            if self.state.load(Ordering::Acquire) == CLOSED {
                return;
            }
            told.await;
        }
    }

    /// Whether new sessions may begin.
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED == 0
    }

    /// How many sessions there are now.
    pub fn sessions(&self) -> u64 {
        self.state.load(Ordering::Acquire) & !CLOSED
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

/// Acceptance case 19: what Fn's session gate ("WaitGroup") promises. Fn's "add 0" asks whether the gate is open.
#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn an_open_gate_lets_in_and_a_closed_one_does_not() {
        let gate = Gate::new();
        assert!(gate.is_open());
        let session = gate.enter();
        assert!(session.is_some());
        gate.close();
        assert!(!gate.is_open());
        assert!(gate.enter().is_none());
        drop(session);
        assert!(gate.enter().is_none(), "an empty closed gate stays closed");
    }

    #[tokio::test]
    async fn closing_an_empty_gate_is_done_at_once() {
        let gate = Gate::new();
        assert!(gate.drained().now_or_never().is_none(), "an open gate is not drained");
        gate.close();
        gate.drained().await;
        gate.close();
        gate.drained().await;
    }

    #[tokio::test]
    async fn closing_is_done_when_the_last_session_has_ended_and_not_before() {
        let gate = Gate::new();
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        gate.close();
        let mut drained = Box::pin(gate.drained());
        assert!(drained.as_mut().now_or_never().is_none());
        drop(first);
        assert!(drained.as_mut().now_or_never().is_none());
        drop(second);
        drained.await;
    }

    #[tokio::test]
    async fn everybody_who_waits_for_the_end_is_told() {
        let gate = Gate::new();
        let session = gate.enter().unwrap();
        gate.close();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.drained().await })
            })
            .collect();
        drop(session);
        for waiter in waiting {
            waiter.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn five_hundred_that_race_with_the_close_are_either_waited_for_or_kept_out() {
        let gate = Gate::new();
        let pending = gate.enter().unwrap();
        let start = Arc::new(tokio::sync::Barrier::new(501));
        let racing: Vec<_> = (0..500)
            .map(|_| {
                let (gate, start) = (Arc::clone(&gate), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    gate.enter()
                })
            })
            .collect();
        start.wait().await;
        gate.close();
        assert!(gate.drained().now_or_never().is_none(), "one session is pending");

        let mut entered = Vec::new();
        for racer in racing {
            entered.extend(racer.await.unwrap());
        }
        assert_eq!(gate.sessions(), 1 + entered.len() as u64);
        assert!(gate.enter().is_none());

        drop(pending);
        assert_eq!(gate.drained().now_or_never().is_some(), entered.is_empty());
        drop(entered);
        gate.drained().await;
        assert_eq!(gate.sessions(), 0);
    }
}
