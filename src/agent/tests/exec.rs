//! Functions that are one process a call.

use std::time::Duration;

use http::{Method, StatusCode};

use super::harness::{Meeting, agent, collect, job};
use crate::model::{FunctionSpec, Outcome};

#[tokio::test]
async fn a_job_gets_the_body_on_its_input_and_answers_on_its_output() {
    let (j, env) = (job("j", "cat"), job("env", "echo $FN_CALL_ID $FN_METHOD $FN_REQUEST_URL $FN_HEADER_X_A $KEY"));
    let env = FunctionSpec { config: [("KEY".to_owned(), "value".to_owned())].into(), ..env };
    let agent = agent(&[j.clone(), env.clone()]).await;
    let answer = agent.call(&j).body("hello").send().await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "hello"));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(!answer.header("server-timing").is_empty());
    let call = agent.call(&env).path("/call/env/x?y").header("x-a", "b");
    let id = call.id;
    assert_eq!(call.send().await.text(), format!("{id} POST http://test/x?y b value\n"));
    let binary = agent.call(&j).body(vec![0xff, 0xfe]).send().await;
    assert_eq!(binary.header("content-type"), "application/octet-stream");
    agent.ended().await;
}

#[tokio::test]
async fn the_exit_status_decides_what_a_held_output_is_worth() {
    let functions = [job("fails", "echo partly; echo because >&2; exit 3"), job("dies", "kill -9 $$"), job("empty", "exit 0")];
    let agent = agent(&functions).await;
    let answer = agent.call(&functions[0]).send().await;
    let expected = "function failed: its process ended with status 3";
    assert_eq!(answer.problem(Outcome::FunctionFailed), expected);
    let answer = agent.call(&functions[1]).send().await;
    let expected = "error receiving function response: its process was killed by SIGKILL";
    assert_eq!(answer.problem(Outcome::FunctionCrashed), expected);
    let answer = agent.call(&functions[2]).send().await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    agent.ended().await;
}

#[tokio::test]
async fn a_long_output_streams_and_a_late_failure_cuts_it() {
    let functions = [job("long", "head -c 3000000 /dev/zero | tr '\\0' x"), job("late", "head -c 200000 /dev/zero; exit 1")];
    let agent = agent(&functions).await;
    let answer = agent.call(&functions[0]).send().await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 3_000_000));
    assert_eq!(agent.call(&functions[0]).method(Method::HEAD).send().await.status, StatusCode::OK);
    let head = agent.call(&functions[1]).head().await;
    assert_eq!(head.status(), StatusCode::OK);
    assert!(collect(head).await.is_err());
    agent.until_idle().await;
    agent.ended().await;
}

#[tokio::test]
async fn a_job_need_not_read_its_input() {
    let j = job("j", "exec <&-; echo done");
    let agent = agent(std::slice::from_ref(&j)).await;
    assert_eq!(agent.call(&j).body(vec![b'x'; 100_000]).send().await.text(), "done\n");
    agent.ended().await;
}

#[tokio::test]
async fn a_job_that_runs_too_long_is_killed_with_its_children() {
    let meeting = Meeting::new().await;
    let script =
        format!("python3 -S -E -c 'import socket; socket.create_connection((\"127.0.0.1\", {})).recv(1)' & wait", meeting.port);
    let j = FunctionSpec { timeout: Duration::from_secs(2), ..job("j", &script) };
    let agent = agent(std::slice::from_ref(&j)).await;
    let mut call = agent.call(&j).start();
    tokio::select! {
        child = meeting.silent_guest() => {
            call.await.unwrap().problem(Outcome::FunctionTimeout);
            child.died().await;
        }
        // A machine so slow that the time was over before the child was there.
        answer = &mut call => {
            answer.unwrap().problem(Outcome::FunctionTimeout);
        }
    }
    agent.until_idle().await;
    agent.ended().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_job_with_it() {
    let meeting = Meeting::new().await;
    let script =
        format!("exec python3 -S -E -c 'import socket; socket.create_connection((\"127.0.0.1\", {})).recv(1)'", meeting.port);
    let j = job("j", &script);
    let agent = agent(std::slice::from_ref(&j)).await;
    let call = agent.call(&j).start();
    let child = meeting.silent_guest().await;
    call.abort();
    child.died().await;
    agent.until_idle().await;
    assert_eq!(agent.status().await.memory_used.bytes(), 0);
    agent.ended().await;
}
