//! Placing a call directly allocates nothing once the tables have grown.

#[path = "../benches/support/steady.rs"]
mod steady;

use runpool::placement::PlacerChoice;

use self::steady::Steady;

/// More than once in so many calls is a habit; a table that grows a last time is none.
const CALLS: u64 = 20_000;

fn allocations(placer: PlacerChoice) -> u64 {
    let mut steady = Steady::new(placer, 40);
    for _ in 0..20_000 {
        steady.arrive();
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..CALLS {
            steady.arrive();
        }
    });
    counted.count_total
}

#[test]
fn a_call_that_is_placed_directly_allocates_nothing() {
    for placer in PlacerChoice::ALL {
        let count = allocations(placer);
        assert!(count <= CALLS / 1_000, "{} allocated {count} times in {CALLS} calls", placer.as_str());
    }
}
