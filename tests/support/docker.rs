//! A Docker of the test's own: daemon, containers, networks and firewall rules in namespaces that go with the test.
//!
//! What the containers publish is in the daemon's network namespace only ([`PrivateDocker::inside`]), so that the fixed ports of a
//! compose file are free there. Needs root, and Debian's `docker.io` and `debootstrap`.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The daemon is killed with everything in it when this is dropped, or the test dies.
pub(crate) struct PrivateDocker {
    /// `unshare`, whose child is the first process of the namespaces.
    daemon: Child,
    directory: TempDir,
    cgroup: String,
}

/// How long anything may take before it hangs. Never a measure of speed.
const HANG: Duration = Duration::from_secs(120);

/// Between two looks at something that tells nobody when it changes.
const POLL: Duration = Duration::from_millis(50);

impl PrivateDocker {
    /// Starts the daemon and waits until it answers.
    pub(crate) fn start() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "a Docker of one's own wants root: sudo -E tests/run --test compose");
        // The path of a socket is short.
        let directory = tempfile::Builder::new().prefix("runpool-docker-").tempdir_in("/tmp").unwrap();
        let path = |name: &str| directory.path().join(name);
        let cgroup = format!("runpool-test-{}", std::process::id());
        let log = File::create(path("log")).unwrap();
        let daemon = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            // The shell stays the first process of the namespace: it takes the ends of those whose parents are gone.
            .args(["sh", "-c", "ip link set lo up && dockerd \"$@\" & wait", "sh"])
            .args(["--cgroup-parent", &format!("/{cgroup}"), "--data-root"])
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(format!("unix://{}", path("docker.sock").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut docker = Self { daemon, directory, cgroup };
        let socket = docker.directory.path().join("docker.sock");
        let until = Instant::now() + HANG;
        while UnixStream::connect(&socket).is_err() {
            let ended = docker.daemon.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "no daemon ({ended:?}):\n{}", docker.log());
            std::thread::sleep(POLL);
        }
        docker
    }

    /// A client of this daemon: `docker` or `docker-compose`.
    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.directory.path().join("docker.sock").display()))
            // Nothing of the user's: no contexts, no credentials.
            .env("DOCKER_CONFIG", self.directory.path());
        command
    }

    /// A program where the containers' published ports are.
    pub(crate) fn inside(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.daemon.id())).arg(program).args(arguments);
        command
    }

    /// Runs `docker` with these arguments to its end; what it printed.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.run(&mut self.client("docker", arguments))
    }

    /// Runs a command to its end; what it printed. The test fails if it fails.
    pub(crate) fn run(&self, command: &mut Command) -> String {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(
            output.status.success(),
            "{command:?} ended with {}:\n{stdout}{stderr}\nthe daemon's log:\n{}",
            output.status,
            self.log()
        );
        stdout
    }

    /// Makes the image that Docker Hub has as `debian:bookworm-slim`, from Debian's packages.
    pub(crate) fn make_debian(&self) {
        let archive = debian();
        self.docker(&["import", archive.to_str().unwrap(), "debian:bookworm-slim"]);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PrivateDocker {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // The kernel empties the groups as it ends their processes: soon, but not at once.
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let roots = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|hierarchy| hierarchy.join(&self.cgroup));
        let until = Instant::now() + HANG;
        for root in roots {
            while root.exists() && !remove_groups(&root) && Instant::now() < until {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// Removes control groups from the leaves up; whether all are gone.
fn remove_groups(root: &Path) -> bool {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    std::fs::remove_dir(root).is_ok()
}

/// A root file system of Debian as a tar archive: made once, kept between runs.
fn debian() -> PathBuf {
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-bookworm-slim.tar");
    if archive.exists() {
        return archive;
    }
    let directory = tempfile::tempdir().unwrap();
    let part = archive.with_extension(format!("tar.{}", std::process::id()));
    // In memory, since dpkg waits for the disk after every package.
    let script = "set -e
        mount -t tmpfs tmpfs \"$1\"
        debootstrap --variant=minbase bookworm \"$1\"
        tar -C \"$1\" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc/*' \
            --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./var/log/*' --exclude='./dev/*' -cf \"$2\" .";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([directory.path(), &part])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "debootstrap: {text}{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&part, &archive).unwrap();
    archive
}
