//! Placement by real processes: waiting without polling, several balancers over the same runners, runners that die and come back, warmth,
//! homes, records that decide the same again, and explanations.
//!
//! What is asserted is counted: attempts, refusals, rounds. Times are printed, not asserted.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::command_line::{run, text};
use support::http::{Answer, call, get, metric, within};
use support::meeting::Meeting;
use support::roles::{job, lb, pool, runner, runner_with, worker};
use support::{Running, eventually};

const QUICK_HEALTH: &str = "[pool.health]\ninterval = \"100ms\"\nreturn_interval = \"50ms\"\n";

fn addresses(runners: &[Running]) -> Vec<SocketAddr> {
    runners.iter().map(Running::runner).collect()
}

/// A balancer of agents; `tables` follow that of the pool.
fn over(directory: &Path, runners: &[Running], tables: &str) -> Running {
    lb(directory, &format!("{}{tables}", pool(&addresses(runners))))
}

async fn refusals(lb: &Running) -> f64 {
    metric(lb.admin(), "lb_placer_retry_busy_total", &[]).await + metric(lb.admin(), "lb_placer_retry_error_total", &[]).await
}

async fn attempts(lb: &Running) -> f64 {
    metric(lb.admin(), "lb_placer_attempts_sum", &[]).await
}

async fn placed(lb: &Running) -> f64 {
    metric(lb.admin(), "lb_placer_placed_ok_total", &[]).await
}

async fn so_many_wait(lb: &Running, calls: f64) {
    eventually(&format!("{calls} calls wait"), || async {
        (metric(lb.admin(), "lb_placer_waiting", &[]).await == calls).then_some(())
    })
    .await;
}

// W2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_that_wait_on_two_full_runners_cost_hardly_an_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let runners = [runner(1), runner(1)];
    let lb = over(directory.path(), &runners, &worker("f"));
    let meeting = Meeting::new().await;
    let long: Vec<_> = (0..2).map(|_| call(lb.front(), "/invoke/f").header("x-meet", meeting.port).start()).collect();
    let guests = [meeting.guest().await, meeting.guest().await];
    let waiting: Vec<_> = (0..50).map(|number| call(lb.front(), "/invoke/f").body(number.to_string()).start()).collect();
    so_many_wait(&lb, 50.0).await;
    // What is counted here is what waiting costs in this time.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    let refused = refusals(&lb).await;
    println!("50 calls that waited for 2.2 s: {refused} refusals");
    assert!(refused < 200.0, "{refused}");
    assert_eq!(metric(lb.admin(), "lb_placer_waiting", &[]).await, 50.0);
    for guest in guests {
        guest.release().await;
    }
    for (number, call) in waiting.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().ok().text(), number.to_string());
    }
    for call in long {
        call.await.unwrap().ok();
    }
}

// W2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_calls_on_three_slots_cost_an_attempt_each() {
    for placer in ["naive", "ch", "ring-bounded", "p2c", "least-loaded", "idle-pull", "delay-pull"] {
        let directory = tempfile::tempdir().unwrap();
        let runners = [runner(1), runner(1), runner(1)];
        // Known from the first status on, so that no runner has to be filled to be known full.
        let tables = format!("{QUICK_HEALTH}[placement]\nplacer = \"{placer}\"\n{}", job("job", "sleep 0.2; cat"));
        let lb = over(directory.path(), &runners, &tables);
        let calls: Vec<_> = (0..30).map(|number| call(lb.front(), "/invoke/job").body(number.to_string()).start()).collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().ok().text(), number.to_string());
        }
        let (attempts, placed) = (attempts(&lb).await, placed(&lb).await);
        println!("{placer}: {attempts} attempts for {placed} calls");
        assert_eq!(placed, 30.0);
        assert!(attempts <= 1.05 * 30.0, "{placer}: {attempts}");
    }
}

