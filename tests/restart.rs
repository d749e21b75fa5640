//! Restarts under load: balancers and runners are replaced one after the other, and no client notices.
//!
//! Clients keep their connections and try nothing twice; every error counts, and there is none.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use command_fds::{CommandFdExt as _, FdMapping};
use http::Response;
use http_body_util::BodyExt as _;
use nix::sys::signal::Signal;
use support::http::{Version, full, get, plain};
use support::load::{Load, Summary};
use support::roles::{LB_FILE, lb, pool, runner, runner_with, worker};
use support::{Running, start, start_command, write};
use tokio::task::block_in_place;

/// Connections to a balancer that ends are told to close for so long.
const GRACE: &str = "[shutdown]\ngrace = \"300ms\"\n";
const CLIENTS: usize = 8;
/// Between one restart and the next.
const CALLS: usize = 40;

/// Two plain servers that answer with what they were sent, as a balancer has them in its configuration.
struct PlainServers {
    configuration: String,
    /// Calls that have reached them.
    arrived: Arc<AtomicUsize>,
}

impl PlainServers {
    const TARGET: &str = "/";

    async fn start() -> Self {
        let arrived = Arc::new(AtomicUsize::new(0));
        let server = || {
            let arrived = Arc::clone(&arrived);
            plain(move |request: http::Request<hyper::body::Incoming>| {
                arrived.fetch_add(1, Ordering::Relaxed);
                async {
                    let body = request.into_body().collect().await.map(|body| body.to_bytes());
                    Response::new(full(body.unwrap_or_default()))
                }
            })
        };
        let servers = [server().await, server().await];
        let route = "[[function]]\nname = \"web\"\n[[route]]\npath = \"/\"\nfunction = \"web\"\nforward = \"as-is\"\n";
        Self { configuration: format!("{}protocol = \"plain\"\n{route}", pool(&servers)), arrived }
    }

    /// Asserts that each call that has reached a server was answered, once.
    #[track_caller]
    fn saw_as_many_calls_as_were_answered(&self, summary: &Summary) {
        assert_eq!(self.arrived.load(Ordering::Relaxed), summary.answered, "{summary:?}");
    }
}

/// Ends it in order.
fn end(running: &mut Running) {
    running.signal(Signal::SIGTERM);
    // Waits for a process: off the threads that the load runs on.
    let status = block_in_place(|| running.wait());
    assert_eq!(status.code(), Some(0), "{}", running.log_text());
}

// === Processes that share an address (SO_REUSEPORT) ===

fn sharing(directory: &Path, configuration: &str, listen: SocketAddr) -> Running {
    let file = write(directory, LB_FILE, &format!("workers = 2\n[front]\nreuse_port = true\n{GRACE}{configuration}"));
    let listen = listen.to_string();
    start(&["lb", "--config", &file, "--listen", &listen, "--admin-listen", "127.0.0.1:0", "--announce"])
}

