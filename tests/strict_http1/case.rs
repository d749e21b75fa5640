//! One case, and the bench that judges it.

#![allow(unreachable_pub, reason = "the public face of a module of tests")]

use crate::support::arrival::{Arrival, Shown, shown};
use crate::support::recorder::{AGAIN, Arrived, SENTINEL};
use crate::support::wire::{Answer, Ended, Fault, Wire};

/// Instead of a status: the connection ended without an answer.
pub const SILENT: u16 = 0;

/// What the client's connection is good for after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is closed, and nothing more comes over it.
    Closed,
    /// It answers the next request.
    Open,
    /// One of the two.
    Either,
    /// What follows on it is refused with 400, and then it is closed.
    Refuses,
}

/// One way in which a case may end.
#[derive(Clone, Debug)]
pub struct Want {
    statuses: Vec<u16>,
    after: After,
    arrival: Option<Arrival>,
}

/// Bytes from a client, and how that may end.
pub struct Case {
    name: &'static str,
    source: &'static str,
    pieces: Vec<Vec<u8>>,
    ends_there: bool,
    wants: Vec<Want>,
}

/// A case with this name, about this section (`9112 5.1`), in which a client sends these bytes.
pub fn case(name: &'static str, source: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name, source, pieces: vec![bytes.into()], ends_there: false, wants: Vec::new() }
}

/// `GET /x` with `Host: a` and these further lines, each with its CR LF.
pub fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nhost: a\r\n{lines}\r\n")
}

/// `POST /x` with `Host: a`, these further lines, each with its CR LF, and this body.
pub fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nhost: a\r\n{lines}\r\n{body}")
}

impl Case {
    /// Sends each byte by itself.
    pub fn byte_by_byte(mut self) -> Self {
        self.pieces = self.pieces.concat().into_iter().map(|byte| vec![byte]).collect();
        self
    }

    /// The client closes its side after the bytes.
    pub fn then_ends(mut self) -> Self {
        self.ends_there = true;
        self
    }

    /// May end so: one of these statuses, and nothing arrives at the runner.
    pub fn refused(mut self, statuses: &[u16]) -> Self {
        self.wants.push(Want { statuses: statuses.to_vec(), after: After::Either, arrival: None });
        self
    }

    /// May end so: the runner gets one request with this first line, and its 200 goes to the client.
    pub fn passes(mut self, line: &'static str) -> Self {
        self.wants.push(Want { statuses: vec![200], after: After::Open, arrival: Some(Arrival::new(line)) });
        self
    }

    /// The last way is only this if the client's connection is closed.
    pub fn closed(self) -> Self {
        self.after(After::Closed)
    }

    /// The last way is only this if the client's connection answers another request.
    pub fn open(self) -> Self {
        self.after(After::Open)
    }

    /// The last way is this whatever becomes of the client's connection.
    pub fn either(self) -> Self {
        self.after(After::Either)
    }

    /// The last way is only this if what follows on the client's connection is refused.
    pub fn refuses_the_rest(self) -> Self {
        self.after(After::Refuses)
    }

    fn after(mut self, after: After) -> Self {
        self.wants.last_mut().unwrap().after = after;
        self
    }

    fn arrival(&mut self) -> &mut Arrival {
        self.wants.last_mut().and_then(|want| want.arrival.as_mut()).unwrap()
    }

    /// The client's status may be one of these.
    pub fn answered(mut self, statuses: &[u16]) -> Self {
        self.wants.last_mut().unwrap().statuses = statuses.to_vec();
        self
    }

    /// What arrives has these fields, each exactly so.
    pub fn with(mut self, lines: &[&'static str]) -> Self {
        self.arrival().with.extend(lines);
        self
    }

    /// What arrives has no field of these names.
    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.arrival().without.extend(names);
        self
    }

