//! One call on an `http-stream` worker: from the ticket to the head of the answer.

use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::accepted::{Accepted, Ended, before};
use super::answer::{AnswerBody, full};
use super::fn_contract::{self, FunctionRequest, Verdict};
use super::house::{House, Lease, LeaseAge, Ticket};
use super::input::{Input, InputProgress};
use super::run::{Run, RunControl};
use super::run_error::RunError;
use super::worker::{SendError, own_exit};
use super::worker_body::WorkerBody;
use crate::http1::BodyLength;
use crate::protocol::WorkerStart;
use crate::telemetry::deadline;

/// Workers found dead before one call is given up on. Each was idle, or has just started: that many in a row is not chance.
const MAX_DEAD_WORKERS: u32 = 3;

/// The longest answer of a failed function that is read, so that its worker can go on.
const MAX_DRAINED: usize = 64 * 1024;

/// Everything about an exchange but its run.
struct Exchange {
    request: FunctionRequest,
    progress: InputProgress,
    limit: Duration,
    deadline: Instant,
    max_answer_body: u64,
}

/// Runs one call to the head of its answer. Dropping the future kills the worker, if it has the call.
pub(crate) async fn run(mut accepted: Accepted, house: &House, ticket: Ticket, input: Input) -> Ended {
    let mut ticket = ticket;
    let (mut dead_workers, began) = (0, Instant::now());
    let lease = loop {
        let mut lease = match before(accepted.deadline, ticket.lease()).await {
            Some(Ok(lease)) => lease,
            Some(Err(error)) => return accepted.fail(error),
            None => return accepted.fail(RunError::TimedOutWaiting),
        };
        match before(accepted.deadline, lease.worker.prepare()).await {
            Some(Ok(())) => break lease,
            Some(Err(_gone)) => lease.discard(),
            None => return accepted.fail(RunError::TimedOutWaiting),
        }
        // Nothing was sent to it, and no byte of the body was read: the call may still go anywhere.
        dead_workers += 1;
        if dead_workers == MAX_DEAD_WORKERS {
            return accepted.fail(RunError::Disconnected);
        }
        ticket = match house.admit(&accepted.function) {
            Ok(ticket) => ticket,
            Err(_no_room) => return accepted.refuse(),
        };
    };
    let start = match lease.age {
        LeaseAge::Used => WorkerStart::Warm,
        LeaseAge::Fresh => WorkerStart::Cold(began.elapsed()),
    };
    accepted.accounts.met(Some(lease.worker.id), start);
    accepted.tell_started();
    exchange(accepted, house, lease, input).await
}

async fn exchange(accepted: Accepted, house: &House, mut lease: Lease, input: Input) -> Ended {
    let now = Instant::now();
    let limit = accepted.limit(now);
    let Accepted { function, request, max_answer_body, held, accounts, .. } = accepted;
    lease.use_it();
    lease.worker.log.set_call(request.call);
    let tasks = house.workshop().tasks.clone();
    let control = RunControl::new(lease.worker.process.clone(), function.spec.memory, tasks, held);
    let mut run = Run::begin(control, accounts);
    let exchange = Exchange { progress: input.progress(), limit, deadline: now + limit, max_answer_body, request };
    let length = input.size_hint().exact().map_or(BodyLength::Chunked, BodyLength::Known);
    let written = request_head(&exchange.request, limit, length);
    // In time also if the worker never stops to say that it goes on (RFC 9110 section 15.2): this looks at the clock whatever has been read in a turn.
    let Some(head) = deadline::before(exchange.deadline, lease.worker.send(written, length, input)).await else {
        return failed(run, lease, RunError::TimedOut(limit)).await;
    };
    run.accounts.answered();
    match head {
        Ok(head) => match fn_contract::verdict(head.status()) {
            Verdict::Answered => answer(run, lease, head, exchange).await,
            Verdict::Failed => Box::pin(own_failure(run, lease, &exchange, RunError::Failed)).await,
            Verdict::TimedOut => Box::pin(own_failure(run, lease, &exchange, RunError::ReportedTimeout)).await,
            Verdict::Invalid => {
                let status = head.status().as_u16();
                let error = RunError::BadAnswer(format!("its worker answered with status {status}: expected 200, 502 or 504"));
                failed(run, lease, error).await
            }
        },
        Err(error) => Box::pin(lost(run, lease, error, &exchange)).await,
    }
}

