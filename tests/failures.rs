//! What breaks, and what that does to calls: killed, stopped and absent runners, clients that leave, agents that answer nonsense.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use support::http::{call, content_length, dead_address, get, metric, scripted, within};
use support::meeting::Meeting;
use support::roles::{job, lb, pool, runner, runner_with, worker};
use support::{Running, eventually, is_alive, processes_with};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// A client that sends this call by hand, and leaves when the stream is dropped.
async fn leaving_client(front: SocketAddr, target: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(front).await.unwrap();
    let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until nothing that the agent has started lives any more.
async fn nothing_left_of(mark: &str) {
    eventually("the processes of a killed agent are dead", || async { processes_with(mark).is_empty().then_some(()) }).await;
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

// P1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_runner_is_killed_is_lost_alone_and_has_run_once() {
    let directory = tempfile::tempdir().unwrap();
    let runs = directory.path().join("runs");
    let (victim, other) = (runner(4), runner(4));
    let functions = [worker("f"), job("job", &format!("echo run >> '{}'; cat; exec sleep 1000", runs.display()))].concat();
    let text = format!("{}[placement]\nplacer = \"naive\"\n{functions}", pool(&[victim.runner(), other.runner()]));
    let lb = lb(directory.path(), &text);
    let meeting = Meeting::new().await;
    // One call of each kind on each runner: there is no saying where the first goes.
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(call(lb.front(), "/invoke/f").header("x-meet", meeting.port).body("mine").start());
    }
    let mut guests = Vec::new();
    for _ in 0..8 {
        guests.push(meeting.guest().await);
    }
    let mut victim = victim;
    let (mark, lost) = (victim.mark(), processes_with(&victim.mark()));
    assert!(!lost.is_empty());
    victim.kill();
    nothing_left_of(&mark).await;
    let (dead, living): (Vec<_>, Vec<_>) = guests.into_iter().partition(|guest| lost.contains(&guest.pid));
    assert_eq!((dead.len(), living.len()), (4, 4), "naive has filled one runner and then the other");
    for guest in living {
        guest.release().await;
    }
    let mut reset = 0;
    for call in calls {
        let answer = call.await.unwrap();
        if answer.status.as_u16() == 200 {
            assert_eq!(answer.text(), "mine");
        } else {
            let message = answer.problem(502, "runner_reset");
            assert!(message.contains(&victim.runner().to_string()), "{message}");
            reset += 1;
        }
    }
    assert_eq!(reset, dead.len());
    for number in 0..20 {
        assert_eq!(call(lb.front(), "/invoke/f").body(number.to_string()).send().await.ok().text(), number.to_string());
    }

    // The last runner goes too, in the middle of a job.
    let mut other = other;
    let call = call(lb.front(), "/invoke/job").start();
    eventually("the job runs", || async { (lines(&runs) > 0).then_some(()) }).await;
    other.kill();
    call.await.unwrap().problem(502, "runner_reset");
    let started = start_at(other.runner());
    assert_eq!(call_f(&lb).await, "again");
    assert_eq!(lines(&runs), 1, "a call that was handed over has run again");
    drop(started);
}

/// An agent on the address of an ended one.
fn start_at(address: SocketAddr) -> Running {
    runner_with(4, &["--listen", &address.to_string()])
}

