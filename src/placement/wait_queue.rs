//! The wait queue: bounded, first in first out for each function, fair between flows.
//!
//! **Fair** means start-time fair queueing (Goyal, Vin and Cheng 1996) over *flows* (a function, or an app with all its functions): every flow
//! has a virtual time, which a call of it moves on by the slot time it is expected to take, divided by the flow's weight; whose virtual
//! time is least is next. Deficit round robin (Shreedhar and Varghese 1995) bounds the same unfairness, but its round cannot be asked "who of these is next?", and
//! that is the question here: a freed slot goes to the fairest of the calls that *fit* it. A flow that begins to wait starts at the virtual time that was served last:
//! it neither saves up credit while it has nothing to do, nor waits behind the backlog of others.
//!
//! Every operation costs O(log of the number of waiting functions); a call that leaves from the middle is only marked.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::event::{CallNumber, FunctionNumber};
use super::moment::Moment;

/// The least that a call is charged: so that calls that take no time still take turns.
const LEAST_CHARGE: Duration = Duration::from_millis(1);

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WaitLimits {
    /// The most calls that wait.
    pub calls: usize,
    /// The most bytes that waiting calls hold.
    pub bytes: u64,
}

/// A waiting call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub call: CallNumber,
    /// Since when it is to be placed: from its arrival, whatever it was refused since.
    pub since: Moment,
}

/// The calls that wait.
#[derive(Debug)]
pub struct WaitQueue {
    limits: WaitLimits,
    functions: Vec<FunctionQueue>,
    flows: Vec<Flow>,
    flow_numbers: FxHashMap<String, u32>,
    /// Waiting functions of each group, fairest first.
    order: Vec<BTreeSet<Turn>>,
    calls: usize,
    bytes: u64,
    /// The virtual time that was served last.
    served: u64,
    /// Moving average of the time between two calls that leave the queue for a runner.
    between: Option<f64>,
    last_left: Option<Moment>,
}

/// A function's turn: by virtual time, then by age.
type Turn = (u64, Moment, FunctionNumber);

#[derive(Debug, Default)]
struct FunctionQueue {
    calls: VecDeque<(Waiting, u64)>,
    /// Calls in `calls` that left without their turn, each still in its place.
    gone: rustc_hash::FxHashSet<CallNumber>,
    group: usize,
    flow: usize,
    /// What stands in `order`.
    turn: Option<Turn>,
}

#[derive(Debug, Default)]
struct Flow {
    virtual_time: u64,
    weight: u32,
    /// Its functions, waiting or not.
    functions: Vec<FunctionNumber>,
    waiting: usize,
}

