//! Listeners: accepting connections, protecting them, ending them gracefully.
//!
//! Front, admin and agent all listen; this floor is what they share. It knows HTTP connections and nothing of calls.
//!
//! [`Server`] answers HTTP/1.1 and HTTP/2 on one port, in clear or by TLS ([`Listening`]), runs until it is told to close, then lets every connection finish
//! what it has begun (`Connection: close`, GOAWAY) and returns when the last one has. What an answer leaves unread of its request is read by
//! the connection ([`RequestBody`]), so that the answer arrives and the connection can be used again.
//!
//! HTTP/1.1 is ours, on the rules of `http1`: `connection` is the life of a connection, `exchange` one request and its answer, `answer` the sending of that, `wire`
//! the bytes, `watch` the clock, `crowd` what the connections of a listener have together. HTTP/2 is hyper's (`http2`), with what hyper leaves to us: heads under the same rules, clients that take nothing (`http2_answer`),
//! streams that are counted and cut (`http2_stream`), trailers with pseudo-headers (`http2_trailers`, `http2_block`). `workers` are the threads that connections live on.
//!
//! Restarts: `passed` are sockets that another process has opened for this one and will open to the next; `hand_over` is what a socket does at its end when the next
//! process has one of its own on the same address.

mod accept;
mod answer;
mod bind;
mod connection;
mod crowd;
mod exchange;
mod hand_over;
mod http2;
mod http2_answer;
mod http2_block;
mod http2_stream;
mod http2_trailers;
mod limits;
mod passed;
mod request_body;
#[expect(clippy::module_inception, reason = "the floor is named for what it does, and this is what does it")]
mod server;
mod together;
mod watch;
mod wire;
mod workers;

pub use accept::{Listening, Peer, serve};
pub use bind::{BindError, Sharing, bind};
pub use limits::{Admitted, ConnectionLimits, Exposure};
pub use passed::{PassedError, PassedSockets};
pub use request_body::{BodyStoodStill, RequestBody, RequestBodyError};
pub use server::{Draining, HalfClose, Refuse, Server};
pub use workers::{Workers, become_only_worker};
