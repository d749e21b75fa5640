//! The tools as users start them (`call`, `status`, `runners`, `functions`, `check`, `config`, `completions`): real processes, real sockets, what is printed and with which code they end.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use support::command_line::{Process, file_with, http, lb, run, runpool, server, text, up};

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
    let json = r#"{"runners":[{"id":"a","address":"127.0.0.1:9001","in_flight":2,"refusals":{"busy":3,"draining":1}}]}"#;
    let (admin, from_table) = server(http("200 OK", "content-type: application/json\r\n", json));
    let output = run(&["runners", "--admin", &admin]);
    assert_eq!(text(&output.stdout), "ID  ADDRESS         IN FLIGHT  REFUSALS\na   127.0.0.1:9001  2          4\n");
    assert!(from_table.join().unwrap().starts_with("GET /v1/runners HTTP/1.1\r\n"));

    let (admin, from_json) = server(http("200 OK", "", r#"{"functions":[{"name":"f"}]}"#));
    let output = runpool(&["functions", "--output", "json"]).env("RUNPOOL_ADMIN", &admin).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["functions"][0]["name"], "f");
    assert!(from_json.join().unwrap().starts_with("GET /v1/functions HTTP/1.1\r\n"));
}

#[test]
fn check_without_a_file_says_that_it_checked_the_defaults() {
    assert_eq!(text(&run(&["check"]).stdout), "the defaults (no file was named): ok for `runpool up`\n");
    let output = run(&["check", "--workers", "2"]);
    assert_eq!(text(&output.stdout), "the defaults, with variables and flags (no file was named): ok for `runpool up`\n");
}

#[test]
fn what_sim_cannot_use_is_told_with_what_it_expects() {
    let told = |arguments: &[&str]| {
        let output = run(&[&["sim"][..], arguments].concat());
        assert!(!output.status.success());
        text(&output.stderr).to_owned()
    };
    let load = told(&["--workload", "mm1", "--load", "1e9"]);
    assert!(load.contains("expected a share of all slots above 0 and at most 100: usually 0.1 to 1"), "{load}");
    assert_eq!(
        told(&["--workload", "mm1", "--set", "ring_bounded.bound=2"]),
        "error: the placers' settings cannot be used:\n  flag --set: placement.ring_bounded.bound = \"2\": expected more than 0 and at most 1\n"
    );
    assert_eq!(
        told(&["--calls", "nowhere.csv"]),
        "error: could not open the trace nowhere.csv: No such file or directory (os error 2)\n"
    );
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
            ":2: front.listen = \"0.0.0.0:80\": expected a loopback address, or access = \"token\" or \"identity\" for every function, \
             or tls.client_certificates = \"required\", or expose = \"without-authentication\" beside it, since nothing there asks who is calling",
        ),
        (
            "[placement]\nplacer = \"chh\"",
            ":2: placement.placer = \"chh\": expected \"naive\", \"ch\", \"ring-bounded\", \"p2c\", \"p2c-ewma\", \"least-loaded\", \"idle-pull\", \"prequal\" or \"delay-pull\"; did you mean `ch`?",
        ),
        ("[placement]\nplacer_timeout = 5", ":2: placement.placer_timeout = 5: expected a text in quotes, such as \"6m\""),
        ("[pool]\nrunners = [\"a:1\",\n\"a:1\"]", ":3: pool.runners[1] = \"a:1\": expected each runner once"),
        (
            "[[function]]\nname = \"f\"\n[[function]]\nname = \"g\"\ntimeout = \"5 parsecs\"",
            ":5: function[g].timeout = \"5 parsecs\": expected whole numbers with a unit, such as \"10ms\", \"30s\", \"5m\" or \"1h30m\"",
        ),
        (
            "[[function]]\nname = \"f\"\ncommand = [\"cat\"]\n[[route]]\npath = \"/\"\nfunction = \"f\"\nupgrade = [\"h2c\"]",
            ":7: route[/].upgrade[0] = \"h2c\": expected one protocol that is not HTTP, such as \"websocket\": a switch to HTTP/2 no longer exists \
             (RFC 9113, section 3.1), and would lead past access and limits",
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
fn check_opens_every_file_that_the_role_will_open() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let listener = |table: &str| format!("[{table}.tls]\ncertificate = \"{table}.pem\"\nkey = \"{table}.key\"\n");
    let pool =
        "[pool]\nrunners = [\"127.0.0.1:1\"]\n[pool.tls]\nca = \"pool.pem\"\n[[function]]\nname = \"f\"\ncommand = [\"cat\"]\n";
    let config =
        file_with(directory.path(), &[listener("front"), listener("admin"), listener("runner"), pool.to_owned()].concat());
    let missing = |line: u32, key: &str, what: &str, name: &str| {
        format!(
            "  {config}:{line}: {key} = \"{name}\": could not read the {what} in {}: No such file or directory (os error 2)\n",
            file(name)
        )
    };
    let front = missing(2, "front.tls.certificate", "certificate", "front.pem");
    let admin = missing(5, "admin.tls.certificate", "certificate", "admin.pem");
    let runner = missing(8, "runner.tls.certificate", "certificate", "runner.pem");
    let pool = missing(13, "pool.tls.ca", "roots", "pool.pem");
    for (asked, wrong) in [
        (&[][..], [&*front, &admin, &runner, &pool].concat()),
        (&["--role", "lb"], [&*front, &admin, &pool].concat()),
        (&["--role", "runner"], runner.clone()),
    ] {
        let output = run(&[&["check", &config], asked].concat());
        let told = text(&output.stderr);
        let expected = format!("error: the configuration cannot be used:\n{wrong}");
        assert!(told.ends_with(&expected), "{asked:?}: {told}\nexpected {expected}");
        assert_eq!(output.status.code(), Some(1));
    }
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