// W4: one of the balancers has nothing in flight, and hears of free slots only by asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_balancers_over_the_same_runners_serve_all_and_leave_no_slot_idle() {
    const LOAD: usize = 3;
    const CALLS: usize = 30;
    let directories: Vec<_> = (0..=LOAD).map(|_| tempfile::tempdir().unwrap()).collect();
    let runners = [runner(2), runner(2)];
    let tables = format!("{QUICK_HEALTH}[placement]\nplacer = \"least-loaded\"\n{}{}", worker("f"), job("job", "sleep 0.1; cat"));
    let balancers: Vec<Running> = directories.iter().map(|directory| over(directory.path(), &runners, &tables)).collect();
    let (idle_one, busy) = balancers.split_last().unwrap();
    // All slots are taken by the others, and the last balancer's call waits: it has nothing there that could come free.
    let meeting = Meeting::new().await;
    let mut guests = Vec::new();
    let mut holders = Vec::new();
    for number in 0..4 {
        holders.push(call(busy[number % LOAD].front(), "/invoke/f").header("x-meet", meeting.port).start());
        guests.push(meeting.guest().await);
    }
    let stranger = call(idle_one.front(), "/invoke/f").body("stranger").start();
    so_many_wait(idle_one, 1.0).await;
    let began = Instant::now();
    guests.pop().unwrap().release().await;
    assert_eq!(within("the call of a balancer that has nothing in flight", stranger).await.unwrap().ok().text(), "stranger");
    println!("a freed slot reached another balancer's call after {:?}", began.elapsed());
    for guest in guests {
        guest.release().await;
    }
    for holder in holders {
        holder.await.unwrap().ok();
    }

    // Then all of them are loaded at once, with more than there are slots. While any call waits, slots are looked at.
    let before = (total(&balancers, Total::Attempts).await, total(&balancers, Total::Placed).await);
    let (is_over, looks, busy_slots) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let looker = {
        let (is_over, looks, busy_slots) = (Arc::clone(&is_over), Arc::clone(&looks), Arc::clone(&busy_slots));
        let (agents, admins) = (addresses(&runners), balancers.iter().map(Running::admin).collect::<Vec<_>>());
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let mut waiting = 0.0;
                for admin in &admins {
                    waiting += metric(*admin, "lb_placer_waiting", &[]).await;
                }
                let mut taken = 0.0;
                for agent in &agents {
                    taken += metric(*agent, "runner_in_flight", &[]).await;
                }
                if waiting > 0.0 {
                    looks.fetch_add(1, Ordering::Relaxed);
                    busy_slots.fetch_add(taken as usize, Ordering::Relaxed);
                }
            }
        })
    };
    let began = Instant::now();
    let calls: Vec<_> =
        balancers.iter().flat_map(|balancer| (0..CALLS).map(|_| call(balancer.front(), "/invoke/job").start())).collect();
    for call in calls {
        call.await.unwrap().ok();
    }
    let took = began.elapsed();
    is_over.store(true, Ordering::Relaxed);
    looker.await.unwrap();
    let attempts = total(&balancers, Total::Attempts).await - before.0;
    let placed = total(&balancers, Total::Placed).await - before.1;
    let (looks, busy_slots) = (looks.load(Ordering::Relaxed), busy_slots.load(Ordering::Relaxed));
    let share = busy_slots as f64 / (4 * looks.max(1)) as f64;
    println!(
        "{placed} calls in {took:?} (ideal {:?}): {attempts} attempts, {:.0} % of slots busy while calls waited ({looks} looks)",
        Duration::from_millis(100) * (placed as u32) / 4,
        share * 100.0
    );
    assert_eq!(placed, 4.0 * CALLS as f64);
    // Measured: 1.25. A slot that a call of ours left may have been lent to another balancer that waited longer, which we find out by a refusal.
    assert!(attempts <= 1.5 * placed, "{attempts} attempts for {placed} calls");
    assert!(looks == 0 || share >= 0.5, "slots were idle while calls waited: {share}");
    for balancer in &balancers {
        assert_eq!(metric(balancer.admin(), "lb_placer_waiting", &[]).await, 0.0);
    }
}