async fn two_balancers_are_restarted_in_turn(configuration: &str, target: &'static str, version: Version) -> Summary {
    let directory = tempfile::tempdir().unwrap();
    let first = sharing(directory.path(), configuration, "127.0.0.1:0".parse().unwrap());
    let front = first.front();
    let mut balancers = [first, sharing(directory.path(), configuration, front)];
    let load = Load::start(front, target, version, CLIENTS);
    load.goes_on(CALLS).await;
    for restart in 0..5 {
        let balancer = &mut balancers[restart % 2];
        end(balancer);
        load.goes_on(CALLS).await;
        *balancer = block_in_place(|| sharing(directory.path(), configuration, front));
        load.goes_on(CALLS).await;
    }
    let summary = load.end().await.without_error();
    println!("{summary:?}");
    assert!(summary.told_to_go > 0, "nobody was told to go elsewhere: {summary:?}");
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_that_share_an_address_are_restarted_in_turn_and_no_call_to_plain_servers_is_lost() {
    let servers = PlainServers::start().await;
    let summary = two_balancers_are_restarted_in_turn(&servers.configuration, PlainServers::TARGET, Version::Http1).await;
    servers.saw_as_many_calls_as_were_answered(&summary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_that_share_an_address_are_restarted_in_turn_and_no_call_to_agents_is_lost() {
    let runners = [runner(4), runner(4)];
    let configuration = format!("{}{}", pool(&[runners[0].runner(), runners[1].runner()]), worker("f"));
    two_balancers_are_restarted_in_turn(&configuration, "/invoke/f", Version::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_http2_are_told_to_go_elsewhere_and_lose_no_call() {
    let servers = PlainServers::start().await;
    let summary = two_balancers_are_restarted_in_turn(&servers.configuration, PlainServers::TARGET, Version::Http2).await;
    servers.saw_as_many_calls_as_were_answered(&summary);
}

// === Sockets that are passed (sd_listen_fds(3)) ===

/// A role that gets these sockets, under these names, as from systemd.
fn with_sockets(sockets: &[&TcpListener], names: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new("sh");
    // The process number that the sockets are for is known when the shell has one.
    command.args(["-c", "export LISTEN_PID=$$; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_runpool")]).args(arguments);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    let mapping =
        |(child_fd, socket): (i32, &&TcpListener)| FdMapping { parent_fd: socket.try_clone().unwrap().into(), child_fd };
    command.fd_mappings((3..).zip(sockets).map(mapping).collect()).unwrap();
    start_command(command)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_on_a_passed_socket_is_restarted_and_no_call_and_no_connection_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let servers = PlainServers::start().await;
    let file = write(directory.path(), LB_FILE, &format!("workers = 2\n{GRACE}{}", servers.configuration));
    let (front, admin) = (listener(), listener());
    let start = || with_sockets(&[&admin, &front], "admin:front", &["lb", "--config", &file, "--announce"]);
    let mut lb = start();
    assert_eq!((lb.front(), lb.admin()), (front.local_addr().unwrap(), admin.local_addr().unwrap()));
    let load = Load::start(lb.front(), PlainServers::TARGET, Version::Http1, CLIENTS);
    for _ in 0..5 {
        load.goes_on(CALLS).await;
        // While nobody runs, connections wait.
        end(&mut lb);
        lb = block_in_place(start);
    }
    load.goes_on(CALLS).await;
    assert_eq!(get(lb.admin(), "/livez").await.status.as_u16(), 200);
    let summary = load.end().await.without_error();
    println!("{summary:?}");
    assert!(summary.told_to_go > 0, "nobody was told to go elsewhere: {summary:?}");
    servers.saw_as_many_calls_as_were_answered(&summary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_and_up_listen_on_sockets_that_are_passed_without_names() {
    let (own, front, admin) = (listener(), listener(), listener());
    let runner = with_sockets(&[&own], "", &["runner", "--slots", "1", "--announce"]);
    assert_eq!(runner.runner(), own.local_addr().unwrap());
    assert_eq!(get(runner.runner(), "/livez").await.status.as_u16(), 200);
    let up = with_sockets(&[&front, &admin], "runpool.socket:runpool.socket", &["up", "--runners", "1", "--announce"]);
    assert_eq!((up.front(), up.admin()), (front.local_addr().unwrap(), admin.local_addr().unwrap()));
    assert_eq!(get(up.front(), "/invoke/hello").await.ok().text(), "Hello, world!\n");
}

#[test]
fn passed_sockets_that_cannot_be_used_are_named() {
    let refused = |listen: &str, names: &str| {
        let socket = TcpListener::bind(listen).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runpool"));
        command.args(["lb", "--admin-listen", "127.0.0.1:0"]).env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", names);
        command.fd_mappings(vec![FdMapping { parent_fd: socket.into(), child_fd: 3 }]).unwrap();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let message = refused("0.0.0.0:0", "front");
    assert!(message.contains("error: the socket that was passed for the front (LISTEN_FDS) listens on 0.0.0.0:"), "{message}");
    let message = refused("127.0.0.1:0", "runner");
    assert!(message.contains("a socket was passed for `runner` (LISTEN_FDNAMES): expected one of `front`, `admin`"), "{message}");
}

// === Runners ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_restarted_in_turn_and_no_call_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let grace = ["--set", "shutdown.grace=300ms"];
    let mut runners = [runner_with(4, &grace), runner_with(4, &grace)];
    let addresses = [runners[0].runner(), runners[1].runner()];
    // As by default, the grace is longer than it takes until a runner's health is asked for.
    let health = "[pool.health]\ninterval = \"100ms\"\n";
    let lb = lb(directory.path(), &format!("{}{health}{}", pool(&addresses), worker("f")));
    let load = Load::start(lb.front(), "/invoke/f", Version::Http1, CLIENTS);
    load.goes_on(CALLS).await;
    for restart in 0..5 {
        let runner = &mut runners[restart % 2];
        end(runner);
        load.goes_on(CALLS).await;
        let address = addresses[restart % 2].to_string();
        *runner = block_in_place(|| runner_with(4, &["--listen", &address, grace[0], grace[1]]));
        load.goes_on(CALLS).await;
    }
    println!("{:?}", load.end().await.without_error());
}
