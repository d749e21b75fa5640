//! The image and the compose file, in a Docker of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, in helpers too")]

#[path = "support/docker.rs"]
mod docker;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use docker::PrivateDocker;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Copies files of the repository.
fn copy(names: &[&str], to: &Path) {
    for name in names {
        let target = to.join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let status = Command::new("cp").arg("-r").arg(Path::new(ROOT).join(name)).arg(&target).status().unwrap();
        assert!(status.success(), "{name}");
    }
}

/// Asks until the answer is there; fails when the program hangs.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A checkout with a binary that was built before, and its Docker.
struct Project {
    docker: PrivateDocker,
    directory: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        copy(&["Dockerfile", ".dockerignore", "docker-compose.yml", "LICENSE", "examples/compose"], directory.path());
        let binary = directory.path().join("target/dist/runpool");
        std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_runpool"), binary).unwrap();
        let docker = PrivateDocker::start();
        docker.make_debian();
        Self { docker, directory }
    }

    fn compose(&self, arguments: &[&str]) -> String {
        let mut command = self.docker.client("docker-compose", &["--project-name", "runpool"]);
        command.args(arguments).current_dir(self.directory.path()).env("RUNPOOL_TARGET", "prebuilt");
        self.docker.run(&mut command)
    }

    /// What is at a path of the admin API.
    fn admin(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:8081{path}");
        let answer = self.docker.run(&mut self.docker.inside("curl", &["--silent", "--fail", &url]));
        serde_json::from_str(&answer).unwrap()
    }

    /// Calls as the documents say; the answer.
    fn call(&self, body: &str) -> String {
        let arguments = ["--silent", "--data", body, "http://127.0.0.1:8080/invoke/hello"];
        self.docker.run(&mut self.docker.inside("curl", &arguments))
    }

    /// `count` calls one after the other; the statuses of their answers.
    fn calls(&self, count: usize) -> Vec<String> {
        let url = format!("http://127.0.0.1:8080/invoke/hello?[1-{count}]");
        let arguments = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}\n", "--data", "world", &url];
        self.docker.run(&mut self.docker.inside("curl", &arguments)).lines().map(str::to_owned).collect()
    }

    /// One value of `docker inspect` for each container, in the order of their names.
    fn inspect(&self, value: &str) -> Vec<String> {
        let ids = self.docker.docker(&["ps", "--all", "--quiet"]);
        let format = format!("{{{{.Name}}}} {value}");
        let arguments: Vec<&str> = ["inspect", "--format", &format].into_iter().chain(ids.lines()).collect();
        let mut lines: Vec<String> = self.docker.docker(&arguments).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines.into_iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }

    /// The id of a service's container.
    fn container(&self, service: &str) -> String {
        self.compose(&["ps", "--quiet", service]).trim().to_owned()
    }
}

/// What `docker compose up` promises, in one go: starting all of it is what takes the time.
#[test]
fn compose_brings_up_a_balancer_and_three_runners_and_a_killed_runner_costs_no_later_call() {
    let project = Project::new();
    project.compose(&["up", "--detach"]);
    eventually("all four are healthy", || (project.inspect("{{.State.Health.Status}}") == ["healthy"; 4]).then_some(()));
    let runners = project.admin("/v1/runners");
    let mut ids: Vec<&str> = runners["runners"].as_array().unwrap().iter().map(|runner| runner["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["runner-1:9001", "runner-2:9001", "runner-3:9001"]);
    assert_eq!(project.call("world"), "Hello, world!\n");
    assert_eq!(project.calls(20), ["200"; 20]);

    // Not as root, nothing to write to, no way to more rights, and what a function leaves behind is taken care of.
    assert_eq!(
        project.inspect("{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"),
        ["65534:65534 true [ALL]"; 4]
    );
    assert_eq!(project.inspect("{{.HostConfig.SecurityOpt}}"), ["[no-new-privileges:true]"; 4]);
    let runner = project.container("runner-1");
    project.docker.docker(&["exec", &runner, "sh", "-c", "(sleep 600 & echo $! > /tmp/orphan)"]);
    let has_orphan = || project.docker.docker(&["top", &runner]).contains("sleep");
    assert!(has_orphan());
    project.docker.docker(&["exec", &runner, "sh", "-c", "kill $(cat /tmp/orphan)"]);
    eventually("the orphan leaves no zombie", || (!has_orphan()).then_some(()));

    // The one that has had the calls: with consistent hashing all of one function.
    let runners = project.admin("/v1/runners");
    let busiest = runners["runners"].as_array().unwrap().iter().max_by_key(|runner| runner["committed"].as_u64()).unwrap();
    let service = busiest["id"].as_str().unwrap().strip_suffix(":9001").unwrap();
    project.docker.docker(&["kill", &project.container(service)]);
    assert_eq!(project.calls(50), ["200"; 50]);

    // Told to stop, all but the killed one end by themselves.
    project.compose(&["stop"]);
    let mut codes = project.inspect("{{.State.ExitCode}}");
    codes.sort_unstable();
    assert_eq!(codes, ["0", "0", "0", "137"]);
    project.compose(&["down"]);
    assert_eq!(project.docker.docker(&["ps", "--all", "--quiet"]), "");
    assert!(!project.docker.docker(&["network", "ls"]).contains("runpool"));

    // The image alone is enough to try it.
    let id = project.docker.docker(&[
        "run",
        "--detach",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--publish",
        "127.0.0.1:8080:8080",
        "runpool",
        "up",
        "--listen",
        "0.0.0.0:8080",
        "--set",
        "front.expose=without-authentication",
    ]);
    eventually("`up` says how to call it", || project.docker.docker(&["logs", id.trim()]).contains("Try it:").then_some(()));
    assert_eq!(project.call("Ada"), "Hello, Ada!\n");
    project.docker.docker(&["stop", id.trim()]);
    assert_eq!(project.inspect("{{.State.ExitCode}}"), ["0"]);
}

#[test]
fn the_image_is_built_from_source_with_all_that_the_manifest_names() {
    let directory = tempfile::tempdir().unwrap();
    let context: Vec<String> = std::fs::read_to_string(Path::new(ROOT).join(".dockerignore"))
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .filter(|name| !name.starts_with("target/"))
        .map(str::to_owned)
        .collect();
    copy(&context.iter().map(String::as_str).collect::<Vec<_>>(), directory.path());
    let image = tempfile::tempdir().unwrap();
    let dockerfile = std::fs::read_to_string(Path::new(ROOT).join("Dockerfile")).unwrap();
    let stage =
        dockerfile.split("\nFROM ").find(|stage| stage.lines().next().is_some_and(|head| head.ends_with(" AS build"))).unwrap();
    for line in stage.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let names: Vec<&str> = line.split(' ').collect();
        let (to, from) = names.split_last().unwrap();
        let to = image.path().join(to);
        // As `COPY` does.
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let status = Command::new("cp").arg("-r").args(from).arg(to).current_dir(directory.path()).status().unwrap();
        assert!(status.success(), "{line}");
    }
    let manifest = image.path().join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Cargo tells of a target that is not there when it builds, and not before.
    let named: toml::Table = std::fs::read_to_string(&manifest).unwrap().parse().unwrap();
    for bench in named["bench"].as_array().unwrap() {
        let file = format!("benches/{}.rs", bench["name"].as_str().unwrap());
        assert!(image.path().join(&file).is_file(), "{file}");
    }
    // The toolchain of the image is the one that the manifest asks for.
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let version = metadata["packages"][0]["rust_version"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("\nARG RUST=rust:{version}-bookworm\n")), "{version}");
}
