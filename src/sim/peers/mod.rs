//! Rules of others, simulated for comparison only: nothing here runs in production.
//!
//! Each is the rule that placement.md's survey found in its system, on our runner model. Their systems differ in more than the rule, so a
//! table here compares rules, not products.
//!
//! | rule | where a call waits |
//! |---|---|
//! | `random`, `round-robin`, `ow-shard`, `ch-rlu` | in the runner's queue |
//! | `p2c-q`, `yarp-p2c`, `c3`, `wrr`, `least-loaded-q`: Prequal's comparison | in the runner's queue, or on its shared cores |
//! | `fn-naive`, `fn-ch` | in the balancer, polling |
//! | `global-fifo` | in the balancer, one queue, with perfect knowledge of all runners |

mod ch_rlu;
mod fn_polling;
mod global_fifo;
mod known;
mod ow_shard;
mod random;
mod scored;

use std::fmt;
use std::str::FromStr;

use super::rule::Rule;

/// A rule that is simulated for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Any runner.
    Random,
    /// One runner after the other.
    RoundRobin,
    /// OpenWhisk's sharding balancer.
    OwShard,
    /// Consistent hash with random load updates.
    ChRlu,
    /// Fn's naive placer.
    FnNaive,
    /// Fn's consistent hash placer, as shipped.
    FnCh,
    /// One queue, and perfect knowledge.
    GlobalFifo,
    /// Of two random runners the one with fewer of our calls; the call queues there.
    P2cQueue,
    /// Of two random runners the one that reported fewer calls.
    YarpP2c,
    /// The least latency times cube of calls.
    C3,
    /// In turn, weighted by capacity.
    Wrr,
    /// The fewest of our calls; the call queues there.
    LeastLoadedQueue,
}

impl Peer {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Random,
        Self::RoundRobin,
        Self::OwShard,
        Self::ChRlu,
        Self::FnNaive,
        Self::FnCh,
        Self::GlobalFifo,
        Self::P2cQueue,
        Self::YarpP2c,
        Self::C3,
        Self::Wrr,
        Self::LeastLoadedQueue,
    ];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::OwShard => "ow-shard",
            Self::ChRlu => "ch-rlu",
            Self::FnNaive => "fn-naive",
            Self::FnCh => "fn-ch",
            Self::GlobalFifo => "global-fifo",
            Self::P2cQueue => "p2c-q",
            Self::YarpP2c => "yarp-p2c",
            Self::C3 => "c3",
            Self::Wrr => "wrr",
            Self::LeastLoadedQueue => "least-loaded-q",
        }
    }

    /// A balancer with this rule, one of `balancers`.
    pub fn rule(self, balancers: u32, seed: u64) -> Box<dyn Rule> {
        match self {
            Self::Random => Box::new(random::Spread::at_random(seed)),
            Self::RoundRobin => Box::new(random::Spread::in_turn(seed)),
            Self::OwShard => Box::new(ow_shard::OwShard::new(balancers, seed)),
            Self::ChRlu => Box::new(ch_rlu::ChRlu::new(seed)),
            Self::FnNaive => Box::new(fn_polling::FnPolling::naive()),
            Self::FnCh => Box::new(fn_polling::FnPolling::consistent_hash()),
            Self::GlobalFifo => Box::new(global_fifo::GlobalFifo::default()),
            Self::P2cQueue => Box::new(scored::Scored::new(scored::Score::FewerOfTwo, balancers, seed)),
            Self::YarpP2c => Box::new(scored::Scored::new(scored::Score::FewerReportedOfTwo, balancers, seed)),
            Self::C3 => Box::new(scored::Scored::new(scored::Score::C3, balancers, seed)),
            Self::Wrr => Box::new(scored::Scored::new(scored::Score::Weighted, balancers, seed)),
            Self::LeastLoadedQueue => Box::new(scored::Scored::new(scored::Score::Fewest, balancers, seed)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPeer;

impl FromStr for Peer {
    type Err = UnknownPeer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|peer| peer.as_str() == text).ok_or(UnknownPeer)
    }
}
