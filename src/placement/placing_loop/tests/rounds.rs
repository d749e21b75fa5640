//! A round of offers goes once over the runners with room, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::placement::placers::{Offer, Pull};

/// Lets every call wait: it is offered again once, soon, and then in an hour.
#[derive(Debug)]
struct Waits {
    offers: Arc<AtomicUsize>,
    soon: Moment,
}

impl Placer for Waits {
    fn name(&self) -> &'static str {
        "waits"
    }

    fn place(&mut self, _question: Question<'_>) -> Decision {
        Decision::Park
    }

    fn pull(&mut self, offer: Offer<'_>) -> Pull {
        self.offers.fetch_add(1, Ordering::Relaxed);
        let again = if offer.now < self.soon { self.soon } else { offer.now + Duration::from_secs(3_600) };
        Pull::Leave(Some(again))
    }
}

#[test]
fn a_round_in_a_large_pool_comes_to_each_runner_once_and_ends() {
    const RUNNERS: u32 = 300;
    let soon = at(1);
    let offers = Arc::new(AtomicUsize::new(0));
    let placer = Waits { offers: Arc::clone(&offers), soon };
    let mut placing = PlacingLoop::new(rules(), 1).with_placer(Box::new(placer));
    let mut steps = Vec::new();
    let facts = function("hello", PlacerChoice::Naive);
    placing.step(&Event::Function { function: FunctionNumber(0), facts }, Moment::ZERO, &mut steps);
    let set = |number| RunnerChange::Set { runner: place(number), facts: runner(&format!("runner-{number}"), Some(8)) };
    placing.step(&Event::RunnersChanged { changes: (0..RUNNERS).map(set).collect() }, Moment::ZERO, &mut steps);
    let give_up_at = Moment::ZERO + Duration::from_secs(360);
    let arrived = Event::Arrived { call: call(1), function: FunctionNumber(0), hint: None, give_up_at, deadline: None, bytes: 0 };
    placing.step(&arrived, Moment::ZERO, &mut steps);
    offers.store(0, Ordering::Relaxed);
    let mut wakes = 0;
    while let Some(due) = placing.next_timer().filter(|due| *due < Moment::ZERO + Duration::from_secs(10)) {
        placing.step(&Event::Timer, due, &mut steps);
        wakes += 1;
        assert!(wakes < 100, "rounds without end");
    }
    assert_eq!((offers.load(Ordering::Relaxed), wakes), (RUNNERS as usize, 3));
}
