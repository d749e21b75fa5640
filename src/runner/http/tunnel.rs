//! An answer after which its connection speaks another protocol: 101 (RFC 9110 section 15.2.2).

use ::http::Response;
use ::http::header::{CONNECTION, UPGRADE};
use ::http::response::Parts;
use ::http::{HeaderValue, header};

use super::answer::clean;
use super::connection::Connection;
use super::record::InFlight;
use crate::http1::{Tunnel, TunnelEnd};
use crate::runner::{AnswerBody, Session};

/// The answer, with this side's end of the tunnel in its extensions. It keeps the two fields of the hop that make it what it is, which whoever writes
/// it to the client needs; the attempt is under way until the tunnel ends.
pub(super) fn open(mut parts: Parts, mut connection: Connection, lives: (InFlight, Session)) -> Response<AnswerBody> {
    let protocol = parts.headers.remove(UPGRADE);
    clean(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(protocol) = protocol {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
    }
    let unread = std::mem::take(&mut connection.read).freeze();
    let held = Box::new(lives);
    parts.extensions.insert(Tunnel::new(TunnelEnd { io: Box::new(connection), unread, held }));
    Response::from_parts(parts, AnswerBody::empty())
}
