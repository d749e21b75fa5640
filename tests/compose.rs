//! The image and the compose file, in a Docker of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, in helpers too")]

#[path = "support/docker.rs"]
mod docker;

use std::path::Path;
use std::process::{Command, Stdio};
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

    /// A path of the admin API, once it is there.
    fn admin(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:8081{path}");
        let output = self.docker.inside("curl", &["--silent", "--fail", &url]).stdin(Stdio::null()).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// `count` calls one after the other; the statuses of their answers.
    fn calls(&self, count: usize) -> Vec<String> {
        let url = format!("http://127.0.0.1:8080/invoke/hello?[1-{count}]");
        let arguments = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}\n", "--data", "world", &url];
        self.docker.run(&mut self.docker.inside("curl", &arguments)).lines().map(str::to_owned).collect()
    }

    /// One value out of `docker inspect` for each container.
    fn inspect(&self, format: &str) -> Vec<String> {
        let ids = self.docker.docker(&["ps", "--all", "--quiet"]);
        let arguments: Vec<&str> = ["inspect", "--format", format].into_iter().chain(ids.lines()).collect();
        self.docker.docker(&arguments).lines().map(str::to_owned).collect()
    }
}

#[test]
fn compose_brings_up_a_balancer_and_three_runners_and_a_killed_runner_costs_no_later_call() {
    let project = Project::new();
    project.compose(&["up", "--detach"]);
    let runners = eventually("the balancer has three runners", || {
        project.admin("/v1/runners").filter(|answer| answer["runners"].as_array().is_some_and(|runners| runners.len() == 3))
    });
    eprintln!("{runners:#}");
    assert_eq!(project.calls(20), vec!["200"; 20]);
    eventually("all four are healthy", || {
        (project.inspect("{{.State.Health.Status}}") == ["healthy"; 4]).then_some(())
    });

    project.docker.docker(&["kill", "runpool_runner-2_1"]);
    assert_eq!(project.calls(50), vec!["200"; 50]);
    eprintln!("{:#}", project.admin("/v1/runners").unwrap());

    project.compose(&["stop"]);
    eprintln!("{:?}", project.inspect("{{.Name}} {{.State.ExitCode}} {{.HostConfig.ReadonlyRootfs}}"));
    project.compose(&["down"]);
    assert_eq!(project.docker.docker(&["ps", "--all", "--quiet"]), "");
}
