//! What becomes of a connection when its answer is over.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::connection::Connection;
use super::connections::Connections;
use super::conversation::Conversation;
use super::outgoing::Rest;
use super::sending::Sending;
use crate::http1::Persistence;

/// Keeps the connection of a conversation whose answer is over for the next call, if both sides have said all and it goes on (RFC 9112 section
/// 9.3). A rest of the request that is still wanted is sent first, by a task of its own, which is rare. Else the connection is closed.
pub(super) fn release(conversation: Conversation<'_>, persistence: Persistence, rest: Rest, connections: &Arc<Connections>) {
    if conversation.is_sent() {
        if persistence == Persistence::KeepAlive {
            connections.keep(conversation.connection);
        }
    } else if rest == Rest::IsSent && conversation.can_go_on_sending() {
        let Conversation { connection, sending, .. } = conversation;
        finish(connection, std::mem::take(sending), persistence, connections);
    }
}

/// Sends the rest of a request whose answer is over. The connection's own token lets the runner's close wait for the task.
pub(super) fn finish(mut connection: Connection, mut sending: Sending, persistence: Persistence, connections: &Arc<Connections>) {
    let home = Arc::downgrade(connections);
    connections.spawn(async move {
        let is_sent = poll_fn(|cx| poll_rest(&mut connection, &mut sending, cx)).await;
        if let (true, Persistence::KeepAlive, Some(home)) = (is_sent, persistence, home.upgrade()) {
            home.keep(connection);
        }
    });
}

/// Whether all was written. Whatever the runner says or does now means that it wants no more.
fn poll_rest(connection: &mut Connection, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<bool> {
    if connection.poll_read_more(cx, 0).is_ready() {
        return Poll::Ready(false);
    }
    sending.poll(&mut connection.stream, cx).map(|written| written.is_ok() && sending.is_over())
}