async fn call_f(lb: &Running) -> String {
    call(lb.front(), "/invoke/f").body("again").send().await.ok().text().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_runner_costs_its_own_calls_a_504_and_is_used_again_when_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (stopped, other) = (runner(1), runner(4));
    let text = format!(
        "{}[placement]\nplacer = \"naive\"\nattempt_timeout = \"1s\"\n{}",
        pool(&[stopped.runner(), other.runner()]),
        worker("f")
    );
    let lb = lb(directory.path(), &text);
    let meeting = Meeting::new().await;
    // As many as there are slots: whoever is full refuses, so that every slot is taken.
    let mut calls = Vec::new();
    let mut guests = Vec::new();
    for _ in 0..5 {
        calls.push(call(lb.front(), "/invoke/f").header("x-meet", meeting.port).start());
        guests.push(meeting.guest().await);
    }
    let on_stopped = processes_with(&stopped.mark());
    stopped.signal(Signal::SIGSTOP);
    let (here, mut elsewhere): (Vec<_>, Vec<_>) = guests.into_iter().partition(|guest| on_stopped.contains(&guest.pid));
    assert_eq!((here.len(), elsewhere.len()), (1, 4));
    // One call elsewhere goes on all the time, for longer than a stopped runner is waited for.
    let long = elsewhere.pop().unwrap();
    for guest in elsewhere {
        guest.release().await;
    }
    let failed = loop {
        let (answer, _, others) = within("an answer", futures_util::future::select_all(calls)).await;
        calls = others;
        let answer = answer.unwrap();
        if answer.status.as_u16() != 200 {
            break answer;
        }
    };
    let message = failed.problem(504, "runner_timeout");
    assert!(message.contains(&stopped.runner().to_string()) && message.contains("no sign of life in 1s"), "{message}");
    long.release().await;
    for call in calls {
        call.await.unwrap().ok();
    }
    stopped.signal(Signal::SIGCONT);
    // The balancer has withdrawn the call from the stopped runner: its slot is free again, and it is used.
    for guest in here {
        guest.died().await;
    }
    eventually("the runner that goes on is used", || async {
        let answer = call(lb.front(), "/invoke/f").send().await.ok();
        let pid: u32 = answer.header("x-pid").parse().unwrap();
        processes_with(&stopped.mark()).contains(&pid).then_some(())
    })
    .await;
}

// W7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_was_down_when_the_balancer_started_gets_the_very_next_call() {
    let directory = tempfile::tempdir().unwrap();
    let (held, address) = dead_address();
    let lb = lb(directory.path(), &format!("{}[placement]\nplacer_timeout = \"50ms\"\n{}", pool(&[address]), worker("f")));
    for _ in 0..10 {
        get(lb.front(), "/invoke/f").await.problem(503, "placer_timeout");
    }
    drop(held);
    let runner = start_at(address);
    assert_eq!(call_f(&lb).await, "again");
    drop(runner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_an_agent_that_was_killed_not_even_a_child_in_a_session_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = runner(4);
    let lb =
        lb(directory.path(), &format!("{}{}", pool(&[runner.runner()]), [worker("f"), job("job", "sleep 1000 & wait")].concat()));
    let (meeting, nursery) = (Meeting::new().await, Meeting::new().await);
    // An idle worker with a child, a busy one with a child, and a job with one.
    call(lb.front(), "/invoke/f").header("x-child", nursery.port).send().await.ok();
    let busy = call(lb.front(), "/invoke/f").header("x-child", nursery.port).header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let children = [nursery.silent_guest().await, nursery.silent_guest().await];
    let job = call(lb.front(), "/invoke/job").start();
    // Worker, its two children, shell and sleep, and the warden.
    let mark = runner.mark();
    eventually("all of them are there", || async { (processes_with(&mark).len() >= 5).then_some(()) }).await;
    runner.kill();
    guest.died().await;
    for child in children {
        child.died().await;
    }
    nothing_left_of(&mark).await;
    for call in [busy, job] {
        call.await.unwrap().problem(502, "runner_reset");
    }
}