/// The head of `POST /call`, as the contract wants it, for a function that may take so long from now on.
fn request_head(request: &FunctionRequest, limit: Duration, length: BodyLength) -> BytesMut {
    let now = SystemTime::now();
    let mut written = BytesMut::with_capacity(1_024);
    fn_contract::write_request(&mut written, request, now.checked_add(limit).unwrap_or(now), length);
    written
}

/// The run failed. Its worker is dead when this is over, or will be soon. On the heap, as it is rare and large.
fn failed(run: Run, lease: Lease, error: RunError) -> BoxFuture<'static, Ended> {
    async move {
        let (error, facts) = run.kill_and_free(error).await;
        drop(lease);
        Ended::Failed(error, facts)
    }
    .boxed()
}

/// The function answered: its head is ready, its body streams.
async fn answer(run: Run, lease: Lease, head: Response<()>, exchange: Exchange) -> Ended {
    if lease.worker.left().0 > exchange.max_answer_body {
        return failed(run, lease, RunError::BodyTooLarge).await;
    }
    let facts = run.accounts.facts();
    let (status, headers) = fn_contract::answer_head(exchange.request.intent, head.into_parts().0.headers);
    run.control.is_answering();
    let until = (exchange.deadline, exchange.limit);
    let body = WorkerBody::new(run, lease, exchange.progress, exchange.max_answer_body, until).await;
    let body: AnswerBody = if has_body(&exchange.request.method, status) {
        body.boxed_unsync()
    } else {
        // The server will not ask for such a body, and the worker must be rid of it before the next call.
        match Box::pin(body.discard()).await {
            Ok(()) => full(bytes::Bytes::new()),
            Err(error) => return Ended::Failed(error, facts),
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ended::Answered(response, facts)
}

/// Whether an answer to this method, with this status, has a body (RFC 9110 section 6.4.1).
fn has_body(method: &Method, status: StatusCode) -> bool {
    method != Method::HEAD && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The function failed by its own account. Its worker can go on if it is rid of this call (Fn's `PipesAreClear`).
async fn own_failure(run: Run, mut lease: Lease, exchange: &Exchange, error: RunError) -> Ended {
    let facts = run.accounts.facts();
    let is_drained = before(Some(exchange.deadline), drain(&mut lease)).await == Some(true);
    if !(is_drained && exchange.progress.is_at_end() && lease.worker.is_through()) {
        return failed(run, lease, error).await;
    }
    match run.fail(error) {
        Ok((held, error)) => {
            lease.give_back();
            drop(held);
            Ended::Failed(error, facts)
        }
        Err(verdict) => Ended::Failed(verdict, facts),
    }
}

/// Reads the rest of an answer; returns whether it came to its end within [`MAX_DRAINED`] bytes.
async fn drain(lease: &mut Lease) -> bool {
    let mut left = MAX_DRAINED;
    loop {
        match poll_fn(|cx| lease.worker.poll_data(cx)).await {
            Ok(None) => return true,
            Ok(Some(data)) if data.len() <= left => left -= data.len(),
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

/// There is no answer, or none that can be read. Why, is told as well as can be.
async fn lost(run: Run, lease: Lease, error: SendError, exchange: &Exchange) -> Ended {
    let error = match error {
        _ if exchange.progress.has_failed() => RunError::ClientGone,
        SendError::Malformed(error) if error.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => RunError::HeadTooLarge,
        SendError::Malformed(error) => RunError::BadAnswer(error.to_string()),
        SendError::Lost | SendError::Gone => match own_exit(&lease.worker.process).await {
            Some(exit) => RunError::Crashed { exit, line: lease.worker.log.last_error_line().await },
            None => RunError::Disconnected,
        },
    };
    failed(run, lease, error).await
}
