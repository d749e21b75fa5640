//! A runner that writes down every request as it came, judges its form, and answers with the bytes that the test wants.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::HANG;
use super::wire::{Fault, Fields, Framing, Head, Wire, framing};

/// One request that came to the runner.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Which connection it came over, from 0.
    pub connection: usize,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub framing: Framing,
    /// Whether its body came to its end.
    pub is_whole: bool,
    /// What a careful sender would not have written.
    pub fault: Option<String>,
}

impl Arrived {
    /// The target in its first line.
    pub fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or("")
    }

    pub fn field(&self, name: &str) -> String {
        self.head.fields.value(name)
    }
}

/// One thing that the runner does with a request, after its head.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads the body to its end.
    ReadBody,
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Sends every byte back, until the other side ends.
    Echo,
    /// Waits until the other side closes.
    WaitForClose,
    /// Waits until the test lets it go on: [`Recorder::go_on`].
    Hold,
}

/// Answered whatever the script is: what a test sends to see how things stand.
pub const SENTINEL: &str = "/sentinel";
/// The same on the connection that was tested.
pub const AGAIN: &str = "/again";

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[derive(Default)]
struct State {
    arrived: Vec<Arrived>,
    script: Vec<Step>,
    connections: usize,
    /// Connections that have ended.
    ended: usize,
    holds_let_go: usize,
}

/// A runner on a port of its own. It runs until the test program ends.
#[derive(Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = recorder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let one = serving.clone();
                std::thread::spawn(move || one.serve(&mut Wire::new(stream)));
            }
        });
        recorder.answer_fine();
        recorder
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
        result
    }

    /// What it does with every request from now on.
    pub fn script(&self, steps: Vec<Step>) {
        self.with(|state| state.script = steps);
    }

    /// Reads the body, then answers with these bytes.
    pub fn answer(&self, bytes: impl Into<Vec<u8>>) {
        self.script(vec![Step::ReadBody, Step::Write(bytes.into())]);
    }

    /// `200 ok` to everything.
    pub fn answer_fine(&self) {
        self.answer(FINE);
    }

    /// Lets one [`Step::Hold`] go on, the next one if none waits.
    pub fn go_on(&self) {
        self.with(|state| state.holds_let_go += 1);
    }

    /// Forgets what arrived and gives it.
    pub fn take(&self) -> Vec<Arrived> {
        self.with(|state| std::mem::take(&mut state.arrived))
    }

    pub fn arrived(&self) -> Vec<Arrived> {
        self.with(|state| state.arrived.clone())
    }

    /// Connections that were made so far, and how many of them have ended.
    pub fn connections(&self) -> (usize, usize) {
        self.with(|state| (state.connections, state.ended))
    }

    /// Waits until what arrived looks so.
    pub fn wait_until(&self, what: &str, looks_so: impl Fn(&[Arrived]) -> bool) {
        self.wait(what, |state| looks_so(&state.arrived));
    }

    /// Waits until so many connections have ended.
    pub fn wait_for_ends(&self, count: usize) {
        self.wait("the end of connections", |state| state.ended >= count);
    }

    fn wait(&self, what: &str, looks_so: impl Fn(&State) -> bool) {
        let (state, changed) = &*self.state;
        let until = Instant::now() + HANG;
        let mut state = state.lock().unwrap();
        while !looks_so(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "did not happen at the runner: {what}; there came {:?}", state.arrived);
            state = changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn hold(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        while state.holds_let_go == 0 {
            state = changed.wait(state).unwrap();
        }
        state.holds_let_go -= 1;
    }

    fn serve(&self, wire: &mut Wire) {
        let connection = self.with(|state| {
            state.connections += 1;
            state.connections - 1
        });
        while self.one(wire, connection) {}
        wire.close();
        self.with(|state| state.ended += 1);
    }

    /// Takes one request; false if it was the connection's last.
    fn one(&self, wire: &mut Wire, connection: usize) -> bool {
        let (head, framing, fault) = match wire.head() {
            Ok(head) => {
                let (framing, fault) = judge(&head);
                (head, framing, fault)
            }
            Err(Fault::Nothing(_)) => return false,
            Err(Fault::Cut(_)) => (Head::default(), Framing::None, Some("the head was cut".to_owned())),
            Err(Fault::Malformed(what)) => (Head::default(), Framing::None, Some(what)),
        };
        let is_bad = fault.is_some();
        let is_whole = framing == Framing::None;
        let arrived = Arrived { connection, head, body: Vec::new(), trailers: Fields::default(), framing, is_whole, fault };
        let is_asked_how_things_stand = arrived.target().starts_with(SENTINEL) || arrived.target().starts_with(AGAIN);
        let (number, script) = self.with(|state| {
            state.arrived.push(arrived);
            (state.arrived.len() - 1, state.script.clone())
        });
        if is_bad {
            return false;
        }
        let script = if is_asked_how_things_stand { vec![Step::ReadBody, Step::Write(FINE.into())] } else { script };
        let mut has_read = false;
        for step in script {
            match step {
                Step::ReadBody => {
                    has_read = true;
                    if !self.read_body(wire, framing, number) {
                        return false;
                    }
                }
                Step::Write(bytes) => {
                    if !wire.send(bytes) {
                        return false;
                    }
                }
                Step::Close => return false,
                Step::Echo => {
                    while let Ok(bytes) = wire.some() {
                        wire.send(bytes);
                    }
                    return false;
                }
                Step::WaitForClose => {
                    let (bytes, _) = wire.rest();
                    self.note(number, |arrived| arrived.body.extend(bytes));
                    return false;
                }
                Step::Hold => self.hold(),
            }
        }
        has_read || self.read_body(wire, framing, number)
    }

    fn read_body(&self, wire: &mut Wire, framing: Framing, number: usize) -> bool {
        let mut body = Vec::new();
        let end = wire.body(framing, &mut body);
        let is_fine = end.is_ok();
        self.note(number, |arrived| {
            arrived.body = body;
            match end {
                Ok(trailers) => (arrived.trailers, arrived.is_whole) = (trailers, true),
                Err(Fault::Malformed(what)) => arrived.fault = Some(what),
                Err(Fault::Cut(_) | Fault::Nothing(_)) => {}
            }
        });
        is_fine
    }

    fn note(&self, number: usize, change: impl FnOnce(&mut Arrived)) {
        // The test may have taken the list since.
        self.with(|state| state.arrived.get_mut(number).map(change));
    }
}

/// How the body of a request is framed, and what is wrong with its head (RFC 9112 sections 3 and 6).
fn judge(head: &Head) -> (Framing, Option<String>) {
    let parts: Vec<&str> = head.line.split(' ').collect();
    let is_line = matches!(parts.as_slice(), [method, target, "HTTP/1.1"]
        if !method.is_empty() && (target.starts_with('/') || *target == "*"));
    if !is_line {
        return (Framing::None, Some(format!("the request line {:?}", head.line)));
    }
    if head.fields.values("host").len() != 1 {
        return (Framing::None, Some(format!("hosts: {:?}", head.fields.values("host"))));
    }
    match framing(&head.fields, Framing::None) {
        Ok(Framing::Length(0)) => (Framing::None, None),
        Ok(framing) => (framing, None),
        Err(Fault::Malformed(what)) => (Framing::None, Some(what)),
        Err(Fault::Cut(ended) | Fault::Nothing(ended)) => (Framing::None, Some(format!("{ended:?}"))),
    }
}
