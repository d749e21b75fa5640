//! A balancer over one recording runner.

use super::Running;
use super::recorder::{Recorder, SENTINEL};
use super::roles::lb_with;
use super::wire::Wire;

/// A balancer and its only runner.
pub struct Bench {
    pub lb: Running,
    pub runner: Recorder,
    _directory: tempfile::TempDir,
}

/// The configuration of a balancer over this runner: one route for all paths. `front` are more lines of `[front]`, `route` of the route.
fn configuration(runner: &Recorder, front: &str, route: &str) -> String {
    format!(
        "[front]\n{front}\n[placement]\nplacer = \"naive\"\nplacer_timeout = \"10s\"\n[pool]\nprotocol = \"plain\"\nrunners = [\"{}\"]\n\
         [[function]]\nname = \"web\"\n[[route]]\npath = \"/\"\nfunction = \"web\"\nforward = \"as-is\"\n{route}\n",
        runner.address
    )
}

impl Bench {
    pub fn start() -> Self {
        Self::with("", "")
    }

    /// The same with more lines of `[front]` and of the route.
    pub fn with(front: &str, route: &str) -> Self {
        let runner = Recorder::start();
        let directory = tempfile::tempdir().unwrap();
        let lb = lb_with(directory.path(), &configuration(&runner, front, route), &["--workers", "1"]);
        Self { lb, runner, _directory: directory }
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.lb.front())
    }

    /// Whether another client gets its answer, and what it got if not.
    pub fn sentinel(&self) -> Result<(), String> {
        let mut sentinel = self.connect();
        sentinel.send(format!("GET {SENTINEL} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        match sentinel.answer("GET") {
            Ok(answer) if answer.status == 200 && answer.text() == "ok" => Ok(()),
            other => Err(format!("afterwards, another client got {other:?}")),
        }
    }
}
