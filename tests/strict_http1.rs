//! HTTP/1.1 on the wire: what the balancer does with every request and answer that RFC 9110 and RFC 9112 have something to say about.
//!
//! Each case is bytes from a client, or bytes from a runner. It is judged by what the client got, by whether its connection can be used
//! again, and by what arrived at the runner, byte for byte: whatever happens in front, what arrives is well formed, or nothing does.
//! Where the RFC leaves a choice, the case lists what is accepted.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "strict_http1/answers.rs"]
mod answers;
#[path = "strict_http1/case.rs"]
mod case;
#[path = "strict_http1/chunks.rs"]
mod chunks;
#[path = "strict_http1/connection.rs"]
mod connection;
#[path = "strict_http1/expect.rs"]
mod expect;
#[path = "strict_http1/forwarded.rs"]
mod forwarded;
#[path = "strict_http1/header_syntax.rs"]
mod header_syntax;
#[path = "strict_http1/hop_by_hop.rs"]
mod hop_by_hop;
#[path = "strict_http1/host.rs"]
mod host;
#[path = "strict_http1/length.rs"]
mod length;
#[path = "strict_http1/methods.rs"]
mod methods;
#[path = "strict_http1/request_line.rs"]
mod request_line;
#[path = "strict_http1/upgrade.rs"]
mod upgrade;
