//! The admission gate: slots, who waits for one, and whether the agent takes calls at all.
//!
//! The gate, not anybody's belief about it, decides whether the agent is idle: it is closed first, then nothing more can enter, then what is
//! inside is waited for. A [`Permit`] is one slot; it is freed when dropped, which its holder does when the process that
//! ran the call can do nothing more for it. Which slot may be taken by whom, and who gets it next, is for the machine in
//! [`room`](super::room); [`asking`](super::asking) is its other face.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use super::room::{AskId, Lent, RoomConfig, Slots};
use super::usual::Usual;
use crate::model::{Digest, Function};
use crate::protocol::{AgentState, Refusal, RefusalReason, RoomGrant, RoomToken};
use crate::telemetry::metrics::Gauge;

/// The gate. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    slots: u32,
    /// Protects everything that decides on admission; held for a look and a few additions, and for a scan of the slots when it refuses.
    inside: Mutex<Inside>,
    /// Tells who waits for it that no call is inside.
    emptied: Notify,
    gauges: GateGauges,
    /// Tells who minds the time that it is to look earlier than it knows of.
    pub(super) earlier: Notify,
}

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) state: AgentState,
    pub(super) slots: Slots,
    /// Who waits for room. The answers of those that got it are on their way.
    pub(super) asking: FxHashMap<AskId, oneshot::Sender<RoomGrant>>,
    /// When who minds the time will look next.
    pub(super) alarm: Option<Instant>,
    running: FxHashMap<PermitId, Running>,
    next_permit: u64,
    by_function: FxHashMap<Digest, u32>,
    received: u64,
    handled: u64,
    usual: Usual,
}

/// A call inside.
#[derive(Debug)]
struct Running {
    function: Digest,
    since: Instant,
    /// How many were inside when it came, itself included.
    beside: u32,
}

/// What the gate shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct GateGauges {
    /// Calls in slots.
    pub(crate) in_flight: Gauge,
    /// Balancers that wait for room.
    pub(crate) waiting: Gauge,
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
    id: PermitId,
    counts: Counts,
}

/// Names one stay of a call in a slot. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PermitId(u64);

/// Whether the call of a permit has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Handled,
    Refused,
}

// === impl Gate ===

