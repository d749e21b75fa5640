//! One run: calls arrive, are placed by the real placing loop, and hold a slot for as long as they run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::EventQueue;
use super::model_runner::ModelRunner;
use crate::model::{Call, CallHead, CallId, CallKind, Function, FunctionName, FunctionSpec, Intent, TraceContext};
use crate::placement::{Action, Placer, PlacerEvent, Placing, Rules};
use crate::pool::{Member, PoolAnswer, Snapshot};

/// A call of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCall {
    /// The function's name.
    pub function: String,
    /// When it arrives, from the start of the run.
    pub arrival: Duration,
    /// How long it holds its slot.
    pub service: Duration,
}

impl ModelCall {
    /// A call of `function`.
    pub fn new(function: impl Into<String>, arrival: Duration, service: Duration) -> Self {
        Self { function: function.into(), arrival, service }
    }
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// How many runners.
    pub runners: usize,
    /// Slots of each.
    pub slots: u32,
    /// From the sending of an attempt to the coming of its refusal.
    pub round_trip: Duration,
    /// The times that the placing loop obeys.
    pub rules: Rules,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls that a runner took.
    pub placed: u64,
    /// Calls that nobody took in time.
    pub not_placed: u64,
    /// Attempts in total, refused and committed.
    pub attempts: u64,
    /// Placer latencies of the placed calls (the committed attempt excluded), in the order of placing.
    pub latencies: Vec<Duration>,
    /// When the last call ended, from the start of the run.
    pub last_end: Duration,
}

/// What happens.
enum Event {
    /// The call with this number has its next step due.
    Step(usize),
    /// An attempt of this call reaches this runner.
    Attempt(usize, u32),
    /// The runner's refusal is back.
    Refused(usize),
    /// A call leaves its slot.
    Ended(u32),
}

impl Simulation {
    /// Runs `calls` through `placer`. The seed decides every random draw.
    pub fn run(&self, placer: &dyn Placer, calls: impl IntoIterator<Item = ModelCall>, seed: u64) -> Summary {
        let start = Instant::now();
        let snapshot = self.snapshot();
        placer.observe(PlacerEvent::PoolChanged(&snapshot));
        let model: Vec<ModelCall> = calls.into_iter().collect();
        let mut functions = HashMap::new();
        let calls: Vec<Call> = (0_u64..).zip(&model).map(|(number, call)| real_call(number, call, &mut functions)).collect();
        let mut placings: Vec<Option<Placing<'_>>> = calls.iter().map(|_| None).collect();
        let mut free = vec![self.slots; self.runners];
        let mut queue = EventQueue::new();
        let mut summary = Summary::default();
        for (number, call) in model.iter().enumerate() {
            queue.add(start + call.arrival, Event::Step(number));
        }
        while let Some((now, event)) = queue.next() {
            match event {
                Event::Step(number) => {
                    let seed = seed.wrapping_add(number as u64);
                    let placing =
                        placings[number].get_or_insert_with(|| Placing::new(&calls[number], placer, &self.rules, now, seed));
                    let mut action = placing.next(now);
                    if action == Action::AskPool {
                        placing.pool_answered(PoolAnswer::ok(Arc::clone(&snapshot)), now);
                        action = placing.next(now);
                    }
                    match action {
                        Action::Try(runner) => {
                            summary.attempts += 1;
                            queue.add(now + self.round_trip / 2, Event::Attempt(number, runner));
                        }
                        Action::Wait(until) => queue.add(until, Event::Step(number)),
                        Action::AskPool => queue.add(now, Event::Step(number)),
                        Action::End(_) => summary.not_placed += 1,
                    }
                }
                Event::Attempt(number, runner) => match free.get_mut(runner as usize) {
                    Some(slots) if *slots > 0 => {
                        *slots -= 1;
                        summary.placed += 1;
                        let sent = now - self.round_trip / 2;
                        summary.latencies.push(sent.saturating_duration_since(start + model[number].arrival));
                        queue.add(now + model[number].service, Event::Ended(runner));
                    }
                    _ => queue.add(now + self.round_trip / 2, Event::Refused(number)),
                },
                Event::Refused(number) => {
                    if let Some(placing) = &mut placings[number] {
                        placing.refused(true);
                    }
                    queue.add(now, Event::Step(number));
                }
                Event::Ended(runner) => {
                    free[runner as usize] += 1;
                    summary.last_end = now.saturating_duration_since(start);
                }
            }
        }
        summary
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let members = (0..self.runners).map(|number| Member::new(Arc::new(ModelRunner(format!("runner-{number}"))))).collect();
        // Numbered names differ.
        Arc::new(Snapshot::new(members).unwrap_or_else(|_| Snapshot::empty()))
    }
}

fn real_call(number: u64, model: &ModelCall, functions: &mut HashMap<String, Arc<Function>>) -> Call {
    let function = functions.entry(model.function.clone()).or_insert_with(|| {
        let name = model.function.parse().unwrap_or_else(|_| unnamed());
        Arc::new(Function::new(FunctionSpec::named(name)))
    });
    Call {
        id: CallId::from_parts(number, 0),
        function: Arc::clone(function),
        kind: CallKind::Sync,
        intent: Intent::Invoke,
        head: CallHead {
            method: http::Method::POST,
            rest: String::new(),
            original_target: String::new(),
            authority: None,
            headers: http::HeaderMap::new(),
        },
        deadline: None,
        trace: TraceContext { trace_id: [1; 16], span_id: [1; 8], is_sampled: false },
    }
}

/// The name of functions whose own cannot be one.
fn unnamed() -> FunctionName {
    #[expect(clippy::expect_used, reason = "a constant that the tests of names cover")]
    "unnamed".parse().expect("`unnamed` is a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{ConsistentHash, Naive, PlacementConfig};

    fn simulation(runners: usize, slots: u32) -> Simulation {
        Simulation { runners, slots, round_trip: Duration::from_micros(200), rules: PlacementConfig::default().rules() }
    }

    fn burst(calls: usize, functions: usize) -> Vec<ModelCall> {
        let call = |number: usize| {
            ModelCall::new(format!("f{}", number % functions), Duration::from_micros(number as u64), Duration::from_millis(200))
        };
        (0..calls).map(call).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_decisions() {
        for placer in [&Naive as &dyn Placer, &ConsistentHash::default()] {
            let simulation = simulation(4, 2);
            let once = simulation.run(placer, burst(50, 5), 7);
            assert_eq!(once, simulation.run(placer, burst(50, 5), 7));
            assert_eq!((once.placed, once.not_placed), (50, 0));
        }
        let other = simulation(4, 2).run(&Naive, burst(50, 5), 8);
        assert_ne!(other, simulation(4, 2).run(&Naive, burst(50, 5), 7), "the seed decides");
    }

    #[test]
    fn a_pool_with_room_for_all_takes_each_call_at_its_first_attempt() {
        let summary = simulation(1, 50).run(&Naive, burst(50, 5), 1);
        assert_eq!((summary.attempts, summary.placed), (50, 50));
        assert!(summary.latencies.iter().all(|latency| latency.is_zero()));
    }

    #[test]
    fn what_finds_no_slot_in_time_is_not_placed() {
        let mut simulation = simulation(1, 1);
        simulation.rules.placer_timeout = Duration::from_millis(100);
        let summary = simulation.run(&Naive, burst(3, 1), 1);
        assert_eq!((summary.placed, summary.not_placed), (1, 2));
        assert!(summary.attempts > 10, "polling costs attempts: {}", summary.attempts);
    }
}
