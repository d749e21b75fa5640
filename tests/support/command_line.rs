//! The program as a shell starts it: its output, its log, its exit code; and peers that answer by the line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `runpool` with these arguments and nothing of our own environment.
pub fn runpool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runpool"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    runpool(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// A process that serves. Killed when a test fails.
pub struct Process {
    pub child: Child,
    pub output: BufReader<ChildStdout>,
    pub log: BufReader<ChildStderr>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(runpool(arguments).args(["--set", "telemetry.log_format=json"]))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, output, log }
    }

    /// The next line of its output that contains `part`.
    pub fn line(&mut self, part: &str) -> String {
        line_with(&mut self.output, part)
    }

    /// The next line of its log that contains `part`.
    pub fn logged(&mut self, part: &str) -> serde_json::Value {
        serde_json::from_str(&line_with(&mut self.log, part)).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end; the code.
    pub fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn line_with(reader: &mut impl std::io::BufRead, part: &str) -> String {
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
pub fn get(address: &str, path: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// Answers one request with `answer`; the request is handed back.
pub fn server(answer: impl Into<String>) -> (String, JoinHandle<String>) {
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

pub fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

/// `up` on free ports, its front and its runners' addresses.
pub fn up(arguments: &[&str]) -> (Process, String, Vec<String>) {
    let own = ["up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(&[&own[..], arguments].concat());
    let front = process.line("front").split("http://").nth(1).unwrap().trim().to_owned();
    let runners =
        process.line("runners").split_whitespace().filter(|word| word.contains(':')).map(|word| word.replace(',', "")).collect();
    (process, front, runners)
}

/// `lb` on free ports, and its admin address.
pub fn lb(arguments: &[&str]) -> (Process, String, String) {
    let own = ["lb", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(&[&own[..], arguments].concat());
    let listening = process.logged("\"listening\"");
    let address = |name: &str| listening[name].as_str().unwrap().to_owned();
    let (front, admin) = (address("front"), address("admin"));
    (process, front, admin)
}

pub fn file_with(directory: &Path, content: &str) -> String {
    let file = directory.join("c.toml");
    std::fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}
