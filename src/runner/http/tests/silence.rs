//! Runners that took the call and say nothing (weakness W5 of the ancestor: such a runner held the call for ever).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::scripted::{Server, answered, attempt, call, failed, held, runner_with, settings, streaming, text};
use crate::model::{Function, FunctionSpec, Outcome};
use crate::runner::http::{HttpRunnerSettings, Protocol};

async fn impatient(protocol: Protocol, attempt_timeout: Duration) -> (Server, crate::runner::http::HttpRunner) {
    let server = Server::start().await;
    let runner = runner_with(&server.address(), HttpRunnerSettings { attempt_timeout, ..settings(protocol) });
    (server, runner)
}

/// A stopped process: the kernel accepts for it, and nobody reads.
#[tokio::test]
async fn a_stopped_agent_is_a_runner_timeout_and_its_connection_is_closed() {
    for body in [held("x"), streaming("large")] {
        let (server, runner) = impatient(Protocol::Agent, Duration::from_millis(50)).await;
        let error = failed(attempt(&runner, &call(), &body).await);
        assert_eq!(error.outcome, Outcome::RunnerTimeout);
        let begin = format!("runner {} took the call and gave no sign of life in 50ms: asked GET /calls/", server.address());
        assert!(error.detail.starts_with(&begin), "{error}");
        server.accept().await.until_closed().await;
        assert_eq!(runner.view().idle_connections, 0);
    }
}

#[tokio::test]
async fn an_agent_that_does_not_have_the_call_is_a_runner_timeout() {
    let (server, runner) = impatient(Protocol::Agent, Duration::from_millis(500)).await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut calling = server.accept().await;
        calling.head().await;
        let mut asking = server.accept().await;
        assert!(asking.head().await.starts_with("get /calls/00000000000000000000000001 http/1.1\r\n"));
        asking.answer("404 Not Found", "", "").await;
        calling.until_closed().await;
    });
    let error = failed(ended);
    assert_eq!(error.outcome, Outcome::RunnerTimeout);
    assert!(error.detail.ends_with("it answered 404 Not Found"), "{error}");
}

#[tokio::test]
async fn an_agent_that_says_it_has_the_call_is_waited_for() {
    let (server, runner) = impatient(Protocol::Agent, Duration::from_millis(500)).await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut calling = server.accept().await;
        calling.head().await;
        for _ in 0..2 {
            let mut asking = server.accept().await;
            asking.head().await;
            asking.answer("200 OK", "", "{}").await;
        }
        calling.answer("200 OK", "", "late").await;
    });
    assert_eq!(text(answered(ended)).await, "late");
}

#[tokio::test]
async fn an_answer_that_comes_while_the_agent_is_asked_is_the_answer() {
    let (server, runner) = impatient(Protocol::Agent, Duration::from_millis(500)).await;
    let (call, body) = (call(), held("x"));
    let (ended, ()) = tokio::join!(attempt(&runner, &call, &body), async {
        let mut calling = server.accept().await;
        calling.head().await;
        let mut asking = server.accept().await;
        asking.head().await;
        calling.answer("200 OK", "", "late").await;
        asking.until_closed().await;
    });
    assert_eq!(text(answered(ended)).await, "late");
}

#[tokio::test]
async fn a_silent_plain_server_has_the_functions_timeout_and_a_little_more() {
    let (server, runner) = impatient(Protocol::Plain, Duration::from_millis(20)).await;
    let spec = FunctionSpec { timeout: Duration::from_millis(30), ..FunctionSpec::named("greet".parse().unwrap()) };
    let call = crate::model::Call { function: Arc::new(Function::new(spec)), ..call() };
    let body = held("x");
    let error = failed(attempt(&runner, &call, &body).await);
    assert_eq!(error.outcome, Outcome::RunnerTimeout);
    assert_eq!(error.detail, format!("runner {} took the call and did not begin to answer in 50ms", server.address()));
    server.accept().await.until_closed().await;
}

#[tokio::test]
async fn a_plain_server_has_no_longer_than_the_client_gave() {
    let (server, runner) = impatient(Protocol::Plain, Duration::from_secs(60)).await;
    let call = crate::model::Call { deadline: Some(Instant::now() + Duration::from_millis(30)), ..call() };
    let body = held("x");
    let error = failed(attempt(&runner, &call, &body).await);
    assert_eq!(error.outcome, Outcome::DeadlineExceeded);
    server.accept().await.until_closed().await;
}
