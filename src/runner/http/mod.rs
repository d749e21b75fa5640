//! The HTTP client that speaks to an agent or to a plain HTTP server.

use serde::{Deserialize, Serialize};

/// How the balancer speaks to its runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// runpool's own agents.
    #[default]
    Agent,
    /// Any HTTP server.
    Plain,
}

/// What a runner said beside its answer; stands in the answer's extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// How full it is.
    pub load: Option<crate::protocol::LoadReport>,
    /// Where its time went.
    pub timing: Option<crate::protocol::ServerTiming>,
}
