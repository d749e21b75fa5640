//! The admission gate: slots, and whether the agent takes calls at all.
//!
//! The gate, not anybody's belief about it, decides whether the agent is idle: it is closed first, then nothing more can enter, then what is
//! inside is waited for. A [`Permit`] is one slot; it is freed when dropped, which its holder does when the process that
//! ran the call can do nothing more for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use crate::model::{Digest, Function};
use crate::protocol::{AgentState, Refusal, RefusalReason};

/// The gate. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slots: u32,
    /// Protects everything that decides on admission; held for a look and a few additions.
    inside: Mutex<Inside>,
    in_flight: watch::Sender<u32>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Inside {
    state: AgentState,
    in_flight: u32,
    by_function: HashMap<Digest, u32>,
    received: u64,
    handled: u64,
    /// Moving average of how long permits are held, in seconds.
    usual_seconds: Option<f64>,
}

/// What the gate has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateView {
    pub(crate) state: AgentState,
    pub(crate) in_flight: u32,
    pub(crate) received: u64,
    pub(crate) handled: u64,
}

/// One slot.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    function: Digest,
    since: Instant,
    counts: Counts,
}

/// Whether the call of a permit has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Handled,
    Refused,
}

// === impl Gate ===

impl Gate {
    /// A gate in front of `slots` slots, closed until [`open`](Self::open).
    pub(crate) fn new(slots: u32, gauge: Gauge) -> Self {
        Self { shared: Arc::new(Shared { slots, inside: Mutex::default(), in_flight: watch::Sender::new(0), gauge }) }
    }

    /// Opens the gate, unless it was closed for good before.
    pub(crate) fn open(&self) {
        let mut inside = self.shared.lock();
        if inside.state == AgentState::Starting {
            inside.state = AgentState::Ready;
        }
    }

    /// Closes the gate for good: every later call is refused with `draining`.
    pub(crate) fn drain(&self) {
        self.shared.lock().state = AgentState::Draining;
    }

    /// Counts a call that has come, whatever becomes of it.
    pub(crate) fn receive(&self) {
        self.shared.lock().received += 1;
    }

    /// Whether calls are taken at all: the first check, before anything is known of the call's function.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        self.shared.lock().check_open()
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// The refusal: the gate is closed, or no slot is free, or the function has as many as it may.
    pub(crate) fn enter(&self, function: &Function) -> Result<Permit, Refusal> {
        let mut inside = self.shared.lock();
        inside.check_open()?;
        let of_function = inside.by_function.get(&function.digest).copied().unwrap_or(0);
        let is_function_full = function.spec.concurrency > 0 && of_function >= function.spec.concurrency;
        if inside.in_flight >= self.shared.slots || is_function_full {
            return Err(Refusal { reason: RefusalReason::Busy, retry_after: inside.next_slot_after(self.shared.slots) });
        }
        inside.in_flight += 1;
        inside.by_function.insert(function.digest.clone(), of_function + 1);
        self.shared.tell(&inside);
        let (shared, function) = (Arc::clone(&self.shared), function.digest.clone());
        Ok(Permit { shared, function, since: Instant::now(), counts: Counts::Handled })
    }

    /// Waits until no call is inside. Means something only after [`drain`](Self::drain).
    pub(crate) async fn idle(&self) {
        let mut in_flight = self.shared.in_flight.subscribe();
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = in_flight.wait_for(|count| *count == 0).await;
    }

    /// What the gate has seen.
    pub(crate) fn view(&self) -> GateView {
        let inside = self.shared.lock();
        GateView { state: inside.state, in_flight: inside.in_flight, received: inside.received, handled: inside.handled }
    }

    /// The number of slots.
    pub(crate) fn slots(&self) -> u32 {
        self.shared.slots
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who waits or counts. Called under the lock, so that the last word is the true one.
    fn tell(&self, inside: &Inside) {
        self.in_flight.send_replace(inside.in_flight);
        self.gauge.set(i64::from(inside.in_flight));
    }
}

// === impl Inside ===

impl Inside {
    const fn check_open(&self) -> Result<(), Refusal> {
        match self.state {
            AgentState::Ready => Ok(()),
            AgentState::Starting => Err(Refusal::new(RefusalReason::Starting)),
            AgentState::Draining => Err(Refusal::new(RefusalReason::Draining)),
        }
    }

