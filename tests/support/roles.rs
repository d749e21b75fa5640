//! Balancers and runners of one test, and the configuration they share.

use std::net::SocketAddr;
use std::path::Path;

use super::{Running, start, write};

/// A `[[function]]` of the Fn contract that does what the call's headers ask for: see `tests/fixtures/worker.py`. More of its table may follow.
pub fn worker(name: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/worker.py");
    format!(
        "[[function]]\nname = \"{name}\"\ncommand = [\"python3\", \"-S\", \"-E\", \"{script}\"]\ninit_timeout = \"60s\"\nmemory = \"64MiB\"\n"
    )
}

/// A `[[function]]` that runs a script of the shell for each call. More of its table may follow.
pub fn job(name: &str, script: &str) -> String {
    format!(
        "[[function]]\nname = \"{name}\"\nformat = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\nmemory = \"16MiB\"\n"
    )
}

/// `[pool]` with these runners. More of its table may follow.
pub fn pool(runners: &[SocketAddr]) -> String {
    let runners: Vec<String> = runners.iter().map(|runner| format!("\"{runner}\"")).collect();
    format!("[pool]\nrunners = [{}]\n", runners.join(", "))
}

/// A balancer with this configuration, on free ports; `file` in `directory` is its configuration.
pub fn lb(directory: &Path, configuration: &str) -> Running {
    lb_with(directory, configuration, &[])
}

/// The same with more arguments.
pub fn lb_with(directory: &Path, configuration: &str, arguments: &[&str]) -> Running {
    let file = write(directory, LB_FILE, configuration);
    let own = ["lb", "--config", &file, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--announce"];
    start(&[&own[..], arguments].concat())
}

/// The configuration of [`lb`], in its directory.
pub const LB_FILE: &str = "lb.toml";

/// An agent with so many slots on a free port. It learns its functions from balancers.
pub fn runner(slots: u32) -> Running {
    runner_with(slots, &[])
}

/// The same with more arguments. An address among them must be free.
pub fn runner_with(slots: u32, arguments: &[&str]) -> Running {
    let slots = slots.to_string();
    let own = ["runner", "--slots", &slots, "--announce"];
    let listen: &[&str] = if arguments.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    start(&[&own[..], listen, arguments].concat())
}

impl Running {
    /// A balancer's address for clients.
    pub fn front(&self) -> SocketAddr {
        self.address("front")
    }

    /// A balancer's address for operators.
    pub fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// An agent's address.
    pub fn runner(&self) -> SocketAddr {
        self.address("address")
    }

    /// The mark of everything that an agent has started, for [`super::processes_with`].
    pub fn mark(&self) -> String {
        format!("RUNPOOL_INCARNATION={}", self.announced["incarnation"].as_str().expect("an agent announces its incarnation"))
    }
}