    /// What arrives has no trailers of these names.
    pub fn without_trailers(mut self, names: &[&'static str]) -> Self {
        self.arrival().without_trailers.extend(names);
        self
    }

    /// No field that arrives has these texts in its value.
    pub fn never(mut self, texts: &[&'static str]) -> Self {
        self.arrival().never.extend(texts);
        self
    }

    /// What arrives has this body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.arrival().body = Some(bytes.into());
        self
    }

    /// What arrives is cut before its end.
    pub fn cut(mut self) -> Self {
        self.arrival().is_whole = false;
        self
    }

    fn method(&self) -> String {
        let bytes = self.pieces.concat();
        let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(0);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

pub use crate::support::bench::Bench;

impl Bench {
    /// Judges every case, and tells all that failed at once.
    #[track_caller]
    pub fn judge(&self, cases: Vec<Case>) {
        let count = cases.len();
        let failures: Vec<String> = cases.into_iter().filter_map(|case| self.failure(&case)).collect();
        assert!(failures.is_empty(), "{} of {count} cases failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
    }

    fn failure(&self, case: &Case) -> Option<String> {
        println!("{} ({})", case.name, case.source);
        let outcome = self.run(case);
        self.runner.answer_fine();
        let reasons: Vec<String> = match outcome {
            Ok(outcome) => {
                let reasons: Vec<Option<String>> = case.wants.iter().map(|want| outcome.differs(want)).collect();
                if reasons.iter().any(Option::is_none) && outcome.faults.is_empty() {
                    return None;
                }
                reasons.into_iter().flatten().chain(outcome.faults).collect()
            }
            Err(broken) => vec![broken],
        };
        Some(format!("{} ({})\n  sent {:?}\n  {}", case.name, case.source, Shown(&case.pieces.concat()), reasons.join("\n  ")))
    }

    /// What comes of a case.
    fn run(&self, case: &Case) -> Result<Outcome, String> {
        self.runner.take();
        let mut wire = self.connect();
        for piece in &case.pieces {
            // Who was refused may be told so before everything was sent.
            if !wire.send(piece) {
                break;
            }
        }
        if case.ends_there {
            wire.half_close();
        }
        let answer = match wire.answer(&case.method()) {
            Ok(answer) => Some(answer),
            Err(Fault::Nothing(Ended::Closed | Ended::Reset)) => None,
            Err(fault) => return Err(format!("the client got no answer, but {fault:?}; at the runner: {}", self.shown())),
        };
        let wants_open = case.wants.iter().any(|want| matches!(want.after, After::Open | After::Either));
        let after = if answer.is_none() { Ok(After::Closed) } else { self.see_after(&mut wire, wants_open) };
        self.sentinel()?;
        let mut arrived = self.runner.take();
        arrived.retain(|arrived| !arrived.target().starts_with(SENTINEL) && !arrived.target().starts_with(AGAIN));
        let mut faults: Vec<String> = Vec::new();
        faults
            .extend(arrived.iter().filter_map(|one| one.fault.as_ref()).map(|fault| format!("malformed at the runner: {fault}")));
        Ok(Outcome { answer, after: after?, arrived, faults })
    }

    /// Whether the connection answers another request, or is closed.
    fn see_after(&self, wire: &mut Wire, wants_open: bool) -> Result<After, String> {
        if wants_open {
            wire.send(format!("GET {AGAIN} HTTP/1.1\r\nhost: a\r\n\r\n"));
            return match wire.answer("GET") {
                Ok(answer) if answer.status == 200 && answer.text() == "ok" => Ok(After::Open),
                Err(Fault::Nothing(Ended::Closed | Ended::Reset)) => Ok(After::Closed),
                other => Err(format!("the next request on the connection got {other:?}")),
            };
        }
        let refused = wire.answer("GET").ok().filter(|answer| answer.status == 400 && answer.is_whole);
        match wire.rest() {
            (bytes, Ended::Closed | Ended::Reset) if bytes.is_empty() && refused.is_some() => Ok(After::Refuses),
            (bytes, Ended::Closed | Ended::Reset) if bytes.is_empty() => Ok(After::Closed),
            (bytes, Ended::Silent) if bytes.is_empty() => Ok(After::Open),
            (bytes, ended) => Err(format!("after the answer came {:?} and {ended:?}", Shown(&bytes))),
        }
    }

    fn shown(&self) -> String {
        shown(&self.runner.arrived())
    }
}

/// What came of a case.
struct Outcome {
    answer: Option<Answer>,
    after: After,
    arrived: Vec<Arrived>,
    faults: Vec<String>,
}

impl Outcome {
    /// Why this is not what is wanted, if it is not.
    fn differs(&self, want: &Want) -> Option<String> {
        let status = self.answer.as_ref().map_or(SILENT, |answer| answer.status);
        if !want.statuses.contains(&status) {
            let body = self.answer.as_ref().map(Answer::text).unwrap_or_default();
            return Some(format!(
                "wanted status {:?}, got {status} {body:?}; at the runner: {}",
                want.statuses,
                shown(&self.arrived)
            ));
        }
        if self.answer.as_ref().is_some_and(|answer| !answer.is_whole) {
            return Some(format!("the answer with status {status} was cut"));
        }
        if want.after != After::Either && self.after != want.after {
            return Some(format!("wanted the connection to be {:?}, it is {:?}", want.after, self.after));
        }
        match (&want.arrival, self.arrived.as_slice()) {
            (None, []) => None,
            (Some(wanted), [arrived]) => wanted.differs(arrived),
            _ => Some(format!("status {status}, but at the runner: {}", shown(&self.arrived))),
        }
    }
}
