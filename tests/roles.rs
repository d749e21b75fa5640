//! The roles as users start them: `up`, `lb` and `runner`, from their first line to an end that leaves nothing behind.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::command_line::{Process, file_with, get, http, lb, run, runpool, text, up};

// === up ===

#[test]
fn up_needs_no_file_says_how_to_call_it_and_leaves_nothing_behind() {
    let (mut process, front, runners) = up(&[]);
    assert_eq!(runners.len(), 3);
    assert_eq!(process.line("curl").trim(), format!("curl -d world http://{front}/invoke/hello"));
    for runner in &runners {
        let status = run(&["status", "--runner", runner, "--output", "json"]);
        assert!(status.status.success(), "{}", text(&status.stderr));
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!((&status["state"], &status["slots"]), (&"ready".into(), &4.into()));
    }
    let answer = run(&["call", "hello", "--data", "Ada", "--address", &front]);
    assert_eq!(text(&answer.stdout), "Hello, Ada!\n", "{}", text(&answer.stderr));
    assert_eq!(get(&front, "/invoke/hello").unwrap(), ("HTTP/1.1 200 OK".into(), "Hello, world!\n".into()));
    let children = children(process.child.id());
    assert_eq!(children.len(), 3);
    process.signal(Signal::SIGINT);
    assert_eq!(process.end(), Some(0));
    for child in children {
        assert_eq!(kill(child, None), Err(Errno::ESRCH), "{child} is left");
    }
}

#[test]
fn the_line_that_up_prints_works_in_a_shell_and_ctrl_c_takes_the_functions_with_it() {
    let (mut process, ..) = up(&[]);
    let line = process.line("curl");
    let output = Command::new("sh").args(["-c", &format!("{} --silent", line.trim())]).output().unwrap();
    assert_eq!((text(&output.stdout), output.status.code()), ("Hello, world!\n", Some(0)));
    let runners = children(process.child.id());
    let below: Vec<Pid> = runners.iter().flat_map(|runner| children(runner.as_raw().unsigned_abs())).collect();
    // A warden for each runner, and the worker that is warm now.
    assert_eq!(below.len(), 4);
    // As a terminal does: to every process of the foreground's group. A runner must not end before its calls.
    for runner in &runners {
        kill(*runner, Signal::SIGINT).unwrap();
    }
    process.signal(Signal::SIGINT);
    assert_eq!(process.end(), Some(0));
    for pid in runners.into_iter().chain(below) {
        eventually_gone(pid);
    }
}

#[test]
fn runners_end_with_an_up_that_was_killed() {
    let (mut process, _, runners) = up(&["--runners", "2", "--slots", "1"]);
    assert_eq!(runners.len(), 2);
    let mut connections: Vec<TcpStream> = runners.iter().map(|runner| TcpStream::connect(runner).unwrap()).collect();
    process.signal(Signal::SIGKILL);
    assert_eq!(process.end(), None);
    for connection in &mut connections {
        // Whatever the runner does with the connection, it ends: by a close, or with the process by a reset.
        let mut rest = Vec::new();
        let _ = connection.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}

#[test]
fn a_second_signal_leaves_nothing_behind_either() {
    let directory = tempfile::tempdir().unwrap();
    // A runner that listens to nobody. It holds a pipe open for writing, which is at its end when the process is gone.
    let script = directory.path().join("runner");
    let pipes = ["alive", "never"].map(|name| directory.path().join(name));
    for pipe in &pipes {
        nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let announcement = r#"{"incarnation":"00000000000000000000000001","address":"127.0.0.1:1"}"#;
    let text = format!(
        "#!/bin/sh\ntrap '' TERM\nexec 3>'{}'\necho '{announcement}'\nread line <> '{}'\n",
        pipes[0].display(),
        pipes[1].display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let alive = pipes[0].clone();
    let runner = std::thread::spawn(move || std::fs::read(alive).unwrap());
    let (mut process, ..) = up(&["--runners", "1", "--runner-executable", script.to_str().unwrap()]);
    process.signal(Signal::SIGINT);
    process.logged("listeners are closed");
    process.signal(Signal::SIGINT);
    assert_eq!(process.end(), Some(1));
    assert!(runner.join().unwrap().is_empty());
}

#[test]
fn a_taken_address_is_told_and_nothing_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["up", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains(&format!("error: could not listen on {address} for the front: Address already in use")),
        "{message}"
    );
    assert_eq!(text(&output.stdout), "");
}

// === lb and runner ===

#[test]
fn sigterm_makes_the_balancer_unready_while_it_listens_and_a_second_one_ends_it_at_once() {
    let (mut process, front, admin) = lb(&["--set", "shutdown.grace=1h", "--set", "pool.runners=127.0.0.1:1"]);
    assert_eq!(get(&admin, "/readyz").unwrap().0, "HTTP/1.1 200 OK");
    process.signal(Signal::SIGTERM);
    process.logged("not ready any more");
    assert!(get(&admin, "/readyz").unwrap().0.starts_with("HTTP/1.1 503"));
    assert!(get(&front, "/").is_ok());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end(), Some(1));
}

#[test]
fn after_the_grace_the_balancer_ends_with_0() {
    let (mut process, ..) = lb(&["--set", "shutdown.grace=1ms"]);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end(), Some(0));
}

