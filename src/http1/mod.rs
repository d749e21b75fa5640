//! HTTP/1.1 as bytes: heads, the framing of bodies, and the rules that keep two readers of one message from reading two messages.
//!
//! Pure: buffers in, messages out; no socket, no clock, no task ([`Tunnel`] only names what is left when HTTP is over, and [`Sending`] writes to whatever it is given). The server's connections (`server`) and the clients' (`runner::http`, the agent's to its workers) stand on
//! it, so that a rule is written once and holds on both sides.
//!
//! * [`parse_request`] and [`parse_response`] read a head and decide how long its body is ([`BodyLength`]). Where RFC 9112 lets a recipient choose
//!   between mending and refusing, they refuse: our clients are programs, and what one proxy mends another reads differently.
//! * [`BodyDecoder`] takes a body out of what was read; [`RequestWriter`], [`encode_response`] and [`encode_chunk`] write.
//!
//! Nothing here knows of calls, or which headers pass a proxy: that is `protocol`'s and the front's ([`Sending`] asks `protocol` which trailers are ours alone). HTTP/2 is hyper's; [`translate_http2_head`] brings
//! the heads of its requests under the rules of these.

mod body;
mod chunk_size;
mod encode;
mod from_http2;
mod head;
mod host;
mod length;
mod request;
mod request_writer;
mod response;
mod sending;
mod trailers;
mod tunnel;
mod usual_names;

pub use body::{BodyDecoder, BodySyntaxError, Decoded};
pub use encode::{LAST_CHUNK, Persistence, ResponseHead, encode_chunk, encode_last_chunk, encode_response};
pub use from_http2::translate_http2_head;
pub use head::{HEAD_TOO_SLOW, HeadLimits, MalformedHead};
pub use host::{InvalidAuthority, check_authority};
pub use length::BodyLength;
pub use request::{ReceivedRequest, go_on_parsing_request, parse_request};
pub use request_writer::{InvalidTarget, InvalidText, RequestWriter};
pub use response::{ReceivedResponse, parse_response};
pub use sending::{LONGEST_COPIED, NotAsAnnounced, SendError, Sending};
pub use trailers::remove_forbidden_trailers;
pub use tunnel::{Tunnel, TunnelEnd, TunnelIo};
