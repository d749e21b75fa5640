//! The hash of a run's log: of every event and every step. The same for the same seed, on every machine.

use crate::placement::{Event, Step};

/// Adds what a balancer was told, and what it decided.
pub(super) fn add(hash: u64, now: u64, balancer: usize, event: &Event, steps: &[Step]) -> u64 {
    let event = match event {
        Event::Arrived { call, .. } => (1, call.0),
        Event::Refused { call, .. } => (2, call.0),
        Event::Committed { call, .. } => (3, call.0),
        Event::Ended { call, .. } => (4, call.0),
        Event::Timer => (5, balancer as u64),
        Event::Room { runner } => (6, u64::from(runner.0)),
        Event::Probed { runner, .. } => (7, u64::from(runner.0)),
        _ => (8, balancer as u64),
    };
    let mut hash = [now, event.0, event.1].into_iter().fold(hash, mix);
    for step in steps {
        hash = match step {
            Step::Try { call, runner, .. } => [1, call.0, u64::from(runner.0)].into_iter().fold(hash, mix),
            Step::Wait { call } => [2, call.0].into_iter().fold(hash, mix),
            Step::GiveUp { call, .. } => [3, call.0].into_iter().fold(hash, mix),
            Step::AskRoom { runner } => [4, u64::from(runner.0)].into_iter().fold(hash, mix),
            Step::Probe { runner } => [5, u64::from(runner.0)].into_iter().fold(hash, mix),
        };
    }
    hash
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
