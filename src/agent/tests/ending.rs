//! The end of an agent, whichever way it comes: nothing of it is left.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use http::StatusCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::harness::{Guest, Meeting, agent, builder, collect, config, serve, worker};
use crate::agent::{AgentConfig, WardenCommand, run_warden};
use crate::model::Outcome;

#[tokio::test]
async fn a_closing_agent_waits_for_its_calls_and_refuses_new_ones() {
    let f = worker("f");
    let (agent, meeting) = (agent(std::slice::from_ref(&f)).await, Meeting::new().await);
    let call = agent.call(&f).header("x-meet", meeting.port).body("to the end").start();
    let guest = meeting.guest().await;
    agent.close();
    while agent.get("/readyz").await.status == StatusCode::OK {
        tokio::task::yield_now().await;
    }
    assert!(agent.call(&f).send().await.refusal().is_some(), "it still answers");
    guest.release().await;
    assert_eq!(call.await.unwrap().text(), "to the end");
    agent.ended().await;
}

#[tokio::test]
async fn a_closing_agent_kills_calls_when_its_patience_is_over_and_leaves_nothing_behind() {
    let f = worker("f");
    let (meeting, children) = (Meeting::new().await, Meeting::new().await);
    let agent = serve(builder(config()).functions(vec![f.clone()]).build().unwrap(), Duration::from_millis(100)).await;
    let call = agent.call(&f).header("x-meet", meeting.port).header("x-child", children.port).start();
    let (guest, child) = (meeting.guest().await, children.silent_guest().await);
    let late = agent.call(&f).header("x-bytes", 100).header("x-meet-late", meeting.port).head().await;
    let late_guest = meeting.guest().await;
    agent.ended().await;
    assert_eq!(call.await.unwrap().problem(Outcome::FunctionCrashed), "function killed: its runner ended before the call did");
    assert!(collect(late).await.is_err());
    guest.died().await;
    late_guest.died().await;
    child.died().await;
}

#[tokio::test]
async fn dropping_an_agent_that_serves_kills_its_processes() {
    let f = worker("f");
    let meeting = Meeting::new().await;
    let agent = builder(config()).functions(vec![f.clone()]).build().unwrap();
    let agent = serve(agent, Duration::from_secs(600)).await;
    agent.call(&f).header("runpool-kind", "detached").header("x-meet", meeting.port).send().await;
    let guest = meeting.guest().await;
    agent.abort().await;
    guest.died().await;
}

/// An agent in a process of its own, with a busy worker and a child of that one that left its group.
struct Apart {
    process: Child,
    worker: Guest,
    child: Guest,
    wardens: Meeting,
    directory: tempfile::TempDir,
}

#[derive(PartialEq, Eq)]
enum Warden {
    Without,
    With,
}

impl Apart {
    async fn start(warden: Warden) -> Self {
        let (workers, children, wardens) = (Meeting::new().await, Meeting::new().await, Meeting::new().await);
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["agent::tests::ending::an_agent_as_a_process_of_its_own", "--exact"])
            .env("RUNPOOL_TEST_AGENT", directory.path())
            .env("RUNPOOL_TEST_WORKER_PORT", workers.port.to_string())
            .env("RUNPOOL_TEST_CHILD_PORT", children.port.to_string())
            .stdout(Stdio::null());
        if warden == Warden::With {
            command.env("RUNPOOL_TEST_WARDEN_PORT", wardens.port.to_string());
        }
        let process = command.kill_on_drop(true).spawn().unwrap();
        let (worker, child) = (workers.guest().await, children.silent_guest().await);
        Self { process, worker, child, wardens, directory }
    }
}

#[tokio::test]
async fn a_killed_agent_takes_its_workers_with_it_even_without_a_warden() {
    let mut apart = Apart::start(Warden::Without).await;
    apart.process.kill().await.unwrap();
    apart.worker.died().await;
    // Without a warden nobody finds this one.
    apart.child.release().await;
}

#[tokio::test]
async fn a_killed_agents_warden_kills_even_what_left_its_group() {
    let mut apart = Apart::start(Warden::With).await;
    let warden = apart.wardens.guest().await;
    apart.process.kill().await.unwrap();
    apart.worker.died().await;
    apart.child.died().await;
    warden.died().await;
    assert_eq!(std::fs::read_dir(apart.directory.path()).unwrap().count(), 0, "sockets are left behind");
}

#[tokio::test]
async fn a_warden_that_was_killed_is_started_anew_and_does_its_duty() {
    let mut apart = Apart::start(Warden::With).await;
    let first = apart.wardens.guest().await;
    kill(Pid::from_raw(first.pid), Signal::SIGKILL).unwrap();
    first.died().await;
    let second = apart.wardens.guest().await;
    apart.process.kill().await.unwrap();
    apart.worker.died().await;
    apart.child.died().await;
    second.died().await;
}

#[tokio::test]
async fn a_warden_ends_with_its_agent() {
    let meeting = Meeting::new().await;
    let agent = builder(config()).warden(warden_command(meeting.port)).build().unwrap();
    let agent = serve(agent, Duration::from_secs(600)).await;
    let warden = meeting.guest().await;
    agent.ended().await;
    warden.died().await;
}

/// This test binary as the warden.
fn warden_command(port: u16) -> WardenCommand {
    let test = "agent::tests::ending::a_warden_as_a_process_of_its_own";
    let program = std::env::current_exe().unwrap().display().to_string();
    // A warden is started without environment.
    let arguments = [format!("RUNPOOL_TEST_IS_WARDEN={port}"), program, test.to_owned(), "--exact".to_owned()];
    WardenCommand { program: "/usr/bin/env".into(), arguments: arguments.into() }
}

/// No test, but the process that the tests above kill.
#[tokio::test]
async fn an_agent_as_a_process_of_its_own() {
    let Ok(directory) = std::env::var("RUNPOOL_TEST_AGENT") else { return };
    let f = worker("f");
    let config = AgentConfig { socket_directory: Some(directory.into()), ..config() };
    let mut builder = builder(config).functions(vec![f.clone()]);
    if let Ok(port) = std::env::var("RUNPOOL_TEST_WARDEN_PORT") {
        builder = builder.warden(warden_command(port.parse().unwrap()));
    }
    let agent = serve(builder.build().unwrap(), Duration::from_secs(600)).await;
    let port = |name: &str| std::env::var(name).unwrap();
    let call =
        agent.call(&f).header("x-meet", port("RUNPOOL_TEST_WORKER_PORT")).header("x-child", port("RUNPOOL_TEST_CHILD_PORT"));
    call.send().await;
}

/// No test, but the warden's process.
#[test]
fn a_warden_as_a_process_of_its_own() {
    let Ok(port) = std::env::var("RUNPOOL_TEST_IS_WARDEN") else { return };
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    writeln!(stream, "{}", std::process::id()).unwrap();
    run_warden();
    std::process::exit(0);
}
