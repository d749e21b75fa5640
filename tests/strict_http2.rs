//! HTTP/2 on the wire: frames by hand, judged by what the client got and by what arrived at the runner over HTTP/1.1.
//!
//! What an HTTP/2 head may say and an HTTP/1.1 head may not is where requests are smuggled; what frames cost the sender less than the
//! receiver is how servers are brought down.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "strict_http2/bodies.rs"]
mod bodies;
#[path = "strict_http2/case.rs"]
mod case;
#[path = "strict_http2/floods.rs"]
mod floods;
#[path = "strict_http2/framing.rs"]
mod framing;
#[path = "strict_http2/h2spec.rs"]
mod h2spec;
#[path = "strict_http2/heads.rs"]
mod heads;