/// A plain runner that answers every request with its path, on one connection after the other, until the test ends.
fn plain_runner() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap() > 0 {}
            let path = request.split_whitespace().nth(1).unwrap_or("nothing").to_owned();
            let _ = stream.write_all(http("200 OK", "", &format!("you asked for {path}\n")).as_bytes());
        }
    });
    address
}

#[test]
fn the_balancer_places_calls_onto_plain_runners_and_shows_what_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/plain.toml")).unwrap();
    let runner = plain_runner();
    let file = file_with(directory.path(), &example.replace("\"127.0.0.1:9001\", \"127.0.0.1:9002\"", &format!("\"{runner}\"")));
    let (mut process, front, admin) = lb(&["--config", &file, "--workers", "1"]);

    assert_eq!(get(&front, "/some/page?x=1").unwrap(), ("HTTP/1.1 200 OK".into(), "you asked for /some/page?x=1\n".into()));
    let answer = run(&["call", "web", "--path", "/orders", "-X", "GET", "--address", &front]);
    assert_eq!(text(&answer.stdout), "you asked for /orders\n", "{}", text(&answer.stderr));

    let runners = run(&["runners", "--admin", &admin]);
    assert!(text(&runners.stdout).contains(&runner), "{}", text(&runners.stdout));
    let functions = run(&["functions", "--admin", &admin]);
    assert!(text(&functions.stdout).lines().any(|line| line.starts_with("web ")), "{}", text(&functions.stdout));
    assert_eq!(run(&["status", "--admin", &admin]).status.code(), Some(0));
    let shown = get(&admin, "/v1/config").unwrap().1;
    assert!(shown.contains("flag --workers") && shown.contains("c.toml:6"), "{shown}");
    assert!(get(&admin, "/metrics").unwrap().1.contains("\nconfig_last_reload_successful 1\n"));

    process.signal(Signal::SIGTERM);
    process.logged("not ready any more");
    assert_eq!(run(&["status", "--admin", &admin]).status.code(), Some(1));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end(), Some(1));
}

#[test]
fn sighup_reloads_and_a_bad_file_changes_nothing_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(&file, "[pool]\nrunners = [\"127.0.0.1:1\"]\n").unwrap();
    let (mut process, front, admin) = lb(&["--config", file.to_str().unwrap()]);

    std::fs::write(&file, "[pool]\nrunnners = []\n").unwrap();
    process.signal(Signal::SIGHUP);
    let message = process.logged("was not reloaded")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("c.toml:2: pool.runnners = []: unknown key; did you mean `runners`?"), "{message}");
    assert!(get(&admin, "/metrics").unwrap().1.contains("\nconfig_last_reload_successful 0\n"));
    assert!(get(&admin, "/v1/runners").unwrap().1.contains("127.0.0.1:1"));
    assert!(get(&front, "/").is_ok());

    std::fs::write(&file, "workers = 7\n[[function]]\nname = \"f\"\ncommand = [\"cat\"]\n").unwrap();
    process.signal(Signal::SIGHUP);
    assert_eq!(process.logged("was reloaded")["functions"], 1);
    assert!(get(&admin, "/v1/functions").unwrap().1.contains("\"name\":\"f\""));
    assert!(get(&admin, "/v1/runners").unwrap().1.contains("\"runners\":[]"));
    let in_force = get(&admin, "/v1/config").unwrap().1;
    assert!(in_force.contains("function[f].command") && in_force.contains("\"key\":\"workers\",\"value\":0"), "{in_force}");
    let unknown = run(&["call", "g", "--address", &front]);
    assert!(text(&unknown.stderr).contains("(outcome not_found, call "), "{}", text(&unknown.stderr));
    let warning = process.logged("only a restart")["message"].clone();
    assert_eq!(warning, "changed, but only a restart takes it over: workers");
}

