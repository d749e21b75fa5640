//! Waiting for room: what a balancer's `GET /room` does at the gate, and who minds the time for all of them.
//!
//! The machine in [`room`](super::room) decides; here is what waits for its decisions. A request that is dropped, because its connection was
//! closed, leaves its place, and a slot that was lent to it in the same moment goes to the next in line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::gate::{Gate, Shared};
use super::room::AskId;
use crate::protocol::{BalancerId, Refusal, RefusalReason, RoomGrant};

/// A balancer's place among those that wait. Dropping it leaves the place.
#[derive(Debug)]
pub(crate) struct Asking {
    shared: Arc<Shared>,
    id: AskId,
    granted: oneshot::Receiver<RoomGrant>,
}

/// How waiting for room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomEnd {
    /// A slot is lent.
    Granted(RoomGrant),
    /// There was none in time, or the same balancer asked anew.
    NoneInTime,
    /// The gate was closed.
    Refused(Refusal),
}

impl Gate {
    /// Takes a balancer among those that wait for room.
    ///
    /// # Errors
    /// The refusal: the gate is closed, or too many wait.
    pub(crate) fn ask(&self, balancer: BalancerId) -> Result<Asking, Refusal> {
        let now = Instant::now();
        let mut inside = self.shared.lock();
        inside.check_open()?;
        let Ok(asked) = inside.slots.ask(balancer, now) else {
            let retry_after = inside.expected_free(None, now);
            return Err(Refusal { reason: RefusalReason::Busy, retry_after });
        };
        if let Some(replaced) = asked.replaced {
            inside.asking.remove(&replaced);
        }
        let (grants, granted) = oneshot::channel();
        inside.asking.insert(asked.id, grants);
        let lent = inside.slots.tick(now);
        inside.hand_out(&lent);
        inside.set_alarm(&self.shared.earlier);
        self.shared.tell(&inside);
        Ok(Asking { shared: Arc::clone(&self.shared), id: asked.id, granted })
    }

    /// Lends slots whose grace or lease is over, for as long as the future lives.
    pub(crate) async fn mind_the_time(&self) {
        loop {
            let alarm = self.shared.lock().alarm;
            let due = async {
                match alarm {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.earlier.notified() => {}
                () = due => self.tick(Instant::now()),
            }
        }
    }

    fn tick(&self, now: Instant) {
        let mut inside = self.shared.lock();
        let lent = inside.slots.tick(now);
        inside.hand_out(&lent);
        inside.alarm = inside.slots.next_tick();
        self.shared.tell(&inside);
    }
}

impl Asking {
    /// Waits for a slot, no longer than `limit`.
    pub(crate) async fn wait(mut self, limit: Duration) -> RoomEnd {
        match tokio::time::timeout(limit, &mut self.granted).await {
            Ok(Ok(grant)) => RoomEnd::Granted(grant),
            // Nobody can grant any more.
            Ok(Err(_)) => self.shared.lock().check_open().err().map_or(RoomEnd::NoneInTime, RoomEnd::Refused),
            Err(_) => RoomEnd::NoneInTime,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut inside = self.shared.lock();
        inside.slots.withdraw(self.id);
        inside.asking.remove(&self.id);
        // Sent under the lock, if at all, and not received: the balancer will never hear of it.
        if let Ok(grant) = self.granted.try_recv() {
            let lent = inside.slots.give_back(grant.token, Instant::now());
            inside.hand_out(&lent);
            inside.set_alarm(&self.shared.earlier);
        }
        self.shared.tell(&inside);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::GateGauges;
    use super::super::room::RoomConfig;
    use super::*;
    use crate::model::{Function, FunctionSpec};

    const LONG: Duration = Duration::from_secs(3_600);

    /// A gate with one slot, which is taken; times that no test waits for, but the grace.
    fn gate() -> (Gate, Function, super::super::gate::Permit) {
        let rules = RoomConfig { grace: Duration::ZERO, patience: LONG, lease: LONG, max_waiting: 2 };
        let gate = Gate::new(1, rules, GateGauges::default());
        gate.open();
        let function = Function::new(FunctionSpec::named("f".parse().unwrap()));
        let permit = gate.enter(&function, None).unwrap();
        (gate, function, permit)
    }

    fn balancer(name: &str) -> BalancerId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn who_asked_first_gets_the_slot_and_only_its_call_gets_in() {
        let (gate, function, permit) = gate();
        let (first, second) = (gate.ask(balancer("a")).unwrap(), gate.ask(balancer("b")).unwrap());
        assert_eq!(gate.ask(balancer("c")).unwrap_err().reason, RefusalReason::Busy, "two may wait");
        drop(permit);
        let RoomEnd::Granted(grant) = first.wait(LONG).await else { panic!() };
        assert_eq!((gate.view().in_flight, gate.load(None)), (0, 1), "lent slots are not to be had");
        assert_eq!(gate.enter(&function, None).unwrap_err().reason, RefusalReason::Busy);
        let permit = gate.enter(&function, Some(grant.token)).unwrap();
        drop(permit);
        assert!(matches!(second.wait(LONG).await, RoomEnd::Granted(_)));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_gives_its_slot_to_the_next() {
        let (gate, _, permit) = gate();
        let (first, second) = (gate.ask(balancer("a")).unwrap(), gate.ask(balancer("b")).unwrap());
        drop(permit);
        drop(first);
        assert!(matches!(second.wait(LONG).await, RoomEnd::Granted(_)));
    }

    #[tokio::test]
    async fn a_closed_gate_tells_who_waits_at_once() {
        let (gate, _, _permit) = gate();
        let asking = gate.ask(balancer("a")).unwrap();
        gate.drain();
        assert_eq!(asking.wait(LONG).await, RoomEnd::Refused(Refusal::new(RefusalReason::Draining)));
        assert_eq!(gate.ask(balancer("a")).unwrap_err().reason, RefusalReason::Draining);
    }

    #[tokio::test]
    async fn a_second_request_of_a_balancer_ends_its_first() {
        let (gate, _, permit) = gate();
        let first = gate.ask(balancer("a")).unwrap();
        let second = gate.ask(balancer("a")).unwrap();
        assert_eq!(first.wait(LONG).await, RoomEnd::NoneInTime);
        drop(permit);
        assert!(matches!(second.wait(LONG).await, RoomEnd::Granted(_)));
    }

    #[tokio::test]
    async fn who_has_waited_for_its_time_leaves_its_place() {
        let (gate, _, _permit) = gate();
        assert_eq!(gate.ask(balancer("a")).unwrap().wait(Duration::ZERO).await, RoomEnd::NoneInTime);
        assert_eq!(gate.shared.lock().slots.waiting(), 0);
    }

    #[tokio::test]
    async fn time_is_minded_when_nothing_else_happens() {
        let rules =
            RoomConfig { grace: Duration::from_millis(1), patience: LONG, lease: Duration::from_millis(1), max_waiting: 2 };
        let gate = Gate::new(1, rules, GateGauges::default());
        gate.open();
        let minding = tokio::spawn({
            let gate = gate.clone();
            async move { gate.mind_the_time().await }
        });
        let permit = gate.enter(&Function::new(FunctionSpec::named("f".parse().unwrap())), None).unwrap();
        let (first, second) = (gate.ask(balancer("a")).unwrap(), gate.ask(balancer("b")).unwrap());
        drop(permit);
        // The grace passes, and then the lease.
        let RoomEnd::Granted(unused) = first.wait(LONG).await else { panic!() };
        let RoomEnd::Granted(next) = second.wait(LONG).await else { panic!() };
        assert_ne!(unused.token, next.token);
        minding.abort();
    }
}
