//! The commands as users start them: real processes, real sockets, what is printed and with which code they end.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `runpool` with these arguments and nothing of our own environment.
fn runpool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runpool"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    runpool(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// A process that serves. Killed when a test fails.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    log: BufReader<ChildStderr>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        Self::spawn(runpool(arguments).args(["--set", "telemetry.log_format=json"]))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, output, log }
    }

    /// The next line of its output that contains `part`.
    fn line(&mut self, part: &str) -> String {
        line_with(&mut self.output, part)
    }

    /// The next line of its log that contains `part`.
    fn logged(&mut self, part: &str) -> serde_json::Value {
        serde_json::from_str(&line_with(&mut self.log, part)).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end; the code.
    fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_with(reader: &mut impl std::io::BufRead, part: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "no line with `{part}` in:\n{seen}");
        if line.contains(part) {
            return line;
        }
        seen += &line;
    }
}

/// Asks for `path` over a connection of its own; status line and body.
fn get(address: &str, path: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// Answers one request with `answer`; the request is handed back.
fn server(answer: impl Into<String>) -> (String, JoinHandle<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut request).unwrap() > 0);
        }
        let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|text| text.parse().unwrap());
        if let Some(length) = length {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request += text(&body);
        } else if request.contains("transfer-encoding: chunked") {
            while !request.ends_with("\r\n0\r\n\r\n") {
                assert!(reader.read_line(&mut request).unwrap() > 0);
            }
        }
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    (address, thread)
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

// === up ===

