//! One attempt on a plain HTTP server.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::RETRY_AFTER;
use ::http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::answer::Ended;
use super::arriving::Arriving;
use super::connections::Connections;
use super::exchange::{Exchange, exchange};
use super::patience::Patience;
use super::settings::{HttpRunnerSettings, HttpVersion};
use super::{agent, http2, request};
use crate::runner::{Refused, RefusedWhy, RunnerCall};
use crate::telemetry::turn;

/// Tries the call on a plain server. A body that streams goes at once: a plain server does not say whether it will take the call.
pub(super) async fn attempt(
    connections: &Arc<Connections>,
    settings: &HttpRunnerSettings,
    call: &RunnerCall<'_>,
    connecting: &mut Duration,
) -> Ended {
    if !call.body.is_replayable() {
        return Ended::Failed(agent::body_is_gone());
    }
    let limit = call.call.function.spec.timeout.saturating_add(settings.attempt_timeout);
    let patience = match call.call.deadline.map(Instant::from_std) {
        Some(deadline) if deadline.saturating_duration_since(turn::now()) < limit => Patience::Until(deadline),
        _ => Patience::Limited(limit),
    };
    let ended = match settings.http {
        HttpVersion::Http1 => {
            let mut outgoing = match request::to_plain(call, connections.address()) {
                Ok(outgoing) => outgoing,
                Err(error) => return Ended::Failed(error),
            };
            exchange(connections, &mut outgoing, &patience, connecting).await
        }
        // On the heap, as it is larger than what most use.
        HttpVersion::Http2 => Box::pin(http2::exchange(connections, call, patience, connecting)).await,
    };
    match judge(ended, settings, call) {
        Judged::Ended(ended) => ended,
        // On the heap, as it is rare: a refusal's body came with its head.
        Judged::Drains(refused, rest) => {
            Box::pin(rest.drain()).await;
            Ended::Refused(refused)
        }
    }
}

/// What an exchange means.
enum Judged {
    Ended(Ended),
    /// A refusal, behind which there is something to be read so that the connection can be used again.
    Drains(Refused, Box<Arriving>),
}

fn judge(ended: Exchange, settings: &HttpRunnerSettings, call: &RunnerCall<'_>) -> Judged {
    Judged::Ended(match ended {
        Exchange::Answered(response) => {
            let (status, headers) = (response.status(), response.headers());
            // Without the body no other runner can be tried: then the client gets what there is.
            if !(is_refusal(status, headers, settings) && call.body.is_replayable()) {
                return Judged::Ended(Ended::Answered(response));
            }
            let why = RefusedWhy::Status(status.as_u16());
            let refused = Refused { why, retry_after: retry_after(headers), load: None, lost: None };
            if !matches!(response.body(), Arriving::Whole(_)) {
                return Judged::Drains(refused, Box::new(response.into_body()));
            }
            Ended::Refused(refused)
        }
        Exchange::Unsent { reason } => Ended::Refused(Refused::new(RefusedWhy::Unreachable(reason))),
        Exchange::Failed(error) => Ended::Failed(error),
    })
}

/// Whether an answer says that the call was not taken. A bare 503 does not: functions use it for failures of their own, after they ran.
/// With `Retry-After` it is a server that turns requests away (RFC 9110 section 15.6.4).
fn is_refusal(status: StatusCode, headers: &HeaderMap, settings: &HttpRunnerSettings) -> bool {
    settings.refusal_statuses.contains(&status.as_u16())
        && (status != StatusCode::SERVICE_UNAVAILABLE || settings.bare_503_refuses || headers.contains_key(RETRY_AFTER))
}

/// Seconds to wait, if they are given as a number (RFC 9110 section 10.2.3); a date would need the server's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::http::Protocol;
    use ::http::HeaderValue;

    #[test]
    fn a_503_is_a_refusal_only_if_it_says_when_to_come_back() {
        let settings = HttpRunnerSettings { refusal_statuses: vec![429, 503], ..HttpRunnerSettings::new(Protocol::Plain) };
        let bare = HeaderMap::new();
        let mut dated = HeaderMap::new();
        dated.insert(RETRY_AFTER, HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"));
        assert!(!is_refusal(StatusCode::SERVICE_UNAVAILABLE, &bare, &settings));
        assert!(is_refusal(StatusCode::SERVICE_UNAVAILABLE, &dated, &settings));
        let bold = HttpRunnerSettings { bare_503_refuses: true, ..settings.clone() };
        assert!(is_refusal(StatusCode::SERVICE_UNAVAILABLE, &bare, &bold), "where the operator says so");
        assert!(is_refusal(StatusCode::TOO_MANY_REQUESTS, &bare, &settings));
        assert!(!is_refusal(StatusCode::BAD_GATEWAY, &dated, &settings));
        assert_eq!(retry_after(&dated), None);
        dated.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(retry_after(&dated), Some(Duration::from_secs(7)));
    }
}
