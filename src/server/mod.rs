//! Listeners: accepting connections, protecting them, ending them gracefully.
//!
//! Front, admin and agent all listen; this floor is what they share. It knows HTTP connections and nothing of calls. It stands
//! between `telemetry` and `runner` and imports `model` at most.
//!
//! [`serve`] answers HTTP/1.1 and cleartext HTTP/2 on one port, runs until it is told to close, then lets every connection finish
//! what it has begun (`Connection: close`, GOAWAY) and returns when the last one has. What an answer leaves unread of its request is read by
//! the connection ([`RequestBody`]), so that the answer arrives and the connection can be used again.

mod accept;
mod bind;
mod limits;
mod request_body;
mod workers;

pub use accept::{Peer, serve};
pub use bind::{BindError, bind};
pub use limits::{ConnectionLimits, Exposure};
pub use request_body::RequestBody;
pub use workers::{current_worker, highest_worker};
