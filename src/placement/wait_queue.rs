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
        if flow.waiting == 0 && waiting > 0 {
            flow.virtual_time = flow.virtual_time.max(self.served);
        }
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
            Position::First => {
                // Two of them may be refused in either order: the older one stands before the younger.
                let age = |waiting: &Waiting| (waiting.since, waiting.call);
                let position = queue.calls.partition_point(|(other, _)| age(other) < age(&waiting));
                queue.calls.insert(position, (waiting, bytes));
            }
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
    /// It was refused when its turn had come: before all that came after it.
    First,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNBOUNDED: WaitLimits = WaitLimits { calls: usize::MAX, bytes: u64::MAX };

    /// A queue of these functions, each a flow of its own with this weight.
    fn queue(limits: WaitLimits, weights: &[u32]) -> WaitQueue {
        let mut queue = WaitQueue::new(limits);
        for (number, weight) in (0..).zip(weights) {
            queue.set_function(FunctionNumber(number), 0, &number.to_string(), *weight);
        }
        queue
    }

    fn at(millis: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(millis)
    }

    fn waiting(call: u64) -> Waiting {
        Waiting { call: CallNumber(call), since: at(call) }
    }

    fn fairest(queue: &WaitQueue) -> FunctionNumber {
        queue.functions(0).next().unwrap()
    }

    #[derive(Clone, Debug)]
    enum Act {
        Push(u32, u64),
        Pop(u32),
        /// The call that was taken out last is refused.
        PushFirst,
        /// One of the waiting calls leaves.
        Remove(u32, usize),
        /// The function becomes part of another's flow.
        Join(u32, u32),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            6 => (0..4_u32, 0..100_u64).prop_map(|(function, bytes)| Act::Push(function, bytes)),
            4 => (0..4_u32).prop_map(Act::Pop),
            2 => Just(Act::PushFirst),
            4 => (0..4_u32, 0..100_usize).prop_map(|(function, which)| Act::Remove(function, which)),
            1 => (0..4_u32, 0..4_u32).prop_map(|(function, flow)| Act::Join(function, flow)),
        ];
        proptest::collection::vec(act, 0..200)
    }

    proptest! {
        #[test]
        fn each_function_is_first_in_first_out_whoever_leaves(acts in acts()) {
            let mut queue = queue(UNBOUNDED, &[1, 2, 3, 4]);
            let mut model: Vec<Vec<(u64, u64)>> = vec![Vec::new(); 4];
            let (mut next, mut popped) = (0, Vec::new());
            for act in acts {
                match act {
                    Act::Push(function, bytes) => {
                        next += 1;
                        queue.push(FunctionNumber(function), waiting(next), bytes, Position::Last).unwrap();
                        model[function as usize].push((next, bytes));
                    }
                    Act::Pop(function) => {
                        let call = queue.pop(FunctionNumber(function), None, at(next)).map(|waiting| waiting.call.0);
                        let expected = (!model[function as usize].is_empty()).then(|| model[function as usize].remove(0));
                        prop_assert_eq!(call, expected.map(|(call, _)| call));
                        popped.extend(expected.map(|expected| (function, expected)));
                    }
                    Act::PushFirst => if let Some((function, (call, bytes))) = popped.pop() {
                        queue.push(FunctionNumber(function), waiting(call), bytes, Position::First).unwrap();
                        model[function as usize].push((call, bytes));
                        model[function as usize].sort_unstable();
                    }
                    Act::Remove(function, which) => if !model[function as usize].is_empty() {
                        let position = which % model[function as usize].len();
                        let (call, bytes) = model[function as usize].remove(position);
                        queue.remove(FunctionNumber(function), CallNumber(call), bytes);
                    }
                    Act::Join(function, flow) => queue.set_function(FunctionNumber(function), 0, &flow.to_string(), flow + 1),
                }
                prop_assert_eq!(queue.len(), model.iter().map(Vec::len).sum::<usize>());
                prop_assert_eq!(queue.bytes(), model.iter().flatten().map(|(_, bytes)| bytes).sum::<u64>());
                for (number, calls) in (0..).zip(&model) {
                    let function = FunctionNumber(number);
                    prop_assert_eq!(queue.waiting(function), calls.len());
                    prop_assert_eq!(queue.head(function).map(|head| head.call.0), calls.first().map(|(call, _)| *call));
                    prop_assert_eq!(queue.functions(0).filter(|other| *other == function).count(), usize::from(!calls.is_empty()));
                }
                let turns: Vec<_> = queue.functions(0).map(|function| (queue.virtual_time(function), queue.head(function).unwrap().since)).collect();
                prop_assert!(turns.is_sorted());
            }
        }

        /// The bound of start-time fair queueing: while both wait, what two flows got for their weight differs by no more than one call of each.
        #[test]
        fn flows_that_wait_share_by_weight(weights in (1..9_u32, 1..9_u32), charges in (1..50_u64, 1..50_u64), turns in 1..200_u32) {
            let mut queue = queue(UNBOUNDED, &[weights.0, weights.1]);
            for call in 0..400 {
                queue.push(FunctionNumber(call as u32 % 2), waiting(call), 0, Position::Last).unwrap();
            }
            let mut got = [0.0, 0.0];
            let one = [charges.0 as f64 / f64::from(weights.0), charges.1 as f64 / f64::from(weights.1)];
            for _ in 0..turns {
                let function = fairest(&queue);
                let charge = if function.0 == 0 { charges.0 } else { charges.1 };
                queue.pop(function, Some(Duration::from_millis(charge)), at(1_000)).unwrap();
                got[function.index()] += one[function.index()];
                if queue.functions(0).count() < 2 {
                    break;
                }
                prop_assert!((got[0] - got[1]).abs() <= one[0] + one[1] + 1e-6, "{:?} by {:?}", got, one);
            }
        }
    }

    #[test]
    fn a_flow_that_was_idle_neither_saves_credit_nor_waits_behind_a_backlog() {
        let mut queue = queue(UNBOUNDED, &[1, 1]);
        let [busy, idle] = [FunctionNumber(0), FunctionNumber(1)];
        let charge = Some(Duration::from_millis(10));
        for call in 0..100_000 {
            queue.push(busy, waiting(call), 0, Position::Last).unwrap();
        }
        for _ in 0..1_000 {
            queue.pop(busy, charge, at(0)).unwrap();
        }
        for call in 200_000..200_010 {
            queue.push(idle, waiting(call), 0, Position::Last).unwrap();
        }
        let order: Vec<u32> = (0..10)
            .map(|_| {
                let function = fairest(&queue);
                queue.pop(function, charge, at(0)).unwrap();
                function.0
            })
            .collect();
        assert_eq!(order[0], 1, "its first call is next");
        assert_eq!(order.iter().filter(|function| **function == 1).count(), 5, "then they take turns: {order:?}");
    }

    #[test]
    fn a_function_that_joins_an_idle_flow_brings_no_credit_along() {
        let mut queue = queue(UNBOUNDED, &[1, 1, 1]);
        for call in 0..200 {
            queue.push(FunctionNumber(call as u32 % 2), waiting(call), 0, Position::Last).unwrap();
        }
        for _ in 0..50 {
            let function = fairest(&queue);
            queue.pop(function, Some(Duration::from_millis(10)), at(0)).unwrap();
        }
        queue.set_function(FunctionNumber(0), 0, "2", 1);
        let turns: Vec<u32> = (0..10)
            .map(|_| {
                let function = fairest(&queue);
                queue.pop(function, Some(Duration::from_millis(10)), at(0)).unwrap();
                function.0
            })
            .collect();
        assert_eq!(turns.iter().filter(|function| **function == 0).count(), 5, "{turns:?}");
    }

    #[test]
    fn functions_of_one_flow_share_its_turns() {
        let mut queue = WaitQueue::new(UNBOUNDED);
        for number in 0..3 {
            queue.set_function(FunctionNumber(number), 0, if number < 2 { "app" } else { "other" }, 1);
        }
        for call in 0..300 {
            queue.push(FunctionNumber(call as u32 % 3), waiting(call), 0, Position::Last).unwrap();
        }
        let mut got = [0; 3];
        for _ in 0..100 {
            let function = fairest(&queue);
            queue.pop(function, Some(Duration::from_millis(10)), at(0)).unwrap();
            got[function.index()] += 1;
        }
        assert_eq!(got, [25, 25, 50]);
    }

    #[test]
    fn a_full_queue_takes_nobody_but_who_was_there_before() {
        let mut queue = queue(WaitLimits { calls: 2, bytes: 100 }, &[1]);
        let function = FunctionNumber(0);
        queue.push(function, waiting(1), 60, Position::Last).unwrap();
        assert_eq!(queue.push(function, waiting(2), 41, Position::Last), Err(Full), "too many bytes");
        queue.push(function, waiting(3), 40, Position::Last).unwrap();
        assert_eq!(queue.push(function, waiting(4), 0, Position::Last), Err(Full), "too many calls");
        queue.push(function, waiting(0), 50, Position::First).unwrap();
        assert_eq!((queue.len(), queue.bytes()), (3, 150));
        assert_eq!(queue.head(function), Some(waiting(0)));
        for call in [1, 3] {
            queue.remove(function, CallNumber(call), if call == 1 { 60 } else { 40 });
        }
        assert_eq!(queue.push(function, waiting(5), 50, Position::Last), Ok(()), "those that left made room");
    }

    #[test]
    fn the_time_to_drain_follows_the_pace() {
        let mut queue = queue(UNBOUNDED, &[1]);
        assert_eq!(queue.drains_in(), None);
        for call in 0..100 {
            queue.push(FunctionNumber(0), waiting(call), 0, Position::Last).unwrap();
        }
        for call in 0..90 {
            queue.pop(FunctionNumber(0), None, at(call * 20)).unwrap();
        }
        let drains_in = queue.drains_in().unwrap();
        assert!((drains_in.as_secs_f64() - 0.22).abs() < 0.001, "ten and the asker, 20 ms each: {drains_in:?}");
        assert_eq!(queue.turn_in(FunctionNumber(0)), queue.drains_in(), "the only flow");
    }
}
