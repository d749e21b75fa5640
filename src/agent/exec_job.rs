//! `exec` functions: one process for each call.
//!
//! The body streams to standard input (a job need not read it), the answer is standard output, standard error goes to the log. The call is
//! described in the environment:
//!
//! | variable | value |
//! |---|---|
//! | `FN_FORMAT` | `exec` |
//! | `FN_CALL_ID`, `FN_DEADLINE`, `FN_METHOD`, `FN_REQUEST_URL` | of this call |
//! | `FN_HEADER_NAME` | each of the client's headers: upper case, `_` for `-`; repeated ones joined by `, ` |
//! | `TRACEPARENT`, `TRACESTATE` | W3C trace context |
//!
//! `Authorization`, `Cookie` and `Proxy-Authorization` are left out: an environment is inherited by every child and readable in /proc. A value with a
//! NUL byte cannot be (HTTP forbids it).
//!
//! Up to 64 KiB of output are held until the job ends or writes more, so that the exit status decides: 0 is the answer, anything else a 502.
//! A longer output streams at once, and a failure after that cuts it. The answer's type is `text/plain; charset=utf-8` if what was held is valid UTF-8, else
//! `application/octet-stream`.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::Instant;

use super::accepted::{Accepted, Ended, before};
use super::answer::full;
use super::fn_contract::{FunctionRequest, common_environment};
use super::house::{House, PendingClaim};
use super::input::Input;
use super::job_body::{JobBody, JobEnd};
use super::process::{Exit, StandardInput};
use super::run::{Run, RunControl, RunFacts};
use super::run_error::RunError;
use super::worker::{Pipes, Started};
use crate::model::{Function, Rfc3339};
use crate::protocol::headers::TRACESTATE;
use crate::protocol::{WorkerStart, format_traceparent};

/// Output that is held until the job ends.
const HELD_OUTPUT: usize = 64 * 1024;

/// A job that runs.
struct Job {
    run: Run,
    output: ChildStdout,
    end: JobEnd,
    limit: Duration,
    deadline: Instant,
    max_answer_body: u64,
}

/// Runs one job to the head of its answer. Dropping the future kills it.
pub(crate) async fn run(accepted: Accepted, house: &House, claim: PendingClaim, input: Input) -> Ended {
    let began = Instant::now();
    let claim = match before(accepted.deadline, claim.ready()).await {
        Some(claim) => claim,
        None => return accepted.fail(RunError::TimedOutWaiting),
    };
    let mut accepted = accepted;
    accepted.held.claim = Some(claim);
    let method = accepted.request.method.clone();
    let house = house.clone();
    // In a task of its own: if this future is dropped in the middle of the start, what the call holds must be held until the process is dead.
    let start = house.workshop().tasks.spawn({
        let house = house.clone();
        async move { start(accepted, &house, input, began).await }
    });
    match start.await {
        Ok(Ok(job)) => head(job, &method).await,
        Ok(Err(ended)) => ended,
        Err(error) => Ended::Failed(RunError::Prepare(error.to_string()), RunFacts::default()),
    }
}

async fn start(mut accepted: Accepted, house: &House, input: Input, began: Instant) -> Result<Job, Ended> {
    let now = Instant::now();
    let limit = accepted.limit(now);
    let environment = environment(&accepted.function, &accepted.request, limit);
    let workshop = house.workshop();
    let started = workshop.launch(&accepted.function, environment, StandardInput::Piped).await;
    let Started { process, log, pipes } = match started {
        Ok(started) => started,
        Err(error) => return Err(accepted.fail(error)),
    };
    log.set_call(accepted.request.call);
    accepted.accounts.met(None, WorkerStart::Cold(began.elapsed()));
    accepted.tell_started();
    let Accepted { function, held, accounts, max_answer_body, .. } = accepted;
    let control = RunControl::new(process, function.spec.memory, workshop.tasks.clone(), held);
    let run = Run::begin(control, accounts);
    let Pipes { stdin: Some(stdin), stdout: Some(output) } = pipes else {
        let (error, facts) = run.kill_and_free(RunError::Prepare("its pipes are missing".to_owned())).await;
        return Err(Ended::Failed(error, facts));
    };
    let feeder = {
        let control = std::sync::Arc::clone(&run.control);
        workshop.tasks.spawn(async move {
            if feed(stdin, input).await == Fed::ClientGone {
                control.kill(RunError::ClientGone);
            }
        })
    };
    let end = JobEnd::new(run.control.process().clone(), log, feeder.abort_handle());
    Ok(Job { run, output, end, limit, deadline: now + limit, max_answer_body })
}

#[derive(PartialEq, Eq)]
enum Fed {
    /// All of it, or as much as the job wanted.
    Enough,
    ClientGone,
}

/// Writes the request to the job's standard input and closes it.
async fn feed(mut stdin: ChildStdin, mut input: Input) -> Fed {
    while let Some(frame) = input.frame().await {
        let Ok(frame) = frame else { return Fed::ClientGone };
        if let Ok(bytes) = frame.into_data()
            && stdin.write_all(&bytes).await.is_err()
        {
            // EPIPE: a job need not read its input.
            return Fed::Enough;
        }
    }
    Fed::Enough
}

