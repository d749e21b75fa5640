//! The HTTP client that speaks to an agent or to a plain HTTP server: [`HttpRunner`].
//!
//! What it promises:
//! * **The commit point** (P1, P2). An attempt is refused only if not a byte of the call was written, or if the runner's answer proves
//!   that the call did not run. Everything else is committed, a lost connection too.
//! * **Isolation** (P3). Whatever came with a refusal is dropped with its attempt; an answer belongs to the connection it came over, and
//!   that connection takes no other call until the answer's last byte was read.
//! * **Cancellation.** Who drops an attempt or an answer's body closes the connection at once, so that the runner can kill the call.
//! * **No back-off.** Nothing is remembered of a runner that could not be reached: it is used again by the first attempt after it came
//!   back. Only an agent that said that it drains is asked first (`leave`).
//!
//! Where to start: `http_runner` is the face. `agent` and `plain` run one attempt, each in its protocol: they let `request` write the head,
//! hand it to `exchange`, and read the answer. `exchange` finds a connection in `connections` and waits for the head as long as `patience`
//! says; a `conversation` is the request and the answer on that connection, of which `sending` writes the one half. What comes behind the head is
//! `arriving`: usually it is there already; else a `streamed_answer`, or a `tunnel`. `question` asks an agent something that is no call; `room` asks
//! it for a slot, or how full it is. `http2` is the other way to plain servers.
//!
//! HTTP/1.1 stands on `http1`, and an exchange is driven by the caller's own future: no task, no channel, no buffer while nothing comes. One
//! call at a time is on a connection, and a connection stays with its worker. It must not import pools or placers.

mod address;
mod agent;
mod answer;
mod arriving;
mod connection;
mod connections;
mod conversation;
mod exchange;
mod finishing;
mod http2;
mod http2_body;
mod http_runner;
mod leave;
mod metrics;
mod outgoing;
mod patience;
mod plain;
mod question;
mod record;
mod request;
mod room;
mod sending;
mod settings;
mod streamed_answer;
mod tunnel;
mod watch;

#[cfg(test)]
mod tests;

pub use address::{InvalidAddress, RunnerAddress};
pub use answer::AnswerFacts;
pub use http_runner::HttpRunner;
pub use metrics::RunnerMetrics;
pub use settings::{HttpRunnerSettings, HttpVersion, Protocol};
pub use streamed_answer::StreamedAnswer;
