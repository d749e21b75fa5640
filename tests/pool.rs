//! A pool that lives: runners listed by a file, runners that register themselves, and runners that die, stop and come back.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::http::{call, get, metric};
use support::roles::{job, lb, pool, runner, runner_with};
use support::{Running, client, eventually, write};

const QUICK: &str = "[pool.health]\ninterval = \"100ms\"\nreturn_interval = \"50ms\"\n";

/// The pool as the balancer shows it: addresses and states.
async fn shown(lb: &Running) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(get(lb.admin(), "/v1/runners").await.text()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    document["runners"].as_array().unwrap().iter().map(|runner| (text(&runner["address"]), text(&runner["state"]))).collect()
}

/// Waits until the pool has these runners and no other.
async fn has(lb: &Running, runners: &[&Running]) {
    let mut wanted: Vec<String> = runners.iter().map(|runner| runner.runner().to_string()).collect();
    wanted.sort();
    eventually("the pool has the runners that it should", || async {
        let mut listed: Vec<String> = shown(lb).await.into_iter().map(|(address, _)| address).collect();
        listed.sort();
        (listed == wanted).then_some(())
    })
    .await;
}

async fn is(lb: &Running, runner: &Running, state: &str) {
    let address = runner.runner().to_string();
    eventually(&format!("the runner is {state}"), || async {
        shown(lb).await.contains(&(address.clone(), state.to_owned())).then_some(())
    })
    .await;
}

async fn echoes(lb: &Running) {
    assert_eq!(call(lb.front(), "/invoke/echo").body("hello").send().await.ok().text(), "hello");
}

fn echo() -> String {
    job("echo", "cat")
}

fn list(runners: &[&Running]) -> String {
    let runners: Vec<String> = runners.iter().map(|runner| format!("\"{}\"", runner.runner())).collect();
    format!("runners = [{}]\n", runners.join(", "))
}