enum Total {
    Attempts,
    Placed,
}

async fn total(balancers: &[Running], of: Total) -> f64 {
    let mut sum = 0.0;
    for balancer in balancers {
        sum += match of {
            Total::Attempts => attempts(balancer).await,
            Total::Placed => placed(balancer).await,
        };
    }
    sum
}

/// Calls without end, until it is told; every answer that was no success is given back.
struct Load {
    is_over: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<(usize, Vec<Answer>)>>,
}

impl Load {
    fn begin(lb: &Running, target: &'static str, callers: usize) -> Self {
        let (is_over, front) = (Arc::new(AtomicBool::new(false)), lb.front());
        let callers = (0..callers).map(|_| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let (mut answered, mut failed) = (0, Vec::new());
                while !is_over.load(Ordering::Relaxed) {
                    let answer = call(front, target).body("x").send().await;
                    answered += 1;
                    if answer.status.as_u16() != 200 {
                        failed.push(answer);
                    }
                }
                (answered, failed)
            })
        });
        Self { callers: callers.collect(), is_over }
    }

    async fn end(self) -> (usize, Vec<Answer>) {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut answered, mut failed) = (0, Vec::new());
        for caller in self.callers {
            let (more, broken) = caller.await.unwrap();
            answered += more;
            failed.extend(broken);
        }
        (answered, failed)
    }
}

async fn committed_on(lb: &Running, runner: SocketAddr) -> f64 {
    metric(lb.admin(), "lb_runner_attempts_total", &[&runner.to_string(), "outcome=\"committed\""]).await
}

/// Waits until a runner takes calls again, and says how long that took.
async fn is_used_again(lb: &Running, runner: SocketAddr) -> Duration {
    let (began, before) = (Instant::now(), committed_on(lb, runner).await);
    eventually("the runner that came back takes calls", || async { (committed_on(lb, runner).await > before).then_some(()) })
        .await;
    began.elapsed()
}

// W6, W7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_dies_or_stops_costs_only_what_ran_there_and_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut runners: Vec<Running> = (0..8).map(|_| runner(2)).collect();
    let tables = format!("{QUICK_HEALTH}[placement]\nplacer = \"least-loaded\"\nattempt_timeout = \"1s\"\n{}", job("job", "cat"));
    let lb = over(directory.path(), &runners, &tables);
    let load = Load::begin(&lb, "/invoke/job", 4);
    let address = runners[3].runner();
    eventually("the runner takes calls", || async { (committed_on(&lb, address).await > 0.0).then_some(()) }).await;

    runners[3].kill();
    lb.log_line(&["runner ejected", &address.to_string()]);
    runners[3] = runner_with(2, &["--listen", &address.to_string()]);
    let took = is_used_again(&lb, address).await;
    println!("a killed runner was used again {took:?} after it listened again");

    let stopped = runners[5].runner();
    eventually("the runner takes calls", || async { (committed_on(&lb, stopped).await > 0.0).then_some(()) }).await;
    runners[5].signal(Signal::SIGSTOP);
    lb.log_line(&["runner ejected", &stopped.to_string()]);
    runners[5].signal(Signal::SIGCONT);
    let took = is_used_again(&lb, stopped).await;
    println!("a stopped runner was used again {took:?} after it went on");

    let (answered, failed) = load.end().await;
    println!("{answered} calls, {} failed with what ran on the two runners", failed.len());
    // A call that ran where the runner died is lost, and says where; nothing else fails.
    for answer in &failed {
        let message: Value = serde_json::from_slice(&answer.body).unwrap();
        let said = message["message"].as_str().unwrap();
        assert!([address, stopped].iter().any(|runner| said.contains(&runner.to_string())), "{said}");
        assert!(matches!(answer.header("runpool-outcome"), "runner_reset" | "runner_timeout"), "{said}");
    }
    assert!(failed.len() <= 4, "no more can have run there: {failed:?}");
}