/// `up` on free ports, its front and its runners' addresses.
fn up(arguments: &[&str]) -> (Process, String, Vec<String>) {
    let own = ["up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(&[&own[..], arguments].concat());
    let front = process.line("front").split("http://").nth(1).unwrap().trim().to_owned();
    let runners =
        process.line("runners").split_whitespace().filter(|word| word.contains(':')).map(|word| word.replace(',', "")).collect();
    (process, front, runners)
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

/// Waits until there is no process of this number: one that was not our child, or our child's, ends without telling us.
fn eventually_gone(pid: Pid) {
    let until = Instant::now() + Duration::from_secs(60);
    while kill(pid, None) != Err(Errno::ESRCH) {
        assert!(Instant::now() < until, "{pid} is left");
        std::thread::sleep(Duration::from_millis(10));
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

/// `lb` on free ports, and its admin address.
fn lb(arguments: &[&str]) -> (Process, String, String) {
    let own = ["lb", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(&[&own[..], arguments].concat());
    let listening = process.logged("\"listening\"");
    let address = |name: &str| listening[name].as_str().unwrap().to_owned();
    let (front, admin) = (address("front"), address("admin"));
    (process, front, admin)
}

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

// === call ===

fn call(address: &str, arguments: &[&str]) -> Output {
    run(&[&["call", "hello", "--address", address][..], arguments].concat())
}

#[test]
fn call_prints_the_answer_and_nothing_else() {
    let (address, server) = server(http("200 OK", "fn-call-id: 1\r\n", "Hello, x!\n"));
    let output = call(&address, &["--data", "x", "-H", "X-Colour: blue"]);
    assert_eq!((text(&output.stdout), text(&output.stderr), output.status.code()), ("Hello, x!\n", "", Some(0)));
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /invoke/hello HTTP/1.1\r\n") && request.ends_with("\r\n\r\nx"), "{request}");
    assert!(request.contains("x-colour: blue\r\n"), "{request}");
}

#[test]
fn call_takes_method_path_and_shows_the_head_when_asked() {
    let (address, server) = server(http("201 Created", "a: b\r\n", "made"));
    let output = call(&address, &["-X", "PUT", "--path", "/orders/7?full=1", "-i"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("HTTP/1.1 201 Created\r\n"), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("\r\na: b\r\n") && text(&output.stdout).ends_with("\r\n\r\nmade"));
    assert!(server.join().unwrap().starts_with("PUT /invoke/hello/orders/7?full=1 HTTP/1.1\r\n"));
}

#[test]
fn call_sends_a_file_with_its_length_and_standard_input_as_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("body");
    std::fs::write(&file, "from a file").unwrap();
    let (address, from_file) = server(http("200 OK", "", ""));
    call(&address, &["--data", &format!("@{}", file.display())]);
    let request = from_file.join().unwrap();
    assert!(request.contains("content-length: 11\r\n") && request.ends_with("from a file"), "{request}");

    let (address, from_input) = server(http("200 OK", "", "done"));
    let mut command = runpool(&["call", "hello", "--address", &address, "--data", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "done");
    assert!(from_input.join().unwrap().contains("from a pipe"));
}

#[test]
fn call_tells_a_failed_call_with_its_outcome_and_id() {
    let problem = r#"{"message":"no runner took the call in 1s","outcome":"placer_timeout"}"#;
    let (address, _server) =
        server(http("503 Service Unavailable", "runpool-outcome: placer_timeout\r\nfn-call-id: 01X\r\n", problem));
    let output = call(&address, &[]);
    assert_eq!(text(&output.stderr), "error: no runner took the call in 1s (outcome placer_timeout, call 01X)\n");
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(1)));
}

#[test]
fn call_prints_a_functions_own_error_and_fails() {
    let (address, _server) = server(http("404 Not Found", "fn-call-id: 01X\r\n", "no such order\n"));
    let output = call(&address, &[]);
    assert_eq!(text(&output.stdout), "no such order\n");
    assert_eq!(text(&output.stderr), "error: the function answered 404 Not Found (call 01X)\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn call_prints_the_id_of_a_detached_call() {
    let (address, server) = server(http("202 Accepted", "runpool-outcome: accepted\r\nfn-call-id: 01X\r\n", ""));
    let output = call(&address, &["--detach"]);
    assert_eq!((text(&output.stdout), output.status.code()), ("01X\n", Some(0)));
    assert!(server.join().unwrap().contains("fn-invoke-type: detached\r\n"));
}

#[test]
fn call_tells_an_answer_that_was_cut_off_and_a_balancer_that_is_not_there() {
    let (address, server) = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nfn-call-id: 01X\r\n\r\nhalf");
    let output = call(&address, &[]);
    assert_eq!(text(&output.stdout), "half");
    assert!(text(&output.stderr).starts_with("error: the answer was cut off (call 01X): "), "{}", text(&output.stderr));
    server.join().unwrap();
    // Nobody listens on port 1.
    let output = call("127.0.0.1:1", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: could not call `hello` at 127.0.0.1:1: Connection refused"));
}

#[test]
fn call_gives_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = call(&format!("http://{}", listener.local_addr().unwrap()), &["--timeout", "20ms"]);
    assert!(text(&output.stderr).ends_with(": no answer in time\n"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

/// `up` with functions for every way to call.
fn up_with_functions(directory: &Path) -> (Process, String, Vec<String>) {
    let functions = r#"
[[function]]
name = "shout"
format = "exec"
command = ["tr", "a-z", "A-Z"]
[[function]]
name = "described"
format = "exec"
command = ["sh", "-c", "echo $FN_METHOD $FN_HEADER_X_COLOUR; cat"]
[[function]]
name = "failing"
format = "exec"
command = ["sh", "-c", "echo out of ideas >&2; exit 3"]
"#;
    up(&["--config", &file_with(directory, functions)])
}

#[test]
fn a_call_goes_all_the_way_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (_process, front, _) = up_with_functions(directory.path());
    let call = |arguments: &[&str]| run(&[&["call"], arguments, &["--address", &front]].concat());

    let output = call(&["shout", "--data", "quiet"]);
    assert_eq!((text(&output.stdout), text(&output.stderr), output.status.code()), ("QUIET", "", Some(0)));
    // Longer than what the balancer holds back for a second attempt.
    let file = directory.path().join("body");
    std::fs::write(&file, "x".repeat(300_000)).unwrap();
    let output = call(&["shout", "--data", &format!("@{}", file.display())]);
    assert!(output.stdout == "X".repeat(300_000).as_bytes(), "{}", text(&output.stderr));
    let mut command = runpool(&["call", "shout", "--data", "-", "--address", &front]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "FROM A PIPE");

    let output = call(&["described", "-X", "PUT", "-H", "X-Colour: blue", "--data", "body"]);
    assert_eq!(text(&output.stdout), "PUT blue\nbody", "{}", text(&output.stderr));
    let output = call(&["shout", "--data", "x", "--include"]);
    let (head, body) = text(&output.stdout).split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nfn-call-id: "), "{head}");
    assert_eq!(body, "X");

    let output = call(&["shout", "--data", "x", "--detach"]);
    assert_eq!((text(&output.stdout).trim().len(), output.status.code()), (26, Some(0)), "{}", text(&output.stderr));
}

#[test]
fn a_failed_call_says_why_with_its_outcome_and_its_id_on_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    let (_process, front, _) = up_with_functions(directory.path());
    for (function, outcome) in [("failing", "function_failed"), ("missing", "not_found")] {
        let output = run(&["call", function, "--data", "x", "--address", &front]);
        let message = text(&output.stderr);
        assert_eq!((text(&output.stdout), output.status.code()), ("", Some(1)));
        let (_, id) = message.trim_end().split_once(&format!("(outcome {outcome}, call ")).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(id.trim_end_matches(')').len(), 26, "{message}");
        assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");
    }
}

#[test]
fn the_fifteen_lines_of_the_readme_balance_over_two_runners_as_they_stand() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let chapter = readme.split("## Fifteen lines").nth(1).unwrap();
    let block = chapter.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(block.lines().count() <= 15);
    let directory = tempfile::tempdir().unwrap();
    let file = file_with(directory.path(), block);
    assert_eq!(text(&run(&["check", &file]).stdout), format!("{file}: ok for `runpool lb`\n"));

    let mut runners = [(); 2].map(|()| Process::spawn(&mut runpool(&["runner", "--listen", "127.0.0.1:0", "--announce"])));
    let addresses = runners.each_mut().map(|runner| {
        let announcement: serde_json::Value = serde_json::from_str(&runner.line("{")).unwrap();
        announcement["address"].as_str().unwrap().to_owned()
    });
    // Only the ports are others.
    let pool = format!("pool.runners={}", addresses.join(","));
    let (_process, front, admin) = lb(&["--config", &file, "--set", &pool]);
    for _ in 0..20 {
        assert_eq!(text(&run(&["call", "upper", "--data", "abc", "--address", &front]).stdout), "ABC");
    }
    // With the default placer one of them has had them all. Without it the other one takes them.
    let known: serde_json::Value =
        serde_json::from_slice(&run(&["runners", "--admin", &admin, "--output", "json"]).stdout).unwrap();
    let busiest = known["runners"].as_array().unwrap().iter().max_by_key(|runner| runner["committed"].as_u64()).unwrap();
    let index = addresses.iter().position(|address| busiest["address"] == address.as_str()).unwrap();
    runners[index].signal(Signal::SIGKILL);
    runners[index].end();
    for _ in 0..20 {
        assert_eq!(text(&run(&["call", "upper", "--data", "abc", "--address", &front]).stdout), "ABC");
    }
}

// === tools ===

#[test]
fn the_tables_show_what_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file =
        file_with(directory.path(), "[[function]]\nname = \"shout\"\nformat = \"exec\"\ncommand = [\"tr\", \"a-z\", \"A-Z\"]\n");
    let mut process =
        Process::start(&["up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config", &file, "--runners", "2"]);
    let admin = process.line("admin").split("http://").nth(1).unwrap().trim().to_owned();
    let line = process.line("runners");
    let addresses: Vec<String> =
        line.split_whitespace().filter(|word| word.contains(':')).map(|word| word.replace(',', "")).collect();
    // `up` says it is ready when all of this is so.
    process.line("Ctrl-C");

    let output = run(&["runners", "--admin", &admin]);
    let table = text(&output.stdout);
    assert!(table.starts_with("ID") && table.lines().count() == 3, "{table}");
    assert!(addresses.iter().all(|address| table.contains(address.as_str())), "{table}");
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["runners", "--admin", &admin, "--output", "json"]).stdout).unwrap();
    assert_eq!(json["runners"].as_array().unwrap().len(), 2);

    let output = run(&["functions", "--admin", &admin]);
    let rows: Vec<Vec<&str>> = text(&output.stdout).lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..5], ["NAME", "APP", "FORMAT", "TIMEOUT", "MEMORY"]);
    assert_eq!(rows[1][..5], ["shout", "default", "exec", "30s", "128MiB"]);

    let output = run(&["status", "--admin", &admin, "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["is_ready"], output.status.code()), (&true.into(), Some(0)));

    let output = run(&["status", "--runner", &addresses[0]]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // A runner that takes no more calls is not well.
    let drained = Command::new("curl").args(["-sS", "-X", "POST", &format!("http://{}/drain", addresses[0])]).output().unwrap();
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    let output = run(&["status", "--runner", &addresses[0], "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["state"], output.status.code()), (&"draining".into(), Some(1)));
}

#[test]
fn runners_and_functions_are_printed_as_table_and_as_json() {
    let json = r#"{"runners":[{"id":"a","address":"127.0.0.1:9001","in_flight":2,"colour":"blue"}]}"#;
    let (admin, from_table) = server(http("200 OK", "content-type: application/json\r\n", json));
    let output = run(&["runners", "--admin", &admin]);
    assert_eq!(text(&output.stdout), "ID  ADDRESS         IN FLIGHT  COLOUR\na   127.0.0.1:9001  2          blue\n");
    assert!(from_table.join().unwrap().starts_with("GET /v1/runners HTTP/1.1\r\n"));

    let (admin, from_json) = server(http("200 OK", "", r#"{"functions":[{"name":"f"}]}"#));
    let output = runpool(&["functions", "--output", "json"]).env("RUNPOOL_ADMIN", &admin).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["functions"][0]["name"], "f");
    assert!(from_json.join().unwrap().starts_with("GET /v1/functions HTTP/1.1\r\n"));
}

#[test]
fn what_the_admin_listener_refuses_is_told() {
    let (admin, _server) = server(http("404 Not Found", "", r#"{"message":"there is nothing at /v1/runners"}"#));
    let output = run(&["runners", "--admin", &admin]);
    assert_eq!(
        text(&output.stderr),
        format!("error: {admin}/v1/runners answered 404 Not Found: there is nothing at /v1/runners\n")
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn status_ends_with_0_only_if_the_balancer_is_ready() {
    let (admin, server_ready) = server(http("200 OK", "", "[+] runners\nready\n"));
    let output = run(&["status", "--admin", &admin]);
    assert_eq!((text(&output.stdout), output.status.code()), ("[+] runners\nready\n", Some(0)));
    assert!(server_ready.join().unwrap().starts_with("GET /readyz?verbose HTTP/1.1\r\n"));
    let (admin, _server) = server(http("503 Service Unavailable", "", "not ready\n"));
    let output = run(&["status", "--admin", &admin]);
    assert_eq!((text(&output.stdout), output.status.code()), ("not ready\n", Some(1)));
}

fn file_with(directory: &Path, content: &str) -> String {
    let file = directory.join("c.toml");
    std::fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn check_tells_everything_that_is_wrong_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_with(directory.path(), "[front]\nlisten = \"x\"\nmax_bodi = 1\n");
    let output = run(&["check", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "error: the configuration cannot be used:\n  {file}:2: front.listen = \"x\": expected an IP address with a port, such as \
             \"127.0.0.1:8080\"\n  {file}:3: front.max_bodi = 1: unknown key; did you mean `max_body`?\n"
        )
    );
}

#[test]
fn check_tells_each_kind_of_mistake_with_the_place_the_key_the_value_and_what_was_expected() {
    let directory = tempfile::tempdir().unwrap();
    for (content, expected) in [
        ("workers = \"many\"", ":1: workers = \"many\": expected a whole number from 0 to 65535"),
        ("[front\n", ":1: syntax error at column 7: unclosed table, expected `]`"),
        (
            "[front]\nlisten = \"0.0.0.0:80\"",
            ":2: front.listen = \"0.0.0.0:80\": expected a loopback address, or expose = \"without-authentication\" beside it, since nothing \
             there asks who is calling",
        ),
        ("[placement]\nplacer = \"chh\"", ":2: placement.placer = \"chh\": expected \"naive\" or \"ch\"; did you mean `ch`?"),
        ("[placement]\nplacer_timeout = 5", ":2: placement.placer_timeout = 5: expected a text in quotes, such as \"6m\""),
        ("[pool]\nrunners = [\"a:1\",\n\"a:1\"]", ":3: pool.runners[1] = \"a:1\": expected each runner once"),
        (
            "[[function]]\nname = \"f\"\n[[function]]\nname = \"g\"\ntimeout = \"5 parsecs\"",
            ":5: function[g].timeout = \"5 parsecs\": expected whole numbers with a unit, such as \"10ms\", \"30s\", \"5m\" or \"1h30m\"",
        ),
    ] {
        let file = file_with(directory.path(), content);
        let output = run(&["check", &file]);
        let message = format!("error: the configuration cannot be used:\n  {file}{expected}\n");
        assert_eq!((text(&output.stderr), output.status.code()), (&*message, Some(1)));
        assert_eq!(text(&output.stdout), "");
    }
    let output = run(&["check", "--set", "front.listen=y"]);
    assert!(
        text(&output.stderr).contains("\n  flag --set: front.listen = \"y\": expected an IP address"),
        "{}",
        text(&output.stderr)
    );
    let output = runpool(&["check"]).env("RUNPOOL_FRONT_LISTEN", "z").output().unwrap();
    let place = "\n  environment variable RUNPOOL_FRONT_LISTEN: front.listen = \"z\": expected an IP address";
    assert!(text(&output.stderr).contains(place), "{}", text(&output.stderr));
    let missing = directory.path().join("missing.toml");
    let output = run(&["check", missing.to_str().unwrap()]);
    let place = format!("\n  {}: could not read the file: No such file or directory", missing.display());
    assert!(text(&output.stderr).contains(&place), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_role_does_not_start_with_a_configuration_that_check_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_with(directory.path(), "[pool]\nrunnners = []\n");
    for role in ["up", "lb", "runner"] {
        let output = run(&[role, "--config", &file]);
        let message = text(&output.stderr);
        assert!(message.contains(&format!("  {file}:2: pool.runnners = []: unknown key; did you mean `runners`?")), "{message}");
        assert_eq!((text(&output.stdout), output.status.code()), ("", Some(1)));
    }
}

#[test]
fn check_is_content_with_the_examples() {
    let examples = [("plain.toml", "lb"), ("demo.toml", "up"), ("compose/lb.toml", "lb"), ("compose/runner.toml", "runner")];
    for (name, role) in examples {
        let file = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let asked: &[&str] = if role == "runner" { &["--role", role] } else { &[] };
        let output = run(&[&["check", &file], asked].concat());
        assert_eq!(text(&output.stdout), format!("{file}: ok for `runpool {role}`\n"));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn config_prints_where_values_come_from_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_with(directory.path(), "[[function]]\nname = \"f\"\ncommand = [\"cat\"]\nconfig = { PIN = \"7777\" }\n");
    let output = runpool(&["config", "--config", &file, "--workers", "3"]).env("RUNPOOL_FLEET_SLOTS", "9").output().unwrap();
    let printed = text(&output.stdout);
    for line in ["workers = 3 # flag --workers", "slots = 9 # environment variable RUNPOOL_FLEET_SLOTS", "PIN = \"***\" # "] {
        assert!(
            printed.lines().any(|printed| printed.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(line)),
            "{printed}"
        );
    }
    assert!(!printed.contains("7777"));
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["config", "--config", &file, "--output", "json"]).stdout).unwrap();
    assert_eq!(json["file"], file);
}

#[test]
fn what_config_prints_is_a_configuration_with_the_same_values() {
    let directory = tempfile::tempdir().unwrap();
    let example = format!("{}/examples/demo.toml", env!("CARGO_MANIFEST_DIR"));
    let values = |file: &str| {
        let output = run(&["config", "--config", file, "--role", "up"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout).lines();
        lines.map(|line| line.split(" #").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>()
    };
    let first = values(&example);
    let again = file_with(directory.path(), text(&run(&["config", "--config", &example, "--role", "up"]).stdout));
    assert_eq!(values(&again), first);
}

#[test]
fn without_a_configuration_calls_are_taken_on_loopback_at_8080_and_operators_at_8081() {
    let output = run(&["config", "--role", "up", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = document.to_string();
    for (key, value) in
        [("front.listen", "127.0.0.1:8080"), ("admin.listen", "127.0.0.1:8081"), ("runner.listen", "127.0.0.1:9001")]
    {
        let settings = document["settings"].as_array().unwrap_or_else(|| panic!("{text}"));
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(
            (&setting["value"], &setting["origin"]),
            (&value.into(), &serde_json::json!({ "source": "default" })),
            "{text}"
        );
    }
}

#[test]
fn completions_are_made_for_three_shells_and_offer_nothing_hidden() {
    for (shell, part) in [("bash", "complete "), ("zsh", "#compdef runpool"), ("fish", "complete -c runpool")] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        assert!(script.contains(part) && script.contains("functions"), "{shell}");
        assert!(!script.contains("warden") && !script.contains("demo-function"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runpool.bash");
    std::fs::write(&file, run(&["completions", "bash"]).stdout).unwrap();
    let complete = r#"source "$1"; COMP_WORDS=(runpool sta); COMP_CWORD=1; _runpool runpool sta runpool; echo "${COMPREPLY[@]}""#;
    let output = Command::new("bash").args(["-c", complete, "bash", file.to_str().unwrap()]).output().unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("status\n", ""));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_the_version_with_0() {
    for arguments in [&["frob"][..], &["call"], &["call", "a b"], &["call", "f", "--timeout", "5"], &[]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = run(&["up", "--runer", "3"]);
    assert!(text(&output.stderr).contains("a similar argument exists: '--runners'"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["--version"]);
    assert!(text(&output.stdout).starts_with(concat!("runpool ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = runpool(&["config"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
}
