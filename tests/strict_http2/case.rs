//! One case of HTTP/2, and its judge.

#![allow(unreachable_pub, reason = "the public face of a module of tests")]

use crate::support::arrival::{Arrival, shown};
pub use crate::support::bench::Bench;
use crate::support::frames::{END_STREAM, Frames, block, head};
use crate::support::recorder::SENTINEL;
use crate::support::wire::Ended;

/// One way in which a case may end.
#[derive(Clone, Debug)]
enum Want {
    /// One of these statuses, and nothing arrives.
    Refused(Vec<u16>),
    /// The stream is reset, or the connection ended, and nothing arrives.
    Broken,
    /// The connection is ended.
    Ended,
    /// This arrives and is answered with one of these statuses.
    Passes(Vec<u16>, Arrival),
    /// The beginning of this arrives, and nobody gets a 2xx for it.
    Cut(Arrival),
}

/// Frames of a client after its preface and its settings, and how that may end. What is judged is stream 1.
pub struct Case {
    name: &'static str,
    source: &'static str,
    frames: Vec<u8>,
    wants: Vec<Want>,
}

/// A case with this name, about this section (`9113 8.1`), in which a client sends these frames.
pub fn case(name: &'static str, source: &'static str, frames: impl Into<Vec<u8>>) -> Case {
    Case { name, source, frames: frames.into(), wants: Vec::new() }
}

/// A case in which a client opens a stream with this head and no body.
pub fn asks<N: AsRef<[u8]>, V: AsRef<[u8]>>(name: &'static str, source: &'static str, fields: &[(N, V)]) -> Case {
    case(name, source, head(1, END_STREAM, &block(fields)))
}

impl Case {
    /// May end so: one of these statuses.
    pub fn refused(mut self, statuses: &[u16]) -> Self {
        self.wants.push(Want::Refused(statuses.to_vec()));
        self
    }

    /// May end so: a stream error or a connection error.
    pub fn broken(mut self) -> Self {
        self.wants.push(Want::Broken);
        self
    }

    /// May end so: what RFC 9113 section 8.1.1 calls malformed is a stream error, and a server may answer before (400).
    pub fn malformed(self) -> Self {
        self.refused(&[400]).broken()
    }

    /// May end so: a connection error.
    pub fn ends(mut self) -> Self {
        self.wants.push(Want::Ended);
        self
    }

    /// May end so: this is the first line at the runner.
    pub fn passes(mut self, line: &'static str) -> Self {
        self.wants.push(Want::Passes(vec![200], Arrival::new(line)));
        self
    }

    /// May end so: the beginning arrives and is cut.
    pub fn cut(mut self, line: &'static str) -> Self {
        self.wants.push(Want::Cut(Arrival { is_whole: false, ..Arrival::new(line) }));
        self
    }

    fn arrival(&mut self) -> &mut Arrival {
        match self.wants.last_mut().unwrap() {
            Want::Passes(_, arrival) | Want::Cut(arrival) => arrival,
            other => panic!("{other:?} has no arrival"),
        }
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

    /// What arrives has this name not in its head; in its trailers it may.
    pub fn without_head(mut self, name: &'static str) -> Self {
        self.arrival().without_head.push(name);
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
}

/// Judges every case, and tells all that failed at once.
#[track_caller]
pub fn judge(bench: &Bench, cases: Vec<Case>) {
    let count = cases.len();
    let failures: Vec<String> = cases.into_iter().filter_map(|case| failure(bench, &case)).collect();
    assert!(failures.is_empty(), "{} of {count} cases failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

fn failure(bench: &Bench, case: &Case) -> Option<String> {
    println!("{} ({})", case.name, case.source);
    bench.runner.take();
    let mut client = Frames::connect(bench.lb.front(), &[]);
    client.send(&case.frames);
    let stream = client.outcome(1);
    let sentinel = bench.sentinel();
    let mut arrived = bench.runner.take();
    arrived.retain(|arrived| !arrived.target().starts_with(SENTINEL));
    let status = stream.statuses.last().copied();
    let is_ended = client.ended.is_some_and(|ended| ended != Ended::Silent);
    let is_broken = stream.reset.is_some() || is_ended || client.goaway.is_some();
    let differs = |want: &Want| match want {
        Want::Refused(statuses) if status.is_some_and(|status| statuses.contains(&status)) && arrived.is_empty() => None,
        Want::Broken if is_broken && status.is_none() && arrived.is_empty() => None,
        Want::Ended if is_ended || client.goaway.is_some() => None,
        Want::Passes(statuses, arrival) if stream.is_whole && status.is_some_and(|status| statuses.contains(&status)) => {
            match arrived.as_slice() {
                [one] => arrival.differs(one),
                _ => Some(format!("wanted one request at the runner, there came {}", shown(&arrived))),
            }
        }
        Want::Cut(arrival) if (is_broken && status.is_none()) || status.is_some_and(|status| status >= 400) => {
            match arrived.as_slice() {
                [one] => arrival.differs(one),
                _ => Some(format!("wanted a cut request at the runner, there came {}", shown(&arrived))),
            }
        }
        want => Some(format!(
            "wanted {want:?}, got {:?} reset {:?} goaway {:?} ended {:?} {:?}; at the runner: {}",
            stream.statuses,
            stream.reset,
            client.goaway,
            client.ended,
            String::from_utf8_lossy(&stream.body),
            shown(&arrived)
        )),
    };
    let mut reasons: Vec<String> = Vec::new();
    let differences: Vec<Option<String>> = case.wants.iter().map(differs).collect();
    if differences.iter().all(Option::is_some) {
        reasons.extend(differences.into_iter().flatten());
    }
    reasons.extend(arrived.iter().filter_map(|one| one.fault.as_ref()).map(|fault| format!("malformed at the runner: {fault}")));
    reasons.extend(sentinel.err());
    (!reasons.is_empty()).then(|| format!("{} ({})\n  {}", case.name, case.source, reasons.join("\n  ")))
}