// W16.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_function_go_where_it_is_warm() {
    let directory = tempfile::tempdir().unwrap();
    let runners = [runner(2), runner(2), runner(2)];
    let tables = format!("[placement]\nplacer = \"delay-pull\"\n{}{}{}", worker("a"), worker("b"), worker("c"));
    let lb = over(directory.path(), &runners, &tables);
    for function in ["a", "b", "c"] {
        let target = format!("/invoke/{function}");
        let first = call(lb.front(), &target).header("runpool-explain", 1).send().await.ok();
        assert!(first.header("runpool-explained").contains("start=cold"), "{first:?}");
        for _ in 0..20 {
            let next = call(lb.front(), &target).header("runpool-explain", 1).send().await.ok();
            let explained = next.header("runpool-explained");
            assert!(explained.contains("reason=warm") && explained.contains("start=warm"), "{explained}");
            assert_eq!(next.header("x-pid"), first.header("x-pid"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let runners = [runner(1)];
    let lb = over(directory.path(), &runners, &format!("[placement]\nmax_waiting = 1\n{}", worker("f")));
    let meeting = Meeting::new().await;
    let holder = call(lb.front(), "/invoke/f").header("x-meet", meeting.port).start();
    let guest = meeting.guest().await;
    let leaving = call(lb.front(), "/invoke/f").start();
    so_many_wait(&lb, 1.0).await;
    let full = call(lb.front(), "/invoke/f").header("runpool-explain", 1).send().await;
    assert!(full.problem(503, "overloaded").contains("as many calls wait"));
    let explained = full.header("runpool-explained");
    assert!(explained.contains("reason=queue-full") && explained.contains("with-room=0"), "{explained}");
    leaving.abort();
    so_many_wait(&lb, 0.0).await;
    let next = call(lb.front(), "/invoke/f").body("next").start();
    so_many_wait(&lb, 1.0).await;
    guest.release().await;
    assert_eq!(next.await.unwrap().ok().text(), "next");
    holder.await.unwrap().ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_call_keeps_its_slot_after_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let runners = [runner(1)];
    // No question about its health that would tell it anyway.
    let lb = over(directory.path(), &runners, &format!("[pool.health]\ninterval = \"1h\"\n{}", worker("f")));
    let meeting = Meeting::new().await;
    let detached = call(lb.front(), "/invoke/f").header("fn-invoke-type", "detached").header("x-meet", meeting.port).send().await;
    assert_eq!(detached.status.as_u16(), 202);
    let guest = meeting.guest().await;
    let next = call(lb.front(), "/invoke/f").body("next").start();
    so_many_wait(&lb, 1.0).await;
    assert_eq!(refusals(&lb).await, 0.0, "the slot is known to be taken");
    guest.release().await;
    assert_eq!(next.await.unwrap().ok().text(), "next");
    assert_eq!(metric(lb.admin(), "lb_placer_room_questions_total", &["result=\"granted\""]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_live_placement_is_decided_the_same_again() {
    for placer in ["delay-pull", "p2c", "ring-bounded"] {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("placement.jsonl");
        let mut runners = vec![runner(1), runner(1), runner(2)];
        let tables = format!(
            "{QUICK_HEALTH}[placement]\nplacer = \"{placer}\"\nrecord = '{}'\n{}{}",
            record.display(),
            worker("f"),
            job("job", "sleep 0.05; cat")
        );
        let mut lb = over(directory.path(), &runners, &tables);
        let calls: Vec<_> = (0..40)
            .map(|number| {
                let target = if number % 2 == 0 { "/invoke/f" } else { "/invoke/job" };
                call(lb.front(), target).header("runpool-hint", number % 3).body("x").start()
            })
            .collect();
        runners[0].kill();
        for call in calls {
            // What ran on the killed runner is lost, which is part of the record.
            call.await.unwrap();
        }
        lb.signal(Signal::SIGTERM);
        lb.wait();
        let replayed = run(&["sim", "--replay", record.to_str().unwrap()]);
        let said = text(&replayed.stdout);
        println!("{placer}: {}", said.trim());
        assert!(replayed.status.success() && said.contains(" 0 with a difference"), "{said}{}", text(&replayed.stderr));
        let steps = std::fs::read_to_string(&record).unwrap();
        assert!(steps.contains("\"step\":\"wait\"") && steps.contains("\"step\":\"try\""), "nothing waited");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_a_hint_stay_on_the_homes_of_their_hint() {
    let directory = tempfile::tempdir().unwrap();
    let runners: Vec<Running> = (0..5).map(|_| runner(2)).collect();
    let lb = over(directory.path(), &runners, &format!("[placement]\nplacer = \"ch\"\n{}", worker("f")));
    let mut homes = BTreeSet::new();
    for hint in ["red", "green", "blue", "yellow", "white", "black"] {
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        for _ in 0..5 {
            let answer =
                call(lb.front(), "/invoke/f").header("runpool-hint", hint).header("runpool-explain", 1).send().await.ok();
            let explained = answer.header("runpool-explained");
            let home = explained.split(", ").find_map(|part| part.strip_prefix("runner=")).unwrap();
            seen.insert(home.to_owned());
            all.push(explained.to_owned());
        }
        assert_eq!(seen.len(), 1, "{hint}: {all:?}");
        homes.extend(seen);
    }
    assert!(homes.len() > 1, "all hints have the same home: {homes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_call_went_where_it_went_is_told_to_client_operator_and_program() {
    let directory = tempfile::tempdir().unwrap();
    let runners = [runner(2)];
    let lb =
        over(directory.path(), &runners, &format!("[admin]\nexplained_calls = 2\n[placement]\nplacer = \"ch\"\n{}", worker("f")));
    let (address, admin) = (runners[0].runner(), format!("http://{}", lb.admin()));
    let answer = call(lb.front(), "/invoke/f").header("runpool-explain", 1).send().await.ok();
    let explained = answer.header("runpool-explained");
    for part in
        ["placer=ch", "reason=home", &format!("runner={address}"), "candidates=\"", "waited=0.0ms", "attempts=1", "start=cold"]
    {
        assert!(explained.contains(part), "no `{part}` in {explained}");
    }
    let smooth = call(lb.front(), "/invoke/f").send().await.ok();
    assert_eq!(smooth.header("runpool-explained"), "", "nobody asked");

    let id = answer.header("fn-call-id").to_owned();
    let document: Value = serde_json::from_str(get(lb.admin(), &format!("/v1/calls/{id}/placement")).await.text()).unwrap();
    assert_eq!((&document["runner"], &document["function"]), (&Value::from(address.to_string()), &Value::from("f")));
    let told = run(&["explain", &id, "--admin", &admin]);
    assert!(told.status.success() && text(&told.stdout).contains(&format!("runner         {address}")), "{told:?}");
    let json: Value = serde_json::from_slice(&run(&["explain", &id, "--admin", &admin, "--output", "json"]).stdout).unwrap();
    assert_eq!(json, document);

    for _ in 0..2 {
        call(lb.front(), "/invoke/f").send().await.ok();
    }
    // Not pushed out by calls that went smoothly, as it began cold.
    assert!(run(&["explain", &id, "--admin", &admin]).status.success());
    let forgotten = run(&["explain", smooth.header("fn-call-id"), "--admin", &admin]);
    assert_eq!(forgotten.status.code(), Some(1));
    assert!(text(&forgotten.stderr).contains("not among the last"), "{forgotten:?}");
    assert_eq!(get(lb.admin(), "/v1/calls/nonsense/placement").await.status.as_u16(), 400);
}
