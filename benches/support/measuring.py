"""What the comparing benches share: processes on their own processors, what they cost, and the load on them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target")
RUNPOOL = os.path.abspath(os.environ.get("RUNPOOL", f"{TARGET}/dist/runpool"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    deadline = time.time() + 20
    while time.time() < deadline:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def tree(pid):
    """The process and all below it."""
    pids = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as f:
            for child in f.read().split():
                pids += tree(int(child))
    return pids


def cpu_seconds(pid, below=True):
    """User and system time of the process, and of those below it."""
    total = 0
    for each in tree(pid) if below else [pid]:
        with open(f"/proc/{each}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def on(processor, command):
    """The command, on one processor alone."""
    return ["taskset", "-c", str(processor), *command]


def temporary(directory):
    """nginx's folders for bodies: its own belong to another user where it was never started as root."""
    return " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def backend(directory, ports):
    servers = "\n".join(f'server {{ listen 127.0.0.1:{p}; keepalive_requests 100000000; location / {{ return 200 "ok\\n"; }} }}' for p in ports)
    path = f"{directory}/backend.conf"
    with open(path, "w") as f:
        f.write(f"worker_processes 1; daemon off; pid {directory}/backend.pid; error_log /dev/null;\n"
                f"events {{ worker_connections 4096; }} http {{ access_log off; {temporary(directory)} {servers} }}\n")
    return ["nginx", "-c", path, "-e", "/dev/null"]


def runpool(directory, port, ports):
    path = f"{directory}/runpool.toml"
    runners = ", ".join(f'"127.0.0.1:{p}"' for p in ports)
    with open(path, "w") as f:
        f.write(f'[front]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:0"\n'
                f'[pool]\nprotocol = "plain"\nrunners = [{runners}]\n[[route]]\npath = "/"\nfunction = "web"\nforward = "as-is"\n'
                f'[[function]]\nname = "web"\n')
    return [RUNPOOL, "lb", "--config", path, "--workers", "1"]


def wrk(port, seconds, directory, method="POST", path="/", connections=64):
    """One run of wrk on processor 1: requests per second, requests, and how many failed."""
    post = f"{directory}/post.lua"
    with open(post, "w") as f:
        f.write('wrk.method = "POST"\nwrk.body = string.rep("x", 256)\n')
    script = ["-s", post] if method == "POST" else []
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", *script, f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(on(1, command), capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {"requests_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), "requests": int(re.search(r"(\d+) requests in", out).group(1)),
            "failed": int(errors.group(1)) if errors else 0}


# Tools that are in a Debian package of another name.
PACKAGES = {"h2load": "nghttp2-client", "taskset": "util-linux"}


def needs(*tools):
    os.environ["PATH"] += ":/usr/sbin"
    for tool in tools:
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install {' '.join(PACKAGES.get(each, each) for each in tools)}")
    if not os.access(RUNPOOL, os.X_OK):
        sys.exit(f"there is no {RUNPOOL}: .ci/dist makes it, and RUNPOOL names another")
    if "taskset" in tools and len(os.sched_getaffinity(0)) < 2:
        sys.exit("two processors are needed: one for what is measured, one for the load")
