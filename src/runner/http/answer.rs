//! What is read out of an answer's head, and what of it reaches the client.

use std::str::FromStr;
use std::time::Duration;

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::arriving::Arriving;
use crate::protocol::headers::{LOAD, LOST, SERVER_TIMING, START};
use crate::protocol::{
    KnownField, KnownFields, LoadReport, LostWarm, ServerTiming, WorkerStart, remove_internal, remove_known_hop_by_hop,
};
use crate::runner::{CallError, Refused};

/// What is known beside an answer; in the extensions of an answer of which anything is. A plain server says nothing of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// How full the agent was.
    pub load: Option<LoadReport>,
    /// Whether its worker was warm.
    pub start: Option<WorkerStart>,
    /// The warm workers that the agent lost last.
    pub lost: Option<LostWarm>,
    /// Where the time went.
    pub timing: Option<ServerTiming>,
    /// How long the attempt waited for a connection to be made; zero if one was kept.
    pub connecting: Duration,
}

impl AnswerFacts {
    /// Takes out of an answer's head what an agent said for us alone; nonsense counts as nothing.
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        let timing = headers.get(SERVER_TIMING).cloned();
        Self::said(timing, |name| headers.remove(name))
    }

    /// Reads what an agent said; nonsense counts as nothing.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        Self::said(headers.get(SERVER_TIMING).cloned(), |name| headers.get(name).cloned())
    }

    fn said(timing: Option<HeaderValue>, mut field: impl FnMut(HeaderName) -> Option<HeaderValue>) -> Self {
        Self {
            load: parsed(field(LOAD)),
            start: parsed(field(START)),
            lost: parsed(field(LOST)),
            timing: timing.as_ref().and_then(|value| value.to_str().ok()).and_then(ServerTiming::parse),
            connecting: Duration::ZERO,
        }
    }
}

/// What a field says, if it is there and makes sense.
fn parsed<T: FromStr>(value: Option<HeaderValue>) -> Option<T> {
    value?.to_str().ok()?.parse().ok()
}

/// How one attempt ended, before it is counted.
pub(super) enum Ended {
    /// The call was answered.
    Answered(Response<Arriving>),
    /// It ran, or may have, and there is no answer of its function.
    Failed(CallError),
    /// It did not run.
    Refused(Refused),
}

/// Leaves of the headers what is for the client.
pub(super) fn clean(headers: &mut HeaderMap) {
    // Both at once are a known way to smuggle a second answer (RFC 9112 section 6.3); the body was read by its chunks.
    let known = KnownFields::of(headers);
    if known.has(KnownField::TransferEncoding) {
        headers.remove(CONTENT_LENGTH);
    }
    remove_known_hop_by_hop(headers, known);
    if known.has_any(KnownFields::INTERNAL) {
        remove_internal(headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_answer_with_two_lengths_keeps_neither() {
        let mut map = headers(&[("transfer-encoding", "chunked"), ("content-length", "3"), ("etag", "x")]);
        clean(&mut map);
        assert_eq!(map, headers(&[("etag", "x")]));
    }

    #[test]
    fn a_client_sees_no_header_of_the_hop_or_of_runpool() {
        let mut map = headers(&[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("runpool-load", "inflight=1, slots=2, warm=0"),
            ("retry-after-ms", "5"),
            ("content-length", "3"),
        ]);
        clean(&mut map);
        assert_eq!(map, headers(&[("content-length", "3")]));
    }

    #[test]
    fn facts_are_read_and_nonsense_is_none() {
        let said = headers(&[
            ("runpool-load", "inflight=1, slots=2, warm=3"),
            ("runpool-start", "cold;dur=403.2"),
            ("runpool-lost", "seq=17; a, b*2"),
            ("server-timing", "sched;dur=1.5, exec;dur=2"),
        ]);
        let facts = AnswerFacts::read(&said);
        let mut head = said.clone();
        assert_eq!(AnswerFacts::take(&mut head), facts);
        assert_eq!(head, headers(&[("server-timing", "sched;dur=1.5, exec;dur=2")]), "the rest is for the client");
        assert_eq!(facts.load, Some(LoadReport { in_flight: 1, slots: 2, warm: 3 }));
        assert_eq!(facts.start, Some(WorkerStart::Cold(Duration::from_micros(403_200))));
        assert_eq!(facts.lost.map(|lost| lost.newest()), Some(17));
        assert_eq!(facts.timing.map(|timing| timing.scheduling), Some(Duration::from_micros(1_500)));
        let nonsense = headers(&[
            ("runpool-load", "full"),
            ("runpool-start", "lukewarm"),
            ("runpool-lost", "all"),
            ("server-timing", "cache;desc=hit"),
        ]);
        assert_eq!(AnswerFacts::read(&nonsense), AnswerFacts::default());
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(load in "[ -~]*", timing in "[ -~]*", lost in "[ -~]*") {
            let mut map = HeaderMap::new();
            map.insert(LOAD, load.parse().unwrap());
            map.insert(SERVER_TIMING, timing.parse().unwrap());
            map.insert(LOST, lost.parse().unwrap());
            let _ = AnswerFacts::read(&map);
        }
    }
}
