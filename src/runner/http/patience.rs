//! How long the head of an answer is waited for: as long as the runner shows signs of life.
//!
//! A runner that has the call and is silent may be working, or hung, or stopped. An agent can be asked, over another connection, whether
//! it has the call in hand. A plain server cannot: there the function's own timeout is the limit.

use std::pin::Pin;
use std::time::Duration;

use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{sleep, timeout};

use super::connections::Connections;
use super::outgoing::{HeldBack, OutgoingBody};
use super::question;
use crate::model::CallId;
use crate::runner::CallBody;

/// How an exchange ended, in hyper's words: the error gives the request back, if it was certainly not sent.
pub(super) type Head = Result<Response<Incoming>, TrySendError<Request<OutgoingBody>>>;

/// The runner was silent for too long.
pub(super) struct Silent {
    /// For how long, and what was tried.
    pub(super) detail: String,
}

/// How long the head of an answer is waited for.
pub(super) enum Patience<'a> {
    /// So long.
    Limited(Duration),
    /// As long as the agent says that it has the call.
    Asking {
        /// The call.
        call: CallId,
        /// Its body.
        body: &'a CallBody,
        /// The side that gives the body, if it is held back.
        held_back: Option<HeldBack>,
        /// After how much silence the agent is asked, and how long it may take to answer that.
        interval: Duration,
    },
}

impl Patience<'_> {
    /// The body that was held back, if it was not given.
    pub(super) fn into_unsent(self) -> Option<HeldBack> {
        match self {
            Self::Limited(_) => None,
            Self::Asking { held_back, .. } => held_back.filter(HeldBack::is_holding),
        }
    }

    /// Waits for `head`. Dropping the future gives up.
    pub(super) async fn wait_for(
        &mut self,
        head: Pin<&mut (impl Future<Output = Head> + Send)>,
        connections: &Connections,
    ) -> Result<Head, Silent> {
        match self {
            Self::Limited(limit) => timeout(*limit, head).await.map_err(|_| Silent {
                detail: format!(
                    "runner {} took the call and did not begin to answer in {}",
                    connections.address(),
                    crate::model::format_duration(*limit)
                ),
            }),
            Self::Asking { call, body, held_back, interval } => {
                wait_asking(head, connections, *call, body, held_back.as_mut(), *interval).await
            }
        }
    }
}

async fn wait_asking(
    mut head: Pin<&mut (impl Future<Output = Head> + Send)>,
    connections: &Connections,
    call: CallId,
    body: &CallBody,
    mut held_back: Option<&mut HeldBack>,
    interval: Duration,
) -> Result<Head, Silent> {
    // Each turn is one sign of life.
    loop {
        let silence = async {
            sleep(interval).await;
            // On the heap, as it is rare and large.
            Box::pin(question::has_call(connections, call, interval)).await
        };
        tokio::select! {
            biased;
            // First: the head of a detached call's answer may come with the acceptance, and its body is wanted all the same.
            () = accepted(held_back.as_deref()) => {
                if let Some(held_back) = held_back.as_deref_mut() {
                    held_back.give(body);
                }
            }
            head = head.as_mut() => return Ok(head),
            answer = silence => {
                if let Err(reason) = answer {
                    return Err(Silent {
                        detail: format!(
                            "runner {} took the call and gave no sign of life in {}: {reason}",
                            connections.address(),
                            crate::model::format_duration(interval)
                        ),
                    });
                }
            }
        }
    }
}

/// Waits for the runner's acceptance, for ever if nothing is held back for it.
async fn accepted(held_back: Option<&HeldBack>) {
    match held_back {
        Some(held_back) => held_back.accepted().await,
        None => std::future::pending().await,
    }
}
