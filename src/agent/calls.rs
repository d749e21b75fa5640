//! The calls in hand: what `GET /calls/{call id}` answers, and what the memory watch looks at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::run::RunControl;
use crate::model::{CallId, FunctionName};

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallState {
    /// No worker has taken it yet.
    Starting,
    /// A worker has it, and has not answered.
    Running,
    /// The head of its answer is out.
    Answering,
}

/// A call in hand, as a balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CallView {
    pub(crate) call: CallId,
    pub(crate) function: FunctionName,
    pub(crate) attempt: u32,
    pub(crate) state: CallState,
    /// Since the agent took it, in milliseconds.
    pub(crate) elapsed_ms: u64,
}

/// The calls in hand.
#[derive(Debug, Default)]
pub(crate) struct CallTable {
    /// Protects the table; held for one look-up, or for a copy of the controls.
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// Of as many calls as there are slots: nobody could fill it with names that are alike.
    by_id: FxHashMap<CallId, Record>,
    next_serial: u64,
}

#[derive(Debug)]
struct Record {
    /// A call id may come twice (a balancer tries an idempotent call again): the newer one is shown, and only its own end removes it.
    serial: u64,
    function: FunctionName,
    attempt: u32,
    began: Instant,
    state: CallState,
    control: Option<Arc<RunControl>>,
}

/// A place in the table, left when dropped.
#[derive(Debug)]
pub(crate) struct CallEntry {
    table: Arc<CallTable>,
    id: CallId,
    serial: u64,
}

// === impl CallTable ===

impl CallTable {
    /// Takes a call into the table.
    pub(crate) fn enter(self: &Arc<Self>, id: CallId, function: FunctionName, attempt: u32) -> CallEntry {
        let mut calls = self.lock();
        let serial = calls.next_serial;
        calls.next_serial += 1;
        let record = Record { serial, function, attempt, began: Instant::now(), state: CallState::Starting, control: None };
        let replaced = calls.by_id.insert(id, record);
        // A control's end may take this lock: it is dropped after it.
        drop(calls);
        drop(replaced);
        CallEntry { table: Arc::clone(self), id, serial }
    }

    /// What is known of a call in hand.
    pub(crate) fn view(&self, id: CallId) -> Option<CallView> {
        let calls = self.lock();
        let record = calls.by_id.get(&id)?;
        Some(CallView {
            call: id,
            function: record.function.clone(),
            attempt: record.attempt,
            state: record.state,
            elapsed_ms: u64::try_from(record.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The controls of all calls that run.
    pub(crate) fn running(&self) -> Vec<Arc<RunControl>> {
        self.lock().by_id.values().filter_map(|record| record.control.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl CallEntry ===

impl CallEntry {
    /// A worker has the call.
    pub(crate) fn is_running(&self, control: &Arc<RunControl>) {
        self.change(|record| {
            record.state = CallState::Running;
            record.control = Some(Arc::clone(control));
        });
    }

    /// The head of the answer is out.
    pub(crate) fn is_answering(&self) {
        self.change(|record| record.state = CallState::Answering);
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.table.lock().by_id.get_mut(&self.id)
            && record.serial == self.serial
        {
            change(record);
        }
    }
}

impl Drop for CallEntry {
    fn drop(&mut self) {
        let mut calls = self.table.lock();
        let removed = match calls.by_id.get(&self.id) {
            Some(record) if record.serial == self.serial => calls.by_id.remove(&self.id),
            _ => None,
        };
        // A control's end may take this lock: it is dropped after it.
        drop(calls);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_seen_while_it_is_in_hand_and_the_newer_of_two_attempts_wins() {
        let table = Arc::new(CallTable::default());
        let id = CallId::from_parts(1, 2);
        let first = table.enter(id, "f".parse().unwrap(), 1);
        assert_eq!(table.view(id).unwrap().state, CallState::Starting);
        let second = table.enter(id, "f".parse().unwrap(), 2);
        first.is_answering();
        drop(first);
        let view = table.view(id).unwrap();
        assert_eq!((view.attempt, view.state), (2, CallState::Starting));
        drop(second);
        assert_eq!(table.view(id), None);
    }
}
