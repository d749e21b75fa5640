//! A strategy of one's own: the runner that was tried longest ago comes first.
//!
//! ```console
//! $ cargo run --example custom_placer
//! ```
//!
//! A placer only decides: no I/O, no clock, no task. All it may know is what it is asked and told. This one keeps, behind a short lock, when
//! each runner was named last; time comes in with the question, so that the simulator can drive it through the same calls as the others.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use runpool::model::RunnerId;
use runpool::placement::{Decision, Naive, PlacementConfig, Placer, Question};
use runpool::sim::{ModelCall, Simulation};

/// The runner that was named longest ago, and those never named before all others.
#[derive(Debug, Default)]
struct LeastRecent {
    /// Protects the times; held for one look over the runners.
    named: Mutex<HashMap<RunnerId, Instant>>,
}

impl Placer for LeastRecent {
    fn name(&self) -> &'static str {
        "least-recent"
    }

    fn decide(&self, question: Question<'_>) -> Decision {
        let Question { snapshot, now, pass, .. } = question;
        let mut named = self.named.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // `order` is this pass's own memory: whom it has tried.
        let next = snapshot
            .places()
            .map(|(place, member)| (place.0, member))
            .filter(|(place, _)| !pass.order.contains(place))
            .min_by_key(|(_, member)| named.get(&member.id).copied());
        match next {
            Some((position, member)) => {
                named.insert(member.id.clone(), now);
                pass.order.push(position);
                Decision::Try(position)
            }
            None => Decision::Park,
        }
    }
}

fn main() {
    let simulation =
        Simulation { runners: 4, slots: 2, round_trip: Duration::from_micros(200), rules: PlacementConfig::default().rules() };
    // A call every 7 ms, 40 ms each: 5.7 of 8 slots are busy on average.
    let calls: Vec<ModelCall> =
        (0..2_000).map(|number| ModelCall::new("resize", Duration::from_millis(7 * number), Duration::from_millis(40))).collect();
    println!("{:<14} {:>8} {:>20}", "placer", "placed", "attempts per call");
    for placer in [&LeastRecent::default() as &dyn Placer, &Naive] {
        let summary = simulation.run(placer, calls.clone(), 1);
        println!("{:<14} {:>8} {:>20.3}", placer.name(), summary.placed, summary.attempts as f64 / summary.placed as f64);
    }
}