/// `up` with this file: the process, the front, and the process ids of its runners.
fn up(file: &str) -> (std::process::Child, SocketAddr, Vec<u32>) {
    use std::io::BufRead as _;
    let mut up = Command::new(env!("CARGO_BIN_EXE_runpool"))
        .args(["up", "--config", file, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--runners", "2"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut front = None;
    let mut output = std::io::BufReader::new(up.stdout.take().unwrap());
    while front.is_none() {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "up has ended");
        front = line.split_once("front").and_then(|(_, rest)| rest.split("http://").nth(1)?.trim().parse().ok());
    }
    // It keeps the pipe open, so that up never writes into a closed one.
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
    let pid = up.id();
    (up, front.unwrap(), descendants(pid))
}

/// Every living process below this one.
fn descendants(of: u32) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    let mut new = vec![of];
    while let Some(parent) = new.pop() {
        for task in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            all.extend(&children);
            new.extend(children);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_an_up_that_was_killed_or_interrupted_in_the_middle_of_a_call() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let directory = tempfile::tempdir().unwrap();
        let file = support::write(directory.path(), "up.toml", &worker("f"));
        let (mut up, front, _) = tokio::task::spawn_blocking(move || up(&file)).await.unwrap();
        let (meeting, nursery) = (Meeting::new().await, Meeting::new().await);
        let running =
            tokio::spawn(call(front, "/invoke/f").header("x-child", nursery.port).header("x-meet", meeting.port).try_send());
        let guest = meeting.guest().await;
        let child = nursery.silent_guest().await;
        let all = descendants(up.id());
        assert!(all.contains(&guest.pid) && all.len() >= 6, "two runners, their wardens, a worker and its child: {all:?}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(up.id()).unwrap()), signal).unwrap();
        if signal == Signal::SIGINT {
            // The call that runs has its answer first.
            guest.release().await;
            running.await.unwrap().unwrap().ok();
        } else {
            guest.died().await;
        }
        child.died().await;
        let status = tokio::task::spawn_blocking(move || up.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), (signal == Signal::SIGINT).then_some(0));
        if signal == Signal::SIGKILL {
            eventually("runners and wardens are dead", || async { (!all.iter().any(|pid| is_alive(*pid))).then_some(()) }).await;
        }
        let left: Vec<&u32> = all.iter().filter(|pid| is_alive(**pid)).collect();
        assert!(left.is_empty(), "{left:?} of {all:?} are left after {signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_its_call_wherever_that_is() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(1);
    let lb = lb(directory.path(), &format!("{}{}", pool(&[runner.runner()]), worker("f")));
    let canceled = || metric(lb.admin(), "lb_canceled_total", &["function=\"f\""]);
    let meeting = Meeting::new().await;

    // In the middle of the call: its process is killed, its slot is free.
    let client = leaving_client(lb.front(), "/invoke/f", &format!("x-meet: {}\r\n", meeting.port)).await;
    let guest = meeting.guest().await;
    drop(client);
    guest.died().await;
    call(lb.front(), "/invoke/f").send().await.ok();
    eventually("the call is counted", || async { (canceled().await == 1.0).then_some(()) }).await;

    // In the middle of the answer.
    let client = leaving_client(lb.front(), "/invoke/f", &format!("x-meet-late: {}\r\nx-bytes: 1000000\r\n", meeting.port)).await;
    let guest = meeting.guest().await;
    drop(client);
    guest.died().await;
    call(lb.front(), "/invoke/f").send().await.ok();
    eventually("the call is counted", || async { (canceled().await == 2.0).then_some(()) }).await;

    // While it waits for a slot.
    let holder = call(lb.front(), "/invoke/f").header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let client = leaving_client(lb.front(), "/invoke/f", &format!("x-meet: {}\r\n", meeting.port)).await;
    eventually("it waits", || async { (metric(lb.admin(), "lb_running", &["function=\"f\""]).await == 2.0).then_some(()) }).await;
    drop(client);
    eventually("the call is counted", || async { (canceled().await == 3.0).then_some(()) }).await;
    guest.release().await;
    holder.await.unwrap().ok();
    assert_eq!(metric(lb.admin(), "lb_placer_client_cancelled_total", &[]).await, 3.0 - 1.0, "that of the answer was placed");
    assert_eq!(metric(lb.admin(), "lb_in_flight", &[]).await, 0.0);
    assert_eq!(metric(runner.runner(), "runner_in_flight", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_keep_no_slot_of_a_run_that_its_agent_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(2);
    // It keeps the answer in its memory.
    let short = format!("{}timeout = \"1s\"\n", worker("short").replace("64MiB", "256MiB"));
    // Their own time as clients is over long after others have given up.
    let rules = "[front]\nlimits.write_timeout = \"10m\"\n[placement]\nplacer_timeout = \"20s\"\n";
    let lb = lb(directory.path(), &format!("{}{rules}{short}{}", pool(&[runner.runner()]), worker("f")));
    let mut idlers = Vec::new();
    for _ in 0..2 {
        // More than all buffers on the way hold.
        let idler = leaving_client(lb.front(), "/invoke/short", &format!("x-bytes: {}\r\n", 64 << 20)).await;
        idler.readable().await.unwrap();
        idlers.push(idler);
    }
    assert_eq!(call(lb.front(), "/invoke/f").body("next").send().await.ok().text(), "next");
    assert_eq!(metric(lb.admin(), "lb_in_flight", &[]).await, 2.0, "the clients are still there");
    drop(idlers);
    eventually("the calls are counted", || async { (metric(lb.admin(), "lb_in_flight", &[]).await == 0.0).then_some(()) }).await;
}

// W9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_refused_attempt_reaches_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let refuses = scripted({
        let asked = Arc::clone(&asked);
        move |mut connection| {
            let asked = Arc::clone(&asked);
            async move {
                while let Some(head) = connection.head().await {
                    connection.body(content_length(&head)).await;
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    let framed = match number % 3 {
                        0 => "content-length: 7\r\n\r\nrefusal".to_owned(),
                        1 => "transfer-encoding: chunked\r\n\r\n7\r\nrefusal\r\n0\r\n\r\n".to_owned(),
                        // Longer than is read to keep the connection.
                        _ => format!("content-length: 100000\r\n\r\n{}", "refusal".repeat(15_000)),
                    };
                    connection.write(format!("HTTP/1.1 503 No\r\nrunpool-refused: memory\r\nx-of-refusal: 1\r\n{framed}")).await;
                }
            }
        }
    })
    .await;
    let takes = scripted(|mut connection| async move {
        while let Some(head) = connection.head().await {
            let body = connection.body(content_length(&head)).await;
            connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-of-answer: 1\r\n\r\n", body.len())).await;
            connection.write(body).await;
        }
    })
    .await;
    // Nobody is asked how it is: these two know calls only.
    let text = format!(
        "{}[pool.health]\ninterval = \"0s\"\n[placement]\nplacer = \"naive\"\n{}",
        pool(&[refuses, takes]),
        job("f", "true")
    );
    let lb = lb(directory.path(), &text);
    for number in 0..60 {
        let answer = call(lb.front(), "/invoke/f").body(format!("call {number}")).send().await.ok();
        assert_eq!(answer.text(), format!("call {number}"));
        assert_eq!((answer.header("x-of-answer"), answer.headers.get("x-of-refusal")), ("1", None));
    }
    assert!(asked.load(Ordering::Relaxed) >= 3, "the runner that refuses was never asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_answers_nonsense_fails_its_call_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let agent = scripted(|mut connection| async move {
        let Some(head) = connection.head().await else { return };
        let answer = match head.lines().find_map(|line| line.strip_prefix("x-way: ")) {
            Some("half-head") => "HTTP/1.1 200 O",
            Some("garbage") => "\0\0\0\0\r\n\r\n",
            Some("unknown-word") => "HTTP/1.1 500 X\r\nrunpool-outcome: whatever\r\ncontent-length: 0\r\n\r\n",
            Some("half-body") => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            // Without the word that makes it a refusal, it is the function's own answer.
            Some("bare-503") => "HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nown",
            Some("unknown-refusal") => "HTTP/1.1 503 X\r\nrunpool-refused: bored\r\ncontent-length: 3\r\n\r\nown",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine",
        };
        connection.write(answer).await;
    })
    .await;
    let lb = lb(directory.path(), &format!("{}{}", pool(&[agent]), job("f", "true")));
    let call = |way: &str| call(lb.front(), "/invoke/f").header("x-way", way);
    for (way, status, outcome) in
        [("half-head", 502, "runner_reset"), ("garbage", 502, "bad_answer"), ("unknown-word", 500, "internal")]
    {
        call(way).send().await.problem(status, outcome);
        assert_eq!(call("fine").send().await.ok().text(), "fine", "after {way}");
    }
    assert!(call("half-body").try_send().await.is_err(), "half an answer passed for a whole one");
    for way in ["bare-503", "unknown-refusal"] {
        let answer = call(way).send().await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("runpool-refused")), (503, "own", ""), "{way}");
    }
    assert_eq!(call("fine").send().await.ok().text(), "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_runs_out_of_file_descriptors_accepts_again_when_some_are_free() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(4);
    let lb = lb(directory.path(), &format!("{}{}", pool(&[runner.runner()]), worker("f")));
    call(lb.front(), "/invoke/f").body("before").send().await.ok();
    let limit = |soft: &str| {
        let done = Command::new("prlimit").args(["--pid", &lb.pid().to_string(), &format!("--nofile={soft}:")]).status();
        assert!(done.unwrap().success());
    };
    limit("64");
    // Those that it cannot accept wait in the kernel's queue.
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(TcpStream::connect(lb.front()).await.unwrap());
    }
    lb.log_line(&["could not accept a connection", "Too many open files"]);
    let waiting = call(lb.front(), "/invoke/f").body("waiting").start();
    drop(connections);
    assert_eq!(within("an answer", waiting).await.unwrap().ok().text(), "waiting");
    for _ in 0..5 {
        assert_eq!(call_f(&lb).await, "again");
    }
}
