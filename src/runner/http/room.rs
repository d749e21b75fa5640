//! Asking an agent for room, and how full it is.
//!
//! Unlike other [questions](super::question), these go over kept connections: they are asked often, and an answer that is lost with its
//! connection harms nobody.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::time::timeout;

use super::answer::AnswerFacts;
use super::arriving::Arriving;
use super::connections::Connections;
use super::exchange::{Exchange, exchange};
use super::outgoing::Outgoing;
use super::patience::Patience;
use crate::model::format_duration;
use crate::protocol::headers::{BALANCER, LATENCY, ROOM};
use crate::protocol::{BalancerId, Refusal, RoomGrant};
use crate::runner::{NoRoom, Probe, Refused, RefusedWhy, Room, StatusError};

/// Asks for a slot, and waits for one for `wait`; the agent may take `patience` longer to say so. Dropping the future closes the
/// connection, which leaves the place in the agent's queue.
pub(super) async fn ask_room(
    connections: &Arc<Connections>,
    balancer: &BalancerId,
    wait: Duration,
    patience: Duration,
) -> Result<Room, NoRoom> {
    let address = || connections.address().to_string();
    let path = format!("/room?wait_ms={}", wait.as_millis());
    let response = get(connections, &path, Some(balancer), wait.saturating_add(patience))
        .await
        .map_err(|reason| NoRoom::Unreachable { address: address(), reason })?;
    let (parts, body) = response.into_parts();
    body.drain().await;
    let AnswerFacts { load, lost, .. } = AnswerFacts::read(&parts.headers);
    if let Some(Refusal { reason, retry_after }) = Refusal::read(parts.status, &parts.headers) {
        return Err(NoRoom::Refused(Refused { why: RefusedWhy::Agent(reason), retry_after, load, lost }));
    }
    match parts.status {
        StatusCode::NO_CONTENT => Err(NoRoom::NoneInTime { load, lost }),
        StatusCode::OK => {
            let grant = text(&parts.headers, &ROOM).parse::<RoomGrant>();
            let RoomGrant { token, lease } =
                grant.map_err(|error| NoRoom::Malformed { address: address(), reason: error.to_string() })?;
            Ok(Room { token, lease, load, lost })
        }
        status => Err(NoRoom::Malformed { address: address(), reason: format!("it answered {status}") }),
    }
}

/// Asks how full the agent is, which has `patience` to say so.
pub(super) async fn probe(connections: &Arc<Connections>, patience: Duration) -> Result<Probe, StatusError> {
    let address = || connections.address().to_string();
    let response = get(connections, "/load", None, patience)
        .await
        .map_err(|reason| StatusError::Unreachable { address: address(), reason })?;
    let (parts, body) = response.into_parts();
    body.drain().await;
    let AnswerFacts { load, lost, .. } = AnswerFacts::read(&parts.headers);
    let malformed = |reason: String| StatusError::Malformed { address: address(), reason };
    if parts.status != StatusCode::NO_CONTENT {
        return Err(malformed(format!("it answered {}", parts.status)));
    }
    let load = load.ok_or_else(|| malformed("it has no load report".to_owned()))?;
    let millis = text(&parts.headers, &LATENCY).parse::<f64>().ok();
    Ok(Probe { load, latency: millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1e3).ok()), lost })
}

fn text<'a>(headers: &'a HeaderMap, name: &::http::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn get(
    connections: &Arc<Connections>,
    path: &str,
    balancer: Option<&BalancerId>,
    limit: Duration,
) -> Result<Response<Arriving>, String> {
    let name = balancer.and_then(|balancer| HeaderValue::from_str(balancer.as_str()).ok()).map(|name| (BALANCER, name));
    let mut outgoing =
        Outgoing::question(connections.address(), &Method::GET, path, name.as_slice()).map_err(|error| error.to_string())?;
    let mut connecting = Duration::ZERO;
    match timeout(limit, exchange(connections, &mut outgoing, &Patience::Limited(limit), &mut connecting)).await {
        Ok(Exchange::Answered(response)) => Ok(response),
        Ok(Exchange::Unsent { reason }) => Err(reason),
        Ok(Exchange::Failed(error)) => Err(error.detail),
        Err(_) => Err(format!("it did not answer in {}", format_duration(limit))),
    }
}