/// Why a call cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl WaitQueue {
    pub(super) fn new(limits: WaitLimits) -> Self {
        Self {
            limits,
            functions: Vec::new(),
            flows: Vec::new(),
            flow_numbers: FxHashMap::default(),
            order: Vec::new(),
            calls: 0,
            bytes: 0,
            served: 0,
            between: None,
            last_left: None,
        }
    }

    // === what placers may ask ===

    /// How many calls wait.
    pub const fn len(&self) -> usize {
        self.calls
    }

    /// Whether none does.
    pub const fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// Bytes that the waiting calls hold.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many calls of a function wait.
    pub fn waiting(&self, function: FunctionNumber) -> usize {
        self.functions.get(function.index()).map_or(0, |queue| queue.calls.len() - queue.gone.len())
    }

    /// A function's next call.
    pub fn head(&self, function: FunctionNumber) -> Option<Waiting> {
        // Calls that are gone never stand first: see `settle`.
        self.functions.get(function.index())?.calls.front().map(|(waiting, _)| *waiting)
    }

    /// When a function is next, against others: its flow's virtual time. The least is the fairest.
    pub fn virtual_time(&self, function: FunctionNumber) -> u64 {
        self.functions.get(function.index()).and_then(|queue| self.flows.get(queue.flow)).map_or(0, |flow| flow.virtual_time)
    }

    /// The waiting functions of a group of placement, fairest first.
    pub fn functions(&self, group: usize) -> impl Iterator<Item = FunctionNumber> {
        self.order.get(group).into_iter().flatten().map(|(_, _, function)| *function)
    }

    /// How many functions of a group wait.
    pub fn waiting_functions(&self, group: usize) -> usize {
        self.order.get(group).map_or(0, BTreeSet::len)
    }

    /// How long until as many calls as wait have left, at the pace of late; `None` while nothing is known.
    pub fn drains_in(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.between? * (self.calls as f64 + 1.0)).ok()
    }

    /// How long until a call that comes last in a function's queue has its turn, at the pace of late, if every waiting flow takes turns.
    pub fn turn_in(&self, function: FunctionNumber) -> Option<Duration> {
        let flows: usize = self.order.iter().map(BTreeSet::len).sum::<usize>().max(1);
        let ahead = ((self.waiting(function) + 1) * flows).min(self.calls + 1);
        Duration::try_from_secs_f64(self.between? * ahead as f64).ok()
    }

    // === what the loop does ===

    /// Registers a function, or moves it to another flow or group; nothing of it may be waiting when its group changes.
    pub(super) fn set_function(&mut self, function: FunctionNumber, group: usize, flow: &str, weight: u32) {
        if self.functions.len() <= function.index() {
            self.functions.resize_with(function.index() + 1, FunctionQueue::default);
        }
        if self.order.len() <= group {
            self.order.resize_with(group + 1, BTreeSet::new);
        }
        let number = match self.flow_numbers.get(flow) {
            Some(number) => *number as usize,
            None => {
                self.flow_numbers.insert(flow.to_owned(), u32::try_from(self.flows.len()).unwrap_or(u32::MAX));
                self.flows.push(Flow::default());
                self.flows.len() - 1
            }
        };
        self.take_turn_out(function);
        let former = self.functions[function.index()].flow;
        let waiting = self.waiting(function);
        if let Some(flow) = self.flows.get_mut(former)
            && flow.functions.contains(&function)
        {
            flow.functions.retain(|other| *other != function);
            flow.waiting -= waiting;
        }
        let flow = &mut self.flows[number];
        flow.weight = weight.max(1);
        flow.functions.push(function);
        flow.waiting += waiting;
        (self.functions[function.index()].flow, self.functions[function.index()].group) = (number, group);
        self.put_turn_in(function);
    }

    /// Puts a call at the end of its function's queue; in front, if it has waited there before (it was refused since).
    pub(super) fn push(
        &mut self,
        function: FunctionNumber,
        waiting: Waiting,
        bytes: u64,
        position: Position,
    ) -> Result<(), Full> {
        if position == Position::Last && (self.calls >= self.limits.calls || self.bytes.saturating_add(bytes) > self.limits.bytes)
        {
            return Err(Full);
        }
        self.calls += 1;
        self.bytes += bytes;
        let flow_number = self.functions[function.index()].flow;
        let flow = &mut self.flows[flow_number];
        flow.waiting += 1;
        if flow.waiting == 1 {
            flow.virtual_time = flow.virtual_time.max(self.served);
            let siblings = flow.functions.clone();
            for sibling in siblings {
                self.take_turn_out(sibling);
                self.put_turn_in(sibling);
            }
        }
        self.take_turn_out(function);
        let queue = &mut self.functions[function.index()];
        match position {
            Position::Last => queue.calls.push_back((waiting, bytes)),
            Position::First => queue.calls.push_front((waiting, bytes)),
        }
        self.put_turn_in(function);
        Ok(())
    }

    /// Takes a function's next call out, and charges its flow for it.
    pub(super) fn pop(&mut self, function: FunctionNumber, charge: Option<Duration>, now: Moment) -> Option<Waiting> {
        self.take_turn_out(function);
        let queue = self.functions.get_mut(function.index())?;
        let popped = queue.calls.pop_front();
        let flow_number = queue.flow;
        let (waiting, bytes) = popped?;
        self.calls -= 1;
        self.bytes -= bytes;
        self.settle(function);
        let flow = &mut self.flows[flow_number];
        flow.waiting -= 1;
        self.served = self.served.max(flow.virtual_time);
        let charge = u64::try_from(charge.unwrap_or(LEAST_CHARGE).max(LEAST_CHARGE).as_nanos()).unwrap_or(u64::MAX);
        let siblings = if flow.functions.len() > 1 { flow.functions.clone() } else { Vec::new() };
        flow.virtual_time = flow.virtual_time.saturating_add(charge / u64::from(flow.weight));
        for sibling in siblings.into_iter().filter(|sibling| *sibling != function) {
            self.take_turn_out(sibling);
            self.put_turn_in(sibling);
        }
        self.put_turn_in(function);
        self.note_pace(now);
        Some(waiting)
    }

    /// Takes a call out that left without its turn.
    pub(super) fn remove(&mut self, function: FunctionNumber, call: CallNumber, bytes: u64) {
        self.take_turn_out(function);
        let queue = &mut self.functions[function.index()];
        queue.gone.insert(call);
        let flow_number = queue.flow;
        self.calls -= 1;
        self.bytes -= bytes;
        self.flows[flow_number].waiting -= 1;
        self.settle(function);
        self.put_turn_in(function);
    }

    /// Drops what is gone from the front; all of it, once it is the greater part.
    fn settle(&mut self, function: FunctionNumber) {
        let queue = &mut self.functions[function.index()];
        if queue.gone.is_empty() {
            return;
        }
        if queue.gone.len() * 2 > queue.calls.len() {
            let gone = std::mem::take(&mut queue.gone);
            queue.calls.retain(|(waiting, _)| !gone.contains(&waiting.call));
            return;
        }
        while let Some((waiting, _)) = queue.calls.front() {
            if !queue.gone.remove(&waiting.call) {
                break;
            }
            queue.calls.pop_front();
        }
    }

    fn note_pace(&mut self, now: Moment) {
        if let Some(last) = self.last_left.replace(now) {
            // A pause without anybody waiting is no sign of a slow pool.
            let seconds = (now - last).as_secs_f64().min(1.0);
            self.between = Some(self.between.map_or(seconds, |between| between + 0.05 * (seconds - between)));
        }
    }

    fn take_turn_out(&mut self, function: FunctionNumber) {
        let queue = &mut self.functions[function.index()];
        if let Some(turn) = queue.turn.take() {
            self.order[queue.group].remove(&turn);
        }
    }

    fn put_turn_in(&mut self, function: FunctionNumber) {
        let queue = &mut self.functions[function.index()];
        let Some((head, _)) = queue.calls.front() else { return };
        let virtual_time = self.flows.get(queue.flow).map_or(0, |flow| flow.virtual_time);
        let turn = (virtual_time, head.since, function);
        queue.turn = Some(turn);
        self.order[queue.group].insert(turn);
    }
}

/// Where a call goes in its function's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// It comes to wait.
    Last,
    /// It has waited, and was refused when its turn had come.
    First,
}
