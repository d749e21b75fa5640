//! Ending and reloading under load: nobody loses an answer by an order.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use support::http::{Answer, call, get, metric, within};
use support::meeting::Meeting;
use support::roles::{LB_FILE, job, lb, pool, runner, runner_with, worker};
use support::{Running, eventually, processes_with, write};
use tokio::task::JoinHandle;

/// Clients that each call again as soon as they were answered.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    fn start(front: SocketAddr, target: &'static str, clients: usize) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |number: usize| {
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            tokio::spawn(async move {
                let body = number.to_string();
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let answer = call(front, target).body(body.clone()).send().await;
                    if answer.status.as_u16() != 200 || answer.text() != body {
                        failed.push(answer);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { is_over, answered, clients }
    }

    /// Waits for so many answers from now on.
    async fn goes_on(&self, more: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        eventually("calls are answered", || async { (self.answered.load(Ordering::Relaxed) >= wanted).then_some(()) }).await;
    }

    /// Ends it; every answer must have been the function's. Gives their number.
    async fn ends_without_loss(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            let failed = client.await.unwrap();
            assert!(failed.is_empty(), "{} calls of {} failed: {failed:?}", failed.len(), self.answered.load(Ordering::Relaxed));
        }
        self.answered.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_is_told_to_end_says_so_at_once_takes_calls_for_the_grace_and_ends_at_once_when_told_again() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(4);
    let text = format!("[shutdown]\ngrace = \"1h\"\n{}{}", pool(&[runner.runner()]), worker("f"));
    let mut lb = lb(directory.path(), &text);
    let load = Load::start(lb.front(), "/invoke/f", 2);
    load.goes_on(10).await;
    assert_eq!(get(lb.admin(), "/readyz").await.status.as_u16(), 200);
    lb.signal(Signal::SIGTERM);
    lb.log_line(&["not ready any more"]);
    assert_eq!(get(lb.admin(), "/readyz").await.status.as_u16(), 503);
    assert_eq!(get(lb.admin(), "/livez").await.status.as_u16(), 200);
    load.goes_on(50).await;
    load.ends_without_loss().await;

    let meeting = Meeting::new().await;
    let cut = tokio::spawn(call(lb.front(), "/invoke/f").header("x-meet", meeting.port).try_send());
    let guest = meeting.guest().await;
    lb.signal(Signal::SIGTERM);
    assert_eq!(lb.wait().code(), Some(1));
    assert!(cut.await.unwrap().is_err());
    // The agent sees that nobody waits any more.
    guest.died().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_have_their_answers_after_the_listeners_closed_and_the_balancer_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(1);
    let text = format!("[shutdown]\ngrace = \"1ms\"\n{}{}", pool(&[runner.runner()]), worker("f"));
    let mut lb = lb(directory.path(), &text);
    let meeting = Meeting::new().await;
    let running = call(lb.front(), "/invoke/f").header("x-meet", meeting.port).body("running").start();
    let guest = meeting.guest().await;
    // One waits for the slot, and one that is detached: its 202 is still to come.
    let waiting = call(lb.front(), "/invoke/f").header("x-meet", meeting.port).body("waiting").start();
    let detached = call(lb.front(), "/invoke/f").header("fn-invoke-type", "detached").header("x-meet", meeting.port).start();
    eventually("all are in hand", || async { (metric(lb.admin(), "lb_running", &[]).await == 3.0).then_some(()) }).await;
    lb.signal(Signal::SIGTERM);
    lb.log_line(&["listeners are closed"]);
    eventually("nobody listens", || async { tokio::net::TcpStream::connect(lb.front()).await.err() }).await;
    assert_eq!(get(lb.admin(), "/readyz").await.status.as_u16(), 503, "operators can look to the end");
    assert!(lb.is_running());
    guest.release().await;
    meeting.release_all();
    for (call, body) in [(running, "running"), (waiting, "waiting")] {
        let answer = call.await.unwrap().ok();
        assert_eq!((answer.text(), answer.header("connection")), (body, "close"));
    }
    assert_eq!(detached.await.unwrap().status.as_u16(), 202);
    assert_eq!(lb.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_what_still_runs_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = runner_with(4, &["--set", "shutdown.grace=1ms", "--set", "shutdown.deadline=4s"]);
    let text = format!("[shutdown]\ngrace = \"1ms\"\ndeadline = \"100ms\"\n{}{}", pool(&[runner.runner()]), worker("f"));
    let mut lb = lb(directory.path(), &text);
    let meeting = Meeting::new().await;
    let cut = tokio::spawn(call(lb.front(), "/invoke/f").header("x-meet", meeting.port).try_send());
    let guest = meeting.guest().await;
    lb.signal(Signal::SIGTERM);
    assert!(cut.await.unwrap().is_err());
    assert_eq!(lb.wait().code(), Some(0));
    lb.log_line(&["ended at the deadline"]);
    guest.died().await;

    // The same of an agent: the call is told that its runner has ended.
    let lb = self::lb(directory.path(), &text);
    let killed = call(lb.front(), "/invoke/f").header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let mark = runner.mark();
    runner.signal(Signal::SIGTERM);
    guest.died().await;
    let message = killed.await.unwrap().problem(502, "function_crashed");
    assert_eq!(message, "function killed: its runner ended before the call did");
    assert_eq!(runner.wait().code(), Some(0));
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
}

// P7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_is_told_to_end_finishes_its_calls_and_sends_new_ones_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (mut leaving, staying) = (runner_with(2, &["--set", "shutdown.grace=1ms"]), runner(2));
    let text = format!("{}[placement]\nplacer = \"naive\"\n{}", pool(&[leaving.runner(), staying.runner()]), worker("f"));
    let lb = lb(directory.path(), &text);
    let meeting = Meeting::new().await;
    let mut calls = Vec::new();
    let mut guests = Vec::new();
    for number in 0..4 {
        calls.push(call(lb.front(), "/invoke/f").header("x-meet", meeting.port).body(number.to_string()).start());
        guests.push(meeting.guest().await);
    }
    let mark = leaving.mark();
    let of_leaving = processes_with(&mark);
    leaving.signal(Signal::SIGTERM);
    leaving.log_line(&["listeners are closed"]);
    assert_eq!(get(leaving.runner(), "/readyz").await.status.as_u16(), 503);
    let (here, elsewhere): (Vec<_>, Vec<_>) = guests.into_iter().partition(|guest| of_leaving.contains(&guest.pid));
    assert_eq!((here.len(), elsewhere.len()), (2, 2));
    for guest in elsewhere {
        guest.release().await;
    }
    for number in 0..20 {
        let answer = call(lb.front(), "/invoke/f").body(number.to_string()).send().await.ok();
        assert_eq!(answer.text(), number.to_string());
        assert!(!of_leaving.contains(&answer.header("x-pid").parse().unwrap()));
    }
    assert!(leaving.is_running());
    for guest in here {
        guest.release().await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().ok().text(), number.to_string());
    }
    assert_eq!(leaving.wait().code(), Some(0));
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_that_are_restarted_one_after_the_other_cost_no_call() {
    for placer in ["naive", "ch"] {
        let directory = tempfile::tempdir().unwrap();
        let mut runners: Vec<Running> = (0..3).map(|_| runner_with(4, &["--set", "shutdown.grace=300ms"])).collect();
        let addresses: Vec<SocketAddr> = runners.iter().map(Running::runner).collect();
        // As by default, a runner's grace is longer than it takes until its health is asked for: a balancer without a call for it learns that it
        // drains before its connections close.
        let health = "[pool.health]\ninterval = \"100ms\"\n";
        let text = format!("{}{health}[placement]\nplacer = \"{placer}\"\n{}", pool(&addresses), worker("f"));
        let lb = lb(directory.path(), &text);
        let load = Load::start(lb.front(), "/invoke/f", 6);
        load.goes_on(30).await;
        for runner in &mut runners {
            let (mark, address) = (runner.mark(), runner.runner().to_string());
            runner.signal(Signal::SIGTERM);
            // Waits for a process: off the threads that the load runs on.
            let status = tokio::task::block_in_place(|| runner.wait());
            assert_eq!(status.code(), Some(0));
            assert_eq!(processes_with(&mark), Vec::<u32>::new());
            load.goes_on(20).await;
            *runner = tokio::task::block_in_place(|| runner_with(4, &["--listen", &address, "--set", "shutdown.grace=300ms"]));
            load.goes_on(20).await;
        }
        let answered = load.ends_without_loss().await;
        let refused = metric(lb.admin(), "lb_runner_attempts_total", &["outcome=\"draining\""]).await;
        let unreachable = metric(lb.admin(), "lb_runner_attempts_total", &["outcome=\"unreachable\""]).await;
        println!("{placer}: {answered} calls, {refused} attempts refused by draining runners, {unreachable} found nobody");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_functions_routes_and_runners_over_without_dropping_a_call_and_a_bad_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (runner(4), runner(4));
    let before = format!("{}{}", pool(&[old.runner()]), worker("f"));
    let lb = lb(directory.path(), &before);
    let load = Load::start(lb.front(), "/invoke/f", 3);
    load.goes_on(20).await;
    let meeting = Meeting::new().await;
    let running = call(lb.front(), "/invoke/f").header("x-meet", meeting.port).body("on the old one").start();
    let guest = meeting.guest().await;
    let reloaded = || metric(lb.admin(), "config_last_reload_successful", &[]);

    write(directory.path(), LB_FILE, &format!("{before}[[route]]\npath = \"/new\"\nfunction = \"nobody\"\n"));
    lb.signal(Signal::SIGHUP);
    let line = lb.log_line(&["was not reloaded"]);
    assert!(line.contains("lb.toml:") && line.contains("nobody"), "{line}");
    assert_eq!(reloaded().await, 0.0);
    load.goes_on(20).await;
    get(lb.front(), "/new").await.problem(404, "not_found");

    // The old runner goes, a new one comes, with a function and a route to it.
    let after = format!(
        "{}{}[[route]]\npath = \"/new\"\nfunction = \"greet\"\n",
        pool(&[new.runner()]),
        [worker("f"), job("greet", "echo hello")].concat()
    );
    write(directory.path(), LB_FILE, &after);
    lb.signal(Signal::SIGHUP);
    lb.log_line(&["was reloaded"]);
    assert_eq!(reloaded().await, 1.0);
    assert_eq!(get(lb.front(), "/new").await.ok().text(), "hello\n");
    assert_eq!(call(lb.front(), "/invoke/greet").send().await.ok().text(), "hello\n");
    load.goes_on(20).await;
    let on_new = call(lb.front(), "/invoke/f").send().await.ok();
    assert!(processes_with(&new.mark()).contains(&on_new.header("x-pid").parse().unwrap()));
    // What ran on the old one when it went has its answer.
    guest.release().await;
    assert_eq!(running.await.unwrap().ok().text(), "on the old one");
    load.ends_without_loss().await;
    let runners = within("the runners", get(lb.admin(), "/v1/runners")).await;
    assert!(runners.text().contains(&new.runner().to_string()) && !runners.text().contains(&old.runner().to_string()));
}
