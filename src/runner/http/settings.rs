//! How a runner is spoken to.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::protocol::BalancerId;
use crate::tls::ClientTls;

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

impl Protocol {
    /// How long an unused connection is kept if nothing is configured: 60 s to agents, which never close first; 4 s to plain servers, of
    /// which many close after 5 s.
    pub const fn default_idle_timeout(self) -> Duration {
        match self {
            Self::Agent => Duration::from_secs(60),
            Self::Plain => Duration::from_secs(4),
        }
    }
}

/// Which HTTP is spoken to plain servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1: one call at a time on a connection.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 in the clear, with prior knowledge (RFC 9113 section 3.3): all calls of a worker on one connection. For gRPC.
    #[serde(rename = "2")]
    Http2,
}

/// The settings of an [`HttpRunner`](super::HttpRunner).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRunnerSettings {
    /// Agent or plain.
    pub protocol: Protocol,
    /// Which HTTP a plain server is spoken to in. Agents are spoken to in HTTP/1.1.
    pub http: HttpVersion,
    /// Who asks agents for room: this process, unless it is several balancers.
    pub balancer: BalancerId,
    /// TLS to the runner; none is cleartext.
    pub tls: Option<Arc<ClientTls>>,
    /// How long making a connection may take, name look-up and TLS handshake included. Then the attempt is refused.
    pub connect_timeout: Duration,
    /// How long an attempt may stay without a sign of life once the request was sent. Then it is committed, and failed. To a plain
    /// server, which cannot be asked, this is added to the function's timeout.
    pub attempt_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections that are kept.
    pub max_idle_connections: usize,
    /// Statuses of a plain server that mean "not taken, try another". 503 counts only together with `Retry-After`: functions use the bare
    /// status for failures of their own.
    pub refusal_statuses: Vec<u16>,
    /// Whether a 503 without `Retry-After` counts too.
    pub bare_503_refuses: bool,
}

/// The id of this process, drawn when first wanted.
fn this_process() -> BalancerId {
    static ID: OnceLock<BalancerId> = OnceLock::new();
    ID.get_or_init(|| BalancerId::from_draw(rand::random())).clone()
}

impl HttpRunnerSettings {
    /// The default settings of a protocol.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            http: HttpVersion::Http1,
            balancer: this_process(),
            tls: None,
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: Duration::from_secs(5),
            idle_timeout: protocol.default_idle_timeout(),
            max_idle_connections: 1_024,
            refusal_statuses: vec![503],
            bare_503_refuses: false,
        }
    }
}
