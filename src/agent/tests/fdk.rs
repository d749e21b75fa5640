//! The real Python FDK, unchanged. Not run by default, since it must be installed first:
//!
//! ```text
//! python3 -m venv venv && venv/bin/pip install fdk
//! RUNPOOL_TEST_FDK=venv/bin/fdk cargo test --lib agent::tests::fdk -- --ignored
//! ```

use std::time::Duration;

use http::{Method, StatusCode};

use super::harness::{agent, worker};
use crate::model::{ByteSize, FunctionSpec, Outcome};

#[tokio::test]
#[ignore = "needs the FDK: see the page of this module"]
async fn a_function_of_the_real_fdk_runs_unchanged() {
    let fdk = std::fs::canonicalize(std::env::var("RUNPOOL_TEST_FDK").unwrap()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fdk_func.py");
    let f = FunctionSpec {
        command: vec![fdk.display().to_string(), script.to_owned(), "handler".to_owned()],
        config: [("KEY".to_owned(), "value".to_owned())].into(),
        idle_timeout: Duration::from_secs(60),
        memory: ByteSize::mib(128),
        ..worker("greet")
    };
    let agent = agent(std::slice::from_ref(&f)).await;
    for _ in 0..2 {
        let call = agent.call(&f).method(Method::PUT).header("fn-intent", "httprequest").header("runpool-target", "/a?b=c");
        let call = call.header("x-in", "in").body("hello");
        let id = call.id.to_string();
        let answer = call.send().await;
        assert_eq!((answer.status, answer.header("x-out")), (StatusCode::CREATED, "1"), "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        for (key, value) in [
            ("body", "hello"),
            ("app", "default"),
            ("function", "greet"),
            ("call", id.as_str()),
            ("method", "PUT"),
            ("url", "http://test/a?b=c"),
            ("x-in", "in"),
            ("key", "value"),
        ] {
            assert_eq!(seen[key], value, "{key} in {seen}");
        }
        let invoked = agent.call(&f).body("plain").send().await;
        assert_eq!((invoked.status, invoked.header("x-out")), (StatusCode::OK, "1"));
        assert!(invoked.header("fn-fdk-version").starts_with("fdk-python/"), "{invoked:?}");
        agent.call(&f).body("fail").send().await.problem(Outcome::FunctionFailed);
        assert_eq!(agent.status().await.warm_workers["greet"], 1, "one worker serves them all");
    }
    assert!(agent.get("/metrics").await.text().contains("runner_cold_starts_total{function=\"greet\"} 1\n"));
    agent.ended().await;
}
