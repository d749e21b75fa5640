//! Functions written with Fn's own FDK for Python run unchanged: the contract as the other side of it has it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may panic")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use support::{Running, client, external, start_with};

/// `up` with this configuration, on free ports, with the `fdk` program in reach.
fn up(config: &str) -> Running {
    let arguments = ["up", "--config", config, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--announce"];
    start_with(&arguments, &[("PATH", &external::path_with_venv())])
}

/// The sum of a metric over all runners and functions.
async fn of_runners(up: &Running, metric: &str) -> u64 {
    let mut sum = 0;
    for runner in up.announced["runners"].as_array().unwrap() {
        let runner: SocketAddr = runner.as_str().unwrap().parse().unwrap();
        let text = client().get(format!("http://{runner}/metrics")).send().await.unwrap().text().await.unwrap();
        let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
        sum += series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>();
    }
    sum
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn json(response: Response) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_answers_thousands_of_calls_by_a_dozen_workers_each_with_a_call_id_of_its_own() {
    let up = up(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo.toml"));
    let url = up.url("front", "/invoke/greet");

    let mut ids = std::collections::BTreeSet::new();
    for name in ["Ada", "Grace", ""] {
        let answer = client().post(&url).body(name).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", up.log_text());
        ids.insert(header(&answer, "fn-call-id").to_owned());
        // Of an invoke the client gets the FDK's own headers too.
        assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
        assert!(header(&answer, "fn-fdk-version").starts_with("fdk-python/"), "{answer:?}");
        let name = if name.is_empty() { "world" } else { name };
        assert_eq!(answer.text().await.unwrap(), format!("Hello, {name}!\n"));
        // One worker was started for the first, and it was warm for the others.
        assert_eq!(of_runners(&up, "runner_cold_starts_total").await, 1);
    }

    let hey = external::output(Command::new("hey").args(["-n", "1000", "-c", "8", "-m", "POST", "-d", "hey", &url]));
    let report = String::from_utf8(hey.stdout).unwrap();
    println!("{report}");
    assert!(report.contains("[200]\t1000 responses"), "{report}");
    assert!(!report.contains("Error distribution"), "{report}");

    // What hey does not look at: the head of each of a thousand answers.
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, url) = (reqwest::Client::new(), url.clone());
        callers.spawn(async move {
            let mut ids = Vec::with_capacity(125);
            for _ in 0..125 {
                let answer = client.post(&url).body("you").send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                ids.push(header(&answer, "fn-call-id").to_owned());
                assert_eq!(answer.text().await.unwrap(), "Hello, you!\n");
            }
            ids
        });
    }
    ids.extend(callers.join_all().await.into_iter().flatten());
    assert_eq!(ids.len(), 1_003, "each call has an id of its own");
    assert!(ids.iter().all(|id| id.len() == 26), "{ids:?}");

    let cold_starts = of_runners(&up, "runner_cold_starts_total").await;
    assert!(cold_starts <= 12, "{cold_starts} workers were started for 3 runners of 4 slots");
    // The agent counts a call when the last byte of its answer was read, which may be a moment after the client has it.
    support::eventually("every call was counted once", async || {
        (of_runners(&up, "runner_calls_total").await == 2_003).then_some(())
    })
    .await;
}

/// All handlers of the fixture behind one runner, so that a worker that is kept is met again.
fn fixture(directory: &Path) -> Running {
    let function = |name: &str, more: &str| {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fdk");
        format!(
            "[[function]]\nname = \"{name}\"\ncommand = [\"fdk\", \"func.py\", \"{name}\"]\ndirectory = \"{directory}\"\n\
             timeout = \"60s\"\nmemory = \"64MiB\"\n{more}\n"
        )
    };
    let routes = [("/shop", "create"), ("/seen", "inspect"), ("/bare", "headers_first"), ("/failing", "failing")];
    let routes: String =
        routes.iter().map(|(path, name)| format!("[[route]]\npath = \"{path}\"\nfunction = \"{name}\"\n")).collect();
    let functions: String =
        ["hello", "create", "headers_first", "failing"].iter().map(|name| function(name, "")).collect::<String>()
            + &function("inspect", "app = \"shop\"\nconfig = { GREETING = \"good day\" }");
    up(&support::write(directory, "fdk.toml", &format!("[fleet]\nrunners = 1\nslots = 8\n{routes}{functions}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_of_the_fdk_sees_its_call_and_chooses_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let up = fixture(directory.path());
    let client = client();

    // The FDK's own example, unchanged.
    let hello = client.post(up.url("front", "/invoke/hello")).body(r#"{"name": "Ada"}"#).send().await.unwrap();
    assert_eq!(header(&hello, "content-type"), "application/json");
    assert_eq!(json(hello).await["message"], "Hello Ada");

    // A request to a route.
    let request =
        client.put(up.url("front", "/seen/a%20b/c?x=1&y=%2F")).header("host", "shop.example").header("x-colour", "blue");
    let answer = request.header("content-type", "text/x").header("x-timeout-ms", "20000").body("body").send().await.unwrap();
    let call_id = header(&answer, "fn-call-id").to_owned();
    let seen = json(answer).await;
    assert_eq!(seen["url"], "http://shop.example/seen/a%20b/c?x=1&y=%2F");
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["call_id"], call_id.as_str());
    assert_eq!(seen["bytes"], 4);
    assert_eq!(seen["format"], "http-stream");
    assert_eq!((&seen["http_headers"]["x-colour"], &seen["headers"]["x-colour"]), (&"blue".into(), &"blue".into()));
    assert_eq!(seen["http_headers"]["host"], "shop.example");
    assert_eq!(seen["headers"]["content-type"], "text/x");
    assert_eq!(seen["headers"]["fn-intent"], "httprequest");
    assert_eq!(
        seen["config"],
        serde_json::json!({"GREETING": "good day", "FN_FORMAT": "http-stream", "FN_MEMORY": "64", "FN_TYPE": "sync"})
    );
    assert_eq!((&seen["app"], &seen["fn"]), (&serde_json::json!(["shop", "shop"]), &serde_json::json!(["inspect", "inspect"])));
    let deadline = seen["deadline"].as_str().unwrap();
    assert!(deadline.len() == 20 && deadline.ends_with('Z'), "whole seconds, in UTC: {deadline}");
    // The client's own limit is nearer than the function's 60 s; the second that is cut off does not make it later.
    let seconds_left = seen["seconds_left"].as_f64().unwrap();
    assert!(seconds_left <= 20.0, "{seconds_left} s were left");
    assert!(!seen.to_string().contains("runpool-"), "what is between us and the runner is not the function's: {seen}");

    // An invoke is not framed: the client's headers are the function's, and there is no HTTP request to speak of.
    let invoke = client.post(up.url("front", "/invoke/inspect")).header("x-colour", "red").body("x".repeat(1 << 20));
    let invoked = json(invoke.send().await.unwrap()).await;
    assert_eq!((&invoked["url"], &invoked["method"]), (&Value::Null, &Value::Null));
    assert_eq!(invoked["headers"]["x-colour"], "red");
    assert_eq!(invoked["bytes"], 1 << 20, "a body that is not held streams through");
    assert_eq!(invoked["pid"], seen["pid"], "the worker of the call before took this one");
    let seconds_left = invoked["seconds_left"].as_f64().unwrap();
    assert!(seconds_left > 20.0 && seconds_left <= 60.0, "{seconds_left} s were left of the function's 60");

    // Status and headers are the function's choice.
    let created = client.request(Method::POST, up.url("front", "/shop")).body("an order").send().await.unwrap();
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(header(&created, "content-type"), "text/x-order");
    assert_eq!(header(&created, "location"), "/shop/7");
    assert_eq!(header(&created, "x-colour"), "red");
    assert!(created.headers().keys().all(|name| !name.as_str().starts_with("fn-http")), "{created:?}");
    assert!(!created.headers().contains_key("runpool-outcome"), "the function answered, not we: {created:?}");
    assert_eq!(created.text().await.unwrap(), "an order");

    // To an invoke the status of the run is 200, and what the function chose stands in Fn's headers.
    let invoked = client.post(up.url("front", "/invoke/create")).body("an order").send().await.unwrap();
    assert_eq!(invoked.status(), StatusCode::OK);
    assert_eq!(header(&invoked, "location"), "/shop/7");

    let bare = client.get(up.url("front", "/bare")).send().await.unwrap();
    assert_eq!((bare.status(), header(&bare, "x-colour")), (StatusCode::OK, "green"));
    assert_eq!(bare.text().await.unwrap(), "bare");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_of_the_fdk_that_raises_is_a_502_and_its_worker_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let up = fixture(directory.path());
    for path in ["/failing", "/invoke/failing"] {
        let call = async |body: &'static str| client().post(up.url("front", path)).body(body).send().await.unwrap();
        let worker = call("").await.text().await.unwrap();
        for (body, status, outcome) in [("raise", 502, "function_failed"), ("time", 504, "function_timeout")] {
            let failed = call(body).await;
            assert_eq!((failed.status().as_u16(), header(&failed, "runpool-outcome")), (status, outcome));
            let id = header(&failed, "fn-call-id").to_owned();
            let problem: Value = serde_json::from_str(&failed.text().await.unwrap()).unwrap();
            assert_eq!((&problem["outcome"], &problem["call_id"]), (&outcome.into(), &id.as_str().into()), "{problem}");
            assert!(problem["message"].as_str().is_some_and(|message| !message.is_empty()), "Fn's clients read it: {problem}");
            // What the FDK writes about it is in our log, under the same id.
            let said = if body == "raise" { "no such order" } else { "too slow" };
            up.log_line(&[&id, said]);
        }
        assert_eq!(call("").await.text().await.unwrap(), worker, "the same worker answers");
        let crashed = call("exit").await;
        assert_eq!((crashed.status().as_u16(), header(&crashed, "runpool-outcome")), (502, "function_crashed"));
        assert_ne!(call("").await.text().await.unwrap(), worker, "another worker was started");
    }
}
