//! Placing a call directly allocates nothing once the tables have grown.

#[path = "../benches/support/steady.rs"]
mod steady;

use runpool::placement::PlacerChoice;

use self::steady::Steady;

/// More than once in so many calls is a habit; a table that grows a last time is none.
const CALLS: u64 = 20_000;

/// Allocations, and how many of the calls had to wait: the queue may allocate for those.
fn allocations(placer: PlacerChoice) -> (u64, u64) {
    let mut steady = Steady::new(placer, 40);
    for _ in 0..20_000 {
        steady.arrive();
    }
    steady.waited = 0;
    let counted = allocation_counter::measure(|| {
        for _ in 0..CALLS {
            steady.arrive();
        }
    });
    (counted.count_total, steady.waited)
}

#[test]
fn a_call_that_is_placed_directly_allocates_nothing() {
    for placer in PlacerChoice::ALL {
        let (count, waited) = allocations(placer);
        let most = CALLS / 1_000 + 8 * waited;
        assert!(count <= most, "{} allocated {count} times in {CALLS} calls, of which {waited} waited", placer.as_str());
        assert!(waited <= CALLS / 50, "{waited} calls waited: this is about those that do not");
    }
}