/// Puts a file in the place of another at once, as tools do.
fn exchange(directory: &Path, name: &str, text: &str) {
    write(directory, "new", text);
    std::fs::rename(directory.join("new"), directory.join(name)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_runners_is_followed_and_a_bad_one_changes_nothing() {
    let (configuration, watched) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (runner(2), runner(2));
    write(watched.path(), "runners.toml", &list(&[&one]));
    let file = watched.path().join("runners.toml");
    let lb = lb(configuration.path(), &format!("[pool.file]\npath = '{}'\n{}", file.display(), echo()));
    has(&lb, &[&one]).await;
    echoes(&lb).await;

    exchange(watched.path(), "runners.toml", &list(&[&other]));
    has(&lb, &[&other]).await;
    echoes(&lb).await;

    exchange(watched.path(), "runners.toml", "runners = [\"nonsense\"]\n");
    lb.log_line(&["the runners stay as they were", "runners[0]: expected as its address host:port"]);
    assert_eq!(metric(lb.admin(), "lb_pool_source_up", &["source=\"file\""]).await, 0.0);
    std::fs::remove_file(&file).unwrap();
    lb.log_line(&["the runners stay as they were", "could not read the runners"]);
    has(&lb, &[&other]).await;
    echoes(&lb).await;

    write(watched.path(), "runners.toml", &list(&[&one, &other]));
    has(&lb, &[&one, &other]).await;
    assert_eq!(metric(lb.admin(), "lb_pool_source_up", &["source=\"file\""]).await, 1.0);
}

/// Kubernetes mounts a ConfigMap as links to `..data/NAME`, where `..data` is a link to a directory, which is exchanged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_a_directory_that_is_exchanged_is_seen() {
    use std::os::unix::fs::symlink;
    let (configuration, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (runner(1), runner(1));
    let at = |name: &str| mount.path().join(name);
    for (version, runner) in [("..1", &one), ("..2", &other)] {
        std::fs::create_dir(at(version)).unwrap();
        write(&at(version), "runners.toml", &list(&[runner]));
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/runners.toml", at("runners.toml")).unwrap();
    let lb = lb(configuration.path(), &format!("[pool.file]\npath = '{}'\n{}", at("runners.toml").display(), echo()));
    has(&lb, &[&one]).await;
    symlink("..2", at("..tmp")).unwrap();
    std::fs::rename(at("..tmp"), at("..data")).unwrap();
    has(&lb, &[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_registers_itself_leaves_when_it_drains_and_is_forgotten_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let registration = "[admin]\nready_runners = 1\n[pool.registration]\nenabled = true\ninsecure = true\nlease = \"500ms\"\n";
    let lb = lb(directory.path(), &format!("{registration}{}", echo()));
    assert_eq!(get(lb.admin(), "/readyz").await.status.as_u16(), 503);
    let balancer = format!("http://{}", lb.admin());
    let mut leaving = runner_with(2, &["--register", &balancer, "--set", "shutdown.grace=0s"]);
    let mut killed = runner_with(2, &["--register", &balancer]);
    has(&lb, &[&leaving, &killed]).await;
    assert_eq!(get(lb.admin(), "/readyz").await.status.as_u16(), 200);
    echoes(&lb).await;

    leaving.signal(Signal::SIGTERM);
    lb.log_line(&["runner left", &leaving.runner().to_string()]);
    leaving.wait();
    has(&lb, &[&killed]).await;
    echoes(&lb).await;

    killed.kill();
    lb.log_line(&["runner did not renew its lease", &killed.runner().to_string()]);
    has(&lb, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_shows_a_token_registers_a_runner() {
    let directory = tempfile::tempdir().unwrap();
    // Of `open-sesame`.
    let hash = "sha256:d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7";
    write(directory.path(), "tokens", &format!("{hash}  cellar\n"));
    let lb = lb(directory.path(), &format!("[pool.registration]\nenabled = true\ntoken_file = \"tokens\"\n{}", echo()));
    let url = format!("http://{}/v1/runners/01M80TE9PJFW00008ZJ0000002", lb.admin());
    let body = r#"{"address": "127.0.0.1:1", "weight": 0, "labels": {"zone": "a"}}"#;
    let put = |token: Option<&str>| {
        let request = client().put(&url).body(body);
        token.map_or_else(|| client().put(&url).body(body), |token| request.bearer_auth(token)).send()
    };
    for wrong in [None, Some("open"), Some(hash)] {
        let answer = put(wrong).await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer realm=\"runpool\""), "{challenge}");
        let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(problem["outcome"], "unauthorized");
    }
    assert_eq!(put(Some("open-sesame")).await.unwrap().status().as_u16(), 201);
    assert_eq!(put(Some("open-sesame")).await.unwrap().status().as_u16(), 200);
    let document: Value = serde_json::from_str(get(lb.admin(), "/v1/runners").await.text()).unwrap();
    assert_eq!((&document["runners"][0]["weight"], &document["runners"][0]["labels"]["zone"]), (&0.into(), &"a".into()));
    assert_eq!(get(lb.admin(), "/readyz").await.status.as_u16(), 503, "a runner without weight is of no use");
    assert_eq!(client().delete(&url).send().await.unwrap().status().as_u16(), 401);
    assert_eq!(client().delete(&url).bearer_auth("open-sesame").send().await.unwrap().status().as_u16(), 204);

    write(directory.path(), "token", "open-sesame\n");
    let token = format!("runner.register.token_file={}", directory.path().join("token").display());
    let registered = runner_with(1, &["--register", &format!("http://{}", lb.admin()), "--set", &token]);
    has(&lb, &[&registered]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_stops_is_ejected_without_harm_to_its_calls_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (stopped, others) = (runner(4), [runner(4), runner(4)]);
    let runners = [stopped.runner(), others[0].runner(), others[1].runner()];
    let text = format!("{}[placement]\nplacer = \"naive\"\n{QUICK}{}", pool(&runners), echo());
    let lb = lb(directory.path(), &text);
    for _ in 0..6 {
        echoes(&lb).await;
    }
    stopped.signal(Signal::SIGSTOP);
    let address = stopped.runner().to_string();
    lb.log_line(&["runner ejected", "unhealthy", &address]);
    is(&lb, &stopped, "ejected").await;
    for _ in 0..20 {
        echoes(&lb).await;
    }
    assert_eq!(
        metric(lb.admin(), "lb_runner_ejections_total", &[&format!("runner=\"{address}\""), "reason=\"unhealthy\""]).await,
        1.0
    );

    stopped.signal(Signal::SIGCONT);
    lb.log_line(&["runner may be back", &address]);
    eventually("a call has shown that it is back", || async {
        echoes(&lb).await;
        shown(&lb).await.contains(&(address.clone(), "open".to_owned())).then_some(())
    })
    .await;
    lb.log_line(&["runner is back", &address]);
    assert_eq!(metric(lb.admin(), "lb_runner_state", &[&format!("runner=\"{address}\""), "state=\"open\""]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_dies_costs_no_call_that_did_not_run_there_and_is_used_again_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (mut dying, other) = (runner(4), runner(4));
    let address = dying.runner().to_string();
    let text = format!("{}[placement]\nplacer = \"naive\"\n{QUICK}{}", pool(&[dying.runner(), other.runner()]), echo());
    let lb = lb(directory.path(), &text);
    for _ in 0..4 {
        echoes(&lb).await;
    }
    dying.kill();
    for _ in 0..20 {
        echoes(&lb).await;
    }
    lb.log_line(&["runner ejected", "unreachable", &address]);
    let again = runner_with(4, &["--listen", &address]);
    assert_eq!(again.runner().to_string(), address);
    eventually("a call has shown that it is back", || async {
        echoes(&lb).await;
        shown(&lb).await.contains(&(address.clone(), "open".to_owned())).then_some(())
    })
    .await;
}
