//! Asking a runner how it is.

use http::uri::PathAndQuery;

use crate::protocol::AgentStatus;

/// How a runner is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthQuestion {
    /// An agent: by its status.
    Status,
    /// A plain server: by making a connection.
    Connect,
    /// A plain server: by a GET, to be answered with a status from 200 to 399.
    Get(PathAndQuery),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthAnswer {
    /// It is well; an agent has said more about itself, also that it drains.
    Well(Option<Box<AgentStatus>>),
    /// It did not answer in time, or that it is not well.
    Unwell(String),
    /// No connection could be made: nobody listens there.
    Unreachable(String),
}
