//! Who is compared: the product's strategies by their configured names, and the peers'.

use std::fmt;
use std::str::FromStr;

use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize as _, Serialize as _};

use super::peers::Peer;
use super::rule::Rule;
use crate::placement::{LoopRules, PlacerChoice, PlacingLoop};

/// A strategy of ours, or a rule of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Ours: the placing loop as production runs it.
    Placer(PlacerChoice),
    /// Simulated for comparison.
    Peer(Peer),
}

impl Contender {
    /// One rule for each balancer, each with a seed of its own.
    pub fn rules(self, balancers: u32, rules: &LoopRules, seed: u64) -> Vec<Box<dyn Rule>> {
        let seed_of = |balancer: u32| seed.wrapping_mul(1_000_003).wrapping_add(u64::from(balancer));
        let rule = |balancer: u32| -> Box<dyn Rule> {
            match self {
                Self::Placer(_) => Box::new(PlacingLoop::new(rules.clone(), seed_of(balancer))),
                Self::Peer(peer) => peer.rule(balancers, seed_of(balancer)),
            }
        };
        (0..balancers.max(1)).map(rule).collect()
    }
}

/// Nobody has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no placer `{name}`: expected one of runpool's ({placers}), or one of its peers' ({peers})")]
pub struct UnknownContender {
    name: String,
    placers: String,
    peers: String,
}

/// The names of our strategies, as the configuration has them.
const PLACERS: [PlacerChoice; 9] = [
    PlacerChoice::DelayPull,
    PlacerChoice::IdlePull,
    PlacerChoice::P2c,
    PlacerChoice::P2cEwma,
    PlacerChoice::LeastLoaded,
    PlacerChoice::RingBounded,
    PlacerChoice::Prequal,
    PlacerChoice::Ch,
    PlacerChoice::Naive,
];

impl FromStr for Contender {
    type Err = UnknownContender;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let deserializer: StrDeserializer<'_, ValueError> = text.into_deserializer();
        let choice = PlacerChoice::deserialize(deserializer).ok().map(Self::Placer);
        choice.or_else(|| text.parse().ok().map(Self::Peer)).ok_or_else(|| UnknownContender {
            name: text.to_owned(),
            placers: PLACERS.map(|choice| Self::Placer(choice).to_string()).join(", "),
            peers: Peer::ALL.map(Peer::as_str).join(", "),
        })
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A unit variant serializes as its name.
            Self::Placer(choice) => choice.serialize(f),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_is_found_by_its_name() {
        let placers = PLACERS.map(Contender::Placer);
        for contender in placers.into_iter().chain(Peer::ALL.map(Contender::Peer)) {
            assert_eq!(contender.to_string().parse(), Ok(contender));
        }
        let error = "nobody".parse::<Contender>().unwrap_err().to_string();
        assert!(error.contains("delay-pull, idle-pull") && error.contains("global-fifo"), "{error}");
    }
}
