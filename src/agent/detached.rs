//! Detached calls: answered when the function has started, run to their end whoever is still there.
//!
//! Nobody may be there to send the body when the function reads it, so it is read first, in full and within a bound
//! ([`MAX_HELD_INPUT`](super::input::MAX_HELD_INPUT)). The function's answer is read and dropped; a failure is in the log and in the
//! metrics. The call holds its slot until it ends, so that a drain waits for it.

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::accepted::{Accepted, Ended, Room, before};
use super::answer;
use super::house::House;
use super::input::{Input, hold};
use super::run::RunFacts;
use super::run_error::RunError;
use crate::server::RequestBody;

/// Starts a detached call. Returns when the function has it, or cannot have it.
///
/// Dropping the future before the body was read gives the call up; after that it runs on.
pub(crate) async fn run(mut accepted: Accepted, house: &House, room: Room, body: RequestBody) -> Ended {
    let now = Instant::now();
    let limit = accepted.limit(now);
    // A client that sends slowly must not hold a slot for longer than its function could.
    let bytes = match before(Some(now + limit), hold(body)).await {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => return accepted.fail(error),
        None => return accepted.fail(RunError::ClientGone),
    };
    let (started, told) = oneshot::channel();
    accepted.started = Some(started);
    let owner = house.clone();
    let task = house.workshop().tasks.spawn(async move { run_to_the_end(accepted, &owner, room, Input::held(bytes)).await });
    if let Ok(RunFacts { start, .. }) = told.await {
        // What the time will be spent on, and whether the worker will be idle again, is still to come.
        return Ended::Answered(answer::empty(StatusCode::ACCEPTED), RunFacts { start, ..RunFacts::default() });
    }
    // It has not started: the task is at its end, or about to be.
    match task.await {
        Ok(Some(ended)) => ended,
        Ok(None) => Ended::Answered(answer::empty(StatusCode::ACCEPTED), RunFacts::default()),
        Err(error) => Ended::Failed(RunError::Prepare(error.to_string()), RunFacts::default()),
    }
}

/// Returns how the call ended if it did not run to its end.
async fn run_to_the_end(accepted: Accepted, house: &House, room: Room, input: Input) -> Option<Ended> {
    let (call, function) = (accepted.request.call, accepted.function.name().clone());
    let ended = room.run(accepted, house, input).await;
    let error = match ended {
        Ended::Answered(response, _) => {
            let mut body = response.into_body();
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Some(error.to_string()),
                    None => break None,
                }
            }
            .map(|error| (error, None))
        }
        Ended::Failed(error, facts) => Some((error.to_string(), Some(Ended::Failed(error, facts)))),
        Ended::Refused => Some(("there is no room for it".to_owned(), Some(Ended::Refused))),
    };
    let (error, ended) = error?;
    tracing::warn!(%call, %function, error, "a detached call failed");
    ended
}