#[test]
fn a_runner_announces_itself_on_one_line_and_ends_with_its_standard_input() {
    let arguments = ["runner", "--listen", "127.0.0.1:0", "--announce", "--stop-with-stdin", "--slots", "2"];
    let mut process = Process::spawn(runpool(&arguments).stdin(Stdio::piped()));
    let announcement: serde_json::Value = serde_json::from_str(&process.line("{")).unwrap();
    assert_eq!(announcement["incarnation"].as_str().unwrap().len(), 26);
    let status = run(&["status", "--runner", announcement["address"].as_str().unwrap()]);
    assert!(status.status.success());
    assert!(text(&status.stdout).lines().any(|line| line.split_whitespace().eq(["slots", "2"])), "{}", text(&status.stdout));
    drop(process.child.stdin.take());
    assert_eq!(process.end(), Some(0));
}

#[test]
fn standard_input_that_is_no_pipe_cannot_be_the_parent() {
    let output = run(&["runner", "--listen", "127.0.0.1:0", "--stop-with-stdin"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--stop-with-stdin wants a pipe as standard input"), "{}", text(&output.stderr));
}

#[test]
fn as_the_first_process_of_a_container_a_runner_takes_the_ends_of_what_functions_leave_behind() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_with(
        directory.path(),
        "[[function]]\nname = \"leaving\"\nformat = \"exec\"\ncommand = [\"sh\", \"-c\", \"sleep 600 & echo left\"]\n",
    );
    let first = ["--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child", env!("CARGO_BIN_EXE_runpool")];
    let runner = ["runner", "--config", &file, "--listen", "127.0.0.1:0", "--announce", "--set", "shutdown.grace=0s"];
    let mut namespace = Process::spawn(Command::new("unshare").args(first).args(runner).stdin(Stdio::null()));
    let announcement: serde_json::Value = serde_json::from_str(&namespace.line("{")).unwrap();
    let address = announcement["address"].as_str().unwrap();
    let [first] = children(namespace.child.id())[..] else { panic!("one first process") };
    let below = || children(first.as_raw().unsigned_abs());
    let [_role] = below()[..] else { panic!("one role below {first}") };

    let (_process, front, _) = lb(&["--config", &file, "--set", &format!("pool.runners={address}")]);
    for _ in 0..5 {
        assert_eq!(text(&run(&["call", "leaving", "--address", &front]).stdout), "left\n");
    }
    // Each call has left a process, which the agent has killed: running or as a zombie it would be here.
    let until = Instant::now() + Duration::from_secs(60);
    while below().len() > 1 {
        assert!(Instant::now() < until, "{:?} are left", below());
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(first, Signal::SIGTERM).unwrap();
    // In order, as told by the role's own end.
    assert_eq!(namespace.end(), Some(0));
}

/// The processes whose parent is `pid`.
fn children(pid: u32) -> Vec<Pid> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        // proc(5): the parent stands second behind the name, which is in parentheses and may hold anything.
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent.is_some_and(|parent| parent.parse() == Ok(pid)) {
            let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            children.push(Pid::from_raw(number));
        }
    }
    children
}

/// Waits until there is no process of this number: one that was not our child, or our child's, ends without telling us.
fn eventually_gone(pid: Pid) {
    let until = Instant::now() + Duration::from_secs(60);
    while kill(pid, None) != Err(Errno::ESRCH) {
        assert!(Instant::now() < until, "{pid} is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}
