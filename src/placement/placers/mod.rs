//! The strategies, one a file: each page tells the rule, its source, what a decision costs and when to use it.
//!
//! | name | rule | use it when |
//! |---|---|---|
//! | [`naive`] | the next with room, from a random start | nothing is warm and runners are alike |
//! | [`ch`](consistent_hash) | the function's homes in order | runners hold something warm and functions are many |
//! | [`ring-bounded`](ring_bounded) | homes in order, none fuller than a bound | the same, with hot functions |
//! | [`p2c`](two_choices) | of two random ones the cheaper | calls are stateless, runners differ |
//! | [`least-loaded`](least_loaded) | the least loaded | one balancer, stateless calls |
//! | [`idle-pull`](idle_pull) | an idle warm worker, else the least loaded | starts are cheap, load is low |
//! | [`prequal`] | probed load and latency | runners share their machines with others |
//! | [`delay-pull`](delay_pull) | an idle warm worker, else wait for one as long as that is cheaper | starts are dear, load is high |

pub mod consistent_hash;
pub mod delay_pull;
pub mod idle_pull;
pub mod least_loaded;
pub mod naive;
mod placer;
pub mod prequal;
pub mod ring_bounded;
#[cfg(test)]
mod tests;
pub mod two_choices;

pub use placer::{Decision, Noted, Offer, Placer, Pull, Question, Reason};

use super::config::{PlacerChoice, PlacerSettings};

/// The placer that a configuration names.
pub fn placer(choice: PlacerChoice, settings: &PlacerSettings) -> Box<dyn Placer> {
    match choice {
        PlacerChoice::Naive => Box::new(naive::Naive),
        PlacerChoice::Ch => Box::new(consistent_hash::ConsistentHash),
        PlacerChoice::RingBounded => Box::new(ring_bounded::RingBounded::new(settings.ring_bounded)),
        PlacerChoice::P2c => Box::new(two_choices::TwoChoices::least_loaded()),
        PlacerChoice::P2cEwma => Box::new(two_choices::TwoChoices::peak_ewma(settings.p2c)),
        PlacerChoice::LeastLoaded => Box::new(least_loaded::LeastLoaded),
        PlacerChoice::IdlePull => Box::new(idle_pull::IdlePull),
        PlacerChoice::Prequal => Box::new(prequal::Prequal::new(settings.prequal)),
        PlacerChoice::DelayPull => Box::new(delay_pull::DelayPull::new(settings.delay_pull)),
    }
}