    /// With `slots` calls in hand that usually take so long, one ends every so often.
    fn next_slot_after(&self, slots: u32) -> Option<Duration> {
        let seconds = self.usual_seconds? / f64::from(slots.max(1));
        // Whole milliseconds go over the wire; 0 would ask for a storm.
        Duration::try_from_secs_f64(seconds).ok().map(|after| after.max(Duration::from_millis(1)))
    }
}

// === impl Permit ===

impl Permit {
    /// Gives the slot back for a call that did not run after all, and is refused.
    pub(crate) fn refuse(mut self) {
        self.counts = Counts::Refused;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        /// Weight of the newest call in the average: about the last ten count.
        const WEIGHT: f64 = 0.1;
        let mut inside = self.shared.lock();
        inside.in_flight = inside.in_flight.saturating_sub(1);
        if let Some(count) = inside.by_function.get_mut(&self.function) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inside.by_function.remove(&self.function);
            }
        }
        if self.counts == Counts::Handled {
            inside.handled += 1;
            let seconds = self.since.elapsed().as_secs_f64();
            inside.usual_seconds = Some(inside.usual_seconds.map_or(seconds, |usual| usual + WEIGHT * (seconds - usual)));
        }
        self.shared.tell(&inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionSpec;

    fn gate(slots: u32) -> Gate {
        let gate = Gate::new(slots, Gauge::default());
        gate.open();
        gate
    }

    fn function(name: &str, concurrency: u32) -> Function {
        Function::new(FunctionSpec { concurrency, ..FunctionSpec::named(name.parse().unwrap()) })
    }

    fn reason(result: Result<Permit, Refusal>) -> RefusalReason {
        result.unwrap_err().reason
    }

    #[test]
    fn a_full_gate_refuses_and_a_dropped_permit_makes_room() {
        let (gate, f) = (gate(2), function("f", 0));
        let (first, _second) = (gate.enter(&f).unwrap(), gate.enter(&f).unwrap());
        assert_eq!(gate.enter(&f).unwrap_err(), Refusal::new(RefusalReason::Busy), "nothing is known yet of when to come back");
        drop(first);
        let _third = gate.enter(&f).unwrap();
        assert!(gate.enter(&f).unwrap_err().retry_after.is_some());
    }

    #[test]
    fn a_function_gets_no_more_slots_than_it_may_have() {
        let (gate, one, other) = (gate(3), function("one", 1), function("other", 0));
        let permit = gate.enter(&one).unwrap();
        assert_eq!(reason(gate.enter(&one)), RefusalReason::Busy);
        let _others = (gate.enter(&other).unwrap(), gate.enter(&other).unwrap());
        drop(permit);
        assert!(gate.enter(&one).is_ok());
    }

    #[test]
    fn a_gate_refuses_before_it_is_open_and_after_it_is_closed() {
        let (gate, f) = (Gate::new(1, Gauge::default()), function("f", 0));
        assert_eq!(reason(gate.enter(&f)), RefusalReason::Starting);
        gate.open();
        let _permit = gate.enter(&f).unwrap();
        gate.drain();
        assert_eq!(reason(gate.enter(&f)), RefusalReason::Draining, "draining is told before busy");
        gate.open();
        assert_eq!(gate.check_open().unwrap_err().reason, RefusalReason::Draining, "closed for good");
    }

    #[test]
    fn refusals_are_received_and_not_handled() {
        let (gate, f) = (gate(1), function("f", 0));
        for _ in 0..3 {
            gate.receive();
        }
        let permit = gate.enter(&f).unwrap();
        assert!(gate.enter(&f).is_err());
        drop(permit);
        gate.enter(&f).unwrap().refuse();
        let expected = GateView { state: AgentState::Ready, in_flight: 0, received: 3, handled: 1 };
        assert_eq!(gate.view(), expected);
    }

    // Case 19 in spirit: what is inside is waited for, what comes later is not let in.
    #[tokio::test]
    async fn an_idle_gate_is_waited_for() {
        let (gate, f) = (gate(1), function("f", 0));
        let permit = gate.enter(&f).unwrap();
        gate.drain();
        let idle = tokio::spawn({
            let gate = gate.clone();
            async move { gate.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        drop(permit);
        idle.await.unwrap();
    }
}