/// Holds output until the job ends or there is too much of it.
async fn head(mut job: Job, method: &Method) -> Ended {
    let mut held = BytesMut::with_capacity(4_096);
    let first = tokio::select! {
        biased;
        first = fill(&mut job.output, &mut job.end, &mut held) => first,
        () = tokio::time::sleep_until(job.deadline) => Err(RunError::TimedOut(job.limit)),
    };
    job.run.accounts.answered();
    let facts = job.run.accounts.facts();
    match first {
        Ok(Held::All) => {
            if u64::try_from(held.len()).unwrap_or(u64::MAX) > job.max_answer_body {
                let (error, facts) = job.run.kill_and_free(RunError::BodyTooLarge).await;
                return Ended::Failed(error, facts);
            }
            match job.run.finish() {
                Ok(held) => drop(held),
                Err(verdict) => return Ended::Failed(verdict, facts),
            }
            let content_type = content_type(&held);
            let mut response = Response::new(full(held.freeze()));
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            Ended::Answered(response, facts)
        }
        Ok(Held::Part) => {
            let content_type = content_type(&held);
            job.run.control.is_answering();
            job.run.watch_clock(job.deadline, job.limit);
            let body = JobBody::new(held.freeze(), job.output, job.end, job.run, job.max_answer_body);
            let body = if *method == Method::HEAD {
                match body.discard().await {
                    Ok(()) => full(Bytes::new()),
                    Err(error) => return Ended::Failed(error, facts),
                }
            } else {
                body.boxed_unsync()
            };
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            Ended::Answered(response, facts)
        }
        Err(error) => {
            let (error, facts) = job.run.kill_and_free(error).await;
            Ended::Failed(error, facts)
        }
    }
}

enum Held {
    All,
    Part,
}

/// Reads until the job ended well, or until there is more than may be held.
async fn fill(output: &mut ChildStdout, end: &mut JobEnd, held: &mut BytesMut) -> Result<Held, RunError> {
    loop {
        let count =
            output.read_buf(held).await.map_err(|error| RunError::BadAnswer(format!("could not read its output: {error}")))?;
        if count == 0 {
            let (exit, line) = end.await;
            return judge(exit, line).map(|()| Held::All);
        }
        if held.len() > HELD_OUTPUT {
            return Ok(Held::Part);
        }
    }
}

/// What an exit means for the call.
pub(crate) fn judge(exit: Exit, line: String) -> Result<(), RunError> {
    match exit {
        Exit::Status(0) => Ok(()),
        Exit::Status(_) => Err(RunError::JobFailed { exit, line }),
        Exit::Signal(_) | Exit::Unknown => Err(RunError::Crashed { exit, line }),
    }
}

/// Text if it can be, where a last character may have been cut in the middle.
fn content_type(bytes: &[u8]) -> HeaderValue {
    let is_text = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && bytes.len() > HELD_OUTPUT,
    };
    HeaderValue::from_static(if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" })
}

fn environment(function: &Function, request: &FunctionRequest, limit: Duration) -> Vec<(String, String)> {
    let now = SystemTime::now();
    let mut environment = common_environment(function);
    let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
    for name in request.headers.keys() {
        if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name) {
            continue;
        }
        let values: Vec<_> =
            request.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        set(&format!("FN_HEADER_{}", name.as_str().to_ascii_uppercase().replace('-', "_")), values.join(", "));
    }
    if let Some(state) = request.headers.get(TRACESTATE).and_then(|state| state.to_str().ok()) {
        set("TRACESTATE", state.to_owned());
    }
    set("TRACEPARENT", String::from_utf8_lossy(&format_traceparent(&request.trace)).into_owned());
    set("FN_FORMAT", "exec".to_owned());
    set("FN_CALL_ID", request.call.to_string());
    set("FN_DEADLINE", Rfc3339::seconds(now.checked_add(limit).unwrap_or(now)).to_string());
    set("FN_METHOD", request.method.to_string());
    set("FN_REQUEST_URL", request.url());
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallId, FunctionSpec, Intent, TraceContext};
    use http::HeaderMap;

    #[test]
    fn a_job_is_told_of_its_call_but_not_of_the_clients_secrets() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-many", "1"), ("x-many", "2"), ("authorization", "Bearer s"), ("cookie", "s"), ("host", "h")] {
            headers.append(name, value.parse().unwrap());
        }
        let request = FunctionRequest {
            call: CallId::from_parts(1, 2),
            intent: Intent::Invoke,
            method: Method::PUT,
            target: "/a?b".to_owned(),
            headers,
            trace: TraceContext { trace_id: [1; 16], span_id: [2; 8], is_sampled: false },
        };
        let function = Function::new(FunctionSpec::named("job".parse().unwrap()));
        let environment = environment(&function, &request, Duration::from_secs(1));
        let of = |name: &str| environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(of("FN_HEADER_X_MANY"), Some("1, 2"));
        assert_eq!(of("FN_METHOD"), Some("PUT"));
        assert_eq!(of("FN_REQUEST_URL"), Some("http://h/a?b"));
        assert_eq!(of("FN_FORMAT"), Some("exec"));
        assert_eq!(of("FN_CALL_ID").map(str::len), Some(26));
        assert_eq!((of("FN_HEADER_AUTHORIZATION"), of("FN_HEADER_COOKIE")), (None, None));
    }

    #[test]
    fn output_is_text_if_it_can_be() {
        assert_eq!(content_type("é".as_bytes()), "text/plain; charset=utf-8");
        assert_eq!(content_type(b""), "text/plain; charset=utf-8");
        assert_eq!(content_type(&[0xff]), "application/octet-stream");
        assert_eq!(content_type(&[0xc3]), "application/octet-stream", "the job ended in the middle of a character");
        let mut cut = vec![b'a'; HELD_OUTPUT];
        cut.push(0xc3);
        assert_eq!(content_type(&cut), "text/plain; charset=utf-8", "the rest is still to come");
    }
}