impl Gate {
    /// A gate in front of `slots` slots, closed until [`open`](Self::open).
    pub(crate) fn new(slots: u32, rules: RoomConfig, gauges: GateGauges) -> Self {
        let inside = Inside {
            state: AgentState::default(),
            slots: Slots::new(slots, rules, rand::random(), Instant::now()),
            asking: FxHashMap::default(),
            alarm: None,
            running: FxHashMap::default(),
            next_permit: 0,
            by_function: FxHashMap::default(),
            received: 0,
            handled: 0,
            usual: Usual::new(slots),
        };
        let (inside, emptied, earlier) = (Mutex::new(inside), Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { slots, inside, emptied, gauges, earlier }) }
    }

    /// Opens the gate, unless it was closed for good before.
    pub(crate) fn open(&self) {
        let mut inside = self.shared.lock();
        if inside.state == AgentState::Starting {
            inside.state = AgentState::Ready;
        }
    }

    /// Closes the gate for good: every later call is refused with `draining`, and so is who waits for room.
    pub(crate) fn drain(&self) {
        let mut inside = self.shared.lock();
        inside.state = AgentState::Draining;
        for waiting in inside.slots.close() {
            inside.asking.remove(&waiting);
        }
        self.shared.tell(&inside);
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

    /// Takes a slot: the one that was lent under `room`, if it was.
    ///
    /// # Errors
    /// The refusal: the gate is closed, or no slot is free, or the function has as many as it may. What was lent is not lent any more.
    pub(crate) fn enter(&self, function: &Function, room: Option<RoomToken>) -> Result<Permit, Refusal> {
        let now = Instant::now();
        let mut inside = self.shared.lock();
        inside.check_open()?;
        if inside.slots.enter(room, now).is_err() {
            let retry_after = inside.expected_free(None, now);
            return Err(Refusal { reason: RefusalReason::Busy, retry_after });
        }
        let of_function = inside.by_function.get(&function.digest).copied().unwrap_or(0);
        if function.spec.concurrency > 0 && of_function >= function.spec.concurrency {
            inside.free_slot(now, &self.shared.earlier);
            let retry_after = inside.expected_free(Some(&function.digest), now);
            return Err(Refusal { reason: RefusalReason::FunctionBusy, retry_after });
        }
        inside.by_function.insert(function.digest.clone(), of_function + 1);
        let id = PermitId(inside.next_permit);
        inside.next_permit += 1;
        let running = Running { function: function.digest.clone(), since: now, beside: inside.slots.taken() };
        inside.running.insert(id, running);
        self.shared.tell(&inside);
        Ok(Permit { shared: Arc::clone(&self.shared), id, counts: Counts::Handled })
    }

    /// When the first of the calls inside is expected to be over; `None` if nothing is known of any of them.
    pub(crate) fn expected_free(&self) -> Option<Duration> {
        self.shared.lock().expected_free(None, Instant::now())
    }

    /// Waits until no call is inside. Means something only after [`drain`](Self::drain).
    pub(crate) async fn idle(&self) {
        loop {
            // Hears what is told from here on, before it is looked at.
            let emptied = self.shared.emptied.notified();
            if self.shared.lock().slots.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// What the gate has seen.
    pub(crate) fn view(&self) -> GateView {
        let inside = self.shared.lock();
        GateView { state: inside.state, in_flight: inside.slots.taken(), received: inside.received, handled: inside.handled }
    }

    /// Slots that are not to be had, as a load report tells it: taken, lent, and that of the answered call, which may be free already.
    pub(crate) fn load(&self, answered: Option<PermitId>) -> u32 {
        let inside = self.shared.lock();
        let left = answered.is_some_and(|id| !inside.running.contains_key(&id));
        let lent = u32::try_from(inside.slots.lent()).unwrap_or(u32::MAX);
        inside.slots.taken().saturating_add(lent).saturating_add(u32::from(left))
    }

    /// How long calls take that come when as many are inside as now; `None` before the first has ended.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let inside = self.shared.lock();
        inside.usual.beside(inside.slots.taken())
    }

    /// The number of slots.
    pub(crate) fn slots(&self) -> u32 {
        self.shared.slots
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who waits or counts. Called under the lock, so that the last word is the true one.
    pub(super) fn tell(&self, inside: &Inside) {
        let taken = inside.slots.taken();
        if taken == 0 {
            self.emptied.notify_waiters();
        }
        self.gauges.in_flight.set(i64::from(taken));
        self.gauges.waiting.set(i64::try_from(inside.slots.waiting()).unwrap_or(i64::MAX));
    }
}

// === impl Inside ===

impl Inside {
    pub(super) const fn check_open(&self) -> Result<(), Refusal> {
        match self.state {
            AgentState::Ready => Ok(()),
            AgentState::Starting => Err(Refusal::new(RefusalReason::Starting)),
            AgentState::Draining => Err(Refusal::new(RefusalReason::Draining)),
        }
    }

    /// When the first of the running calls, of one function or of all, is expected to be over.
    pub(super) fn expected_free(&self, of: Option<&Digest>, now: Instant) -> Option<Duration> {
        let running = self.running.values().filter(|running| of.is_none_or(|function| running.function == *function));
        let left = running.filter_map(|running| self.usual.left(&running.function, now.saturating_duration_since(running.since)));
        // Whole milliseconds go over the wire; 0 would ask for a storm.
        left.min().map(|left| left.max(Duration::from_millis(1)))
    }

    /// A slot is free again.
    fn free_slot(&mut self, now: Instant, earlier: &Notify) {
        let lent = self.slots.leave(now);
        self.hand_out(&lent);
        self.set_alarm(earlier);
    }

    /// Gives what was lent to those who wait for it.
    pub(super) fn hand_out(&mut self, lent: &[Lent]) {
        for Lent { to, grant } in lent {
            // Who went away in this moment finds the grant in its channel, and gives it back.
            if let Some(asking) = self.asking.remove(to) {
                let _ = asking.send(*grant);
            }
        }
    }

    /// Has the time minded, if there is something to come earlier than is minded already.
    pub(super) fn set_alarm(&mut self, earlier: &Notify) {
        if let Some(next) = self.slots.next_tick()
            && self.alarm.is_none_or(|alarm| next < alarm)
        {
            self.alarm = Some(next);
            earlier.notify_one();
        }
    }
}

// === impl Permit ===

impl Permit {
    /// Names this stay.
    pub(crate) const fn id(&self) -> PermitId {
        self.id
    }

    /// Gives the slot back for a call that did not run after all, and is refused.
    pub(crate) fn refuse(mut self) {
        self.counts = Counts::Refused;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut inside = self.shared.lock();
        let inside = &mut *inside;
        let Some(Running { function, since, beside }) = inside.running.remove(&self.id) else { return };
        if let Some(count) = inside.by_function.get_mut(&function) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inside.by_function.remove(&function);
            }
        }
        if self.counts == Counts::Handled {
            inside.handled += 1;
            inside.usual.note(&function, beside, now.saturating_duration_since(since));
        }
        inside.free_slot(now, &self.shared.earlier);
        self.shared.tell(inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionSpec;

    fn gate(slots: u32) -> Gate {
        let gate = Gate::new(slots, RoomConfig::default(), GateGauges::default());
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
        let (first, _second) = (gate.enter(&f, None).unwrap(), gate.enter(&f, None).unwrap());
        assert_eq!(
            gate.enter(&f, None).unwrap_err(),
            Refusal::new(RefusalReason::Busy),
            "nothing is known yet of when to come back"
        );
        drop(first);
        let _third = gate.enter(&f, None).unwrap();
        assert!(gate.enter(&f, None).unwrap_err().retry_after.is_some());
    }

    #[test]
    fn a_function_gets_no_more_slots_than_it_may_have() {
        let (gate, one, other) = (gate(3), function("one", 1), function("other", 0));
        let permit = gate.enter(&one, None).unwrap();
        assert_eq!(reason(gate.enter(&one, None)), RefusalReason::FunctionBusy);
        assert_eq!((gate.view().in_flight, gate.load(None)), (1, 1), "the refused call has no slot");
        let _others = (gate.enter(&other, None).unwrap(), gate.enter(&other, None).unwrap());
        assert_eq!(reason(gate.enter(&one, None)), RefusalReason::Busy, "no other function would be taken either");
        drop(permit);
        assert!(gate.enter(&one, None).is_ok());
    }

    #[test]
    fn a_gate_refuses_before_it_is_open_and_after_it_is_closed() {
        let (gate, f) = (Gate::new(1, RoomConfig::default(), GateGauges::default()), function("f", 0));
        assert_eq!(reason(gate.enter(&f, None)), RefusalReason::Starting);
        gate.open();
        let _permit = gate.enter(&f, None).unwrap();
        gate.drain();
        assert_eq!(reason(gate.enter(&f, None)), RefusalReason::Draining, "draining is told before busy");
        gate.open();
        assert_eq!(gate.check_open().unwrap_err().reason, RefusalReason::Draining, "closed for good");
    }

    #[test]
    fn refusals_are_received_and_not_handled() {
        let (gate, f) = (gate(1), function("f", 0));
        for _ in 0..3 {
            gate.receive();
        }
        let permit = gate.enter(&f, None).unwrap();
        assert!(gate.enter(&f, None).is_err());
        drop(permit);
        gate.enter(&f, None).unwrap().refuse();
        let expected = GateView { state: AgentState::Ready, in_flight: 0, received: 3, handled: 1 };
        assert_eq!(gate.view(), expected);
    }

    // Case 19 in spirit: what is inside is waited for, what comes later is not let in.
    #[tokio::test]
    async fn an_idle_gate_is_waited_for() {
        let (gate, f) = (gate(1), function("f", 0));
        let permit = gate.enter(&f, None).unwrap();
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

    #[test]
    fn the_answered_call_counts_in_the_load_also_when_its_slot_is_free_already() {
        let (gate, f) = (gate(2), function("f", 0));
        let permit = gate.enter(&f, None).unwrap();
        let id = permit.id();
        assert_eq!((gate.load(None), gate.load(Some(id))), (1, 1));
        drop(permit);
        assert_eq!((gate.load(None), gate.load(Some(id))), (0, 1));
        let _next = gate.enter(&f, None).unwrap();
        assert_eq!(gate.load(Some(id)), 2);
    }

    #[test]
    fn when_to_come_back_is_at_least_a_millisecond_away_and_known_for_a_function_alone() {
        let (gate, f, new) = (gate(1), function("f", 0), function("new", 0));
        drop(gate.enter(&f, None).unwrap());
        let _permit = gate.enter(&new, None).unwrap();
        let refusal = gate.enter(&f, None).unwrap_err();
        assert!(refusal.retry_after.unwrap() >= Duration::from_millis(1), "a new function is taken for a usual one");
    }
}
