//! One line of the access log.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{Method, Version};
use serde::Serialize;

use crate::model::{CallId, FunctionName, Outcome, Rfc3339, RunnerId};
use crate::telemetry::config::AccessLogFilter;

/// What is known of one request when it has ended. All but the method, the path and the outcome may be unknown, and is then
/// `null` in the line.
///
/// | key | meaning |
/// |---|---|
/// | `ts` | when the head of the request was read, RFC 3339 in UTC |
/// | `request_id` | `x-request-id`, the client's or ours |
/// | `call_id` | the call, if one was made |
/// | `trace_id` | its trace, 32 hexadecimal digits |
/// | `client` | address and port of the client's end of the connection |
/// | `method`, `path`, `proto` | the request: method, path and query as sent (cut at 2,048 bytes), `HTTP/1.1` or `HTTP/2` |
/// | `function`, `runner` | which function ran, and where; also if the client went away meanwhile |
/// | `status`, `outcome` | the status that was sent, and the outcome's word |
/// | `attempts`, `refusals` | attempts made, and those of them that were refused |
/// | `bytes_in`, `bytes_out` | bytes of the bodies that were received and sent |
/// | `t_total` | milliseconds from `ts` to the last byte sent |
/// | `t_queue` | milliseconds spent waiting while no runner could take the call |
/// | `t_place` | milliseconds from the start of the placement to the attempt that was taken, refused attempts and waits included |
/// | `t_connect` | milliseconds spent on making a connection to the runner that answered; 0 if one was kept |
/// | `t_first_byte` | milliseconds from `ts` to the head of the answer |
/// | `user_agent` | the client's own word (cut at 2,048 bytes) |
///
/// Times have three decimals: microseconds.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `ts`.
    pub began: SystemTime,
    /// `request_id`.
    pub request_id: Option<String>,
    /// `call_id`.
    pub call_id: Option<CallId>,
    /// `trace_id`.
    pub trace_id: Option<[u8; 16]>,
    /// `client`.
    pub client: Option<SocketAddr>,
    /// `method`.
    pub method: Method,
    /// `path`.
    pub path: String,
    /// `proto`.
    pub version: Version,
    /// `function`.
    pub function: Option<FunctionName>,
    /// `runner`.
    pub runner: Option<RunnerId>,
    /// `status`.
    pub status: Option<u16>,
    /// `outcome`.
    pub outcome: Outcome,
    /// `attempts`.
    pub attempts: u32,
    /// `refusals`.
    pub refusals: u32,
    /// `bytes_in`.
    pub bytes_in: Option<u64>,
    /// `bytes_out`.
    pub bytes_out: Option<u64>,
    /// `t_total`.
    pub total: Option<Duration>,
    /// `t_queue`.
    pub queue: Option<Duration>,
    /// `t_place`.
    pub place: Option<Duration>,
    /// `t_connect`.
    pub connect: Option<Duration>,
    /// `t_first_byte`.
    pub first_byte: Option<Duration>,
    /// `user_agent`.
    pub user_agent: Option<String>,
}

/// Bytes of a text that a client chooses. Bounds what the queue can hold.
const MAX_TEXT: usize = 2_048;

impl Entry {
    /// An entry of which nothing is known but this.
    pub const fn new(began: SystemTime, method: Method, path: String, outcome: Outcome) -> Self {
        Self {
            began,
            request_id: None,
            call_id: None,
            trace_id: None,
            client: None,
            method,
            path,
            version: Version::HTTP_11,
            function: None,
            runner: None,
            status: None,
            outcome,
            attempts: 0,
            refusals: 0,
            bytes_in: None,
            bytes_out: None,
            total: None,
            queue: None,
            place: None,
            connect: None,
            first_byte: None,
            user_agent: None,
        }
    }

    /// Cuts what the client chose to a bounded length.
    pub(super) fn bound(&mut self) {
        cut(&mut self.path);
        for text in [&mut self.request_id, &mut self.user_agent].into_iter().flatten() {
            cut(text);
        }
    }

    /// Whether the log shows this call.
    pub(super) fn passes(&self, filter: AccessLogFilter, slower_than: Option<Duration>) -> bool {
        let is_slow = slower_than.map(|least| self.total.is_some_and(|total| total >= least));
        match filter {
            AccessLogFilter::All => is_slow.unwrap_or(true),
            AccessLogFilter::Errors => self.is_error() || is_slow.unwrap_or(false),
            AccessLogFilter::Retried => self.attempts > 1 || self.refusals > 0 || is_slow.unwrap_or(false),
        }
    }

    fn is_error(&self) -> bool {
        !matches!(self.outcome, Outcome::Ok | Outcome::Accepted) || self.status.is_some_and(|status| status >= 500)
    }

    /// Appends the entry as one line of JSON.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        let line = Line {
            ts: Rfc3339::micros(self.began).to_string(),
            request_id: self.request_id.as_deref(),
            call_id: self.call_id,
            trace_id: self.trace_id.map(|id| format!("{:032x}", u128::from_be_bytes(id))),
            client: self.client,
            method: self.method.as_str(),
            path: &self.path,
            proto: protocol(self.version),
            function: self.function.as_ref(),
            runner: self.runner.as_ref(),
            status: self.status,
            outcome: self.outcome,
            attempts: self.attempts,
            refusals: self.refusals,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            t_total: self.total.map(millis),
            t_queue: self.queue.map(millis),
            t_place: self.place.map(millis),
            t_connect: self.connect.map(millis),
            t_first_byte: self.first_byte.map(millis),
            user_agent: self.user_agent.as_deref(),
        };
        let end = lines.len();
        // Texts and numbers always have a JSON form; a half-written line would still not be left behind.
        if serde_json::to_writer(&mut *lines, &line).is_ok() {
            lines.push(b'\n');
        } else {
            lines.truncate(end);
        }
    }
}

/// The keys in their order.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    request_id: Option<&'a str>,
    call_id: Option<CallId>,
    trace_id: Option<String>,
    client: Option<SocketAddr>,
    method: &'a str,
    path: &'a str,
    proto: &'static str,
    function: Option<&'a FunctionName>,
    runner: Option<&'a RunnerId>,
    status: Option<u16>,
    outcome: Outcome,
    attempts: u32,
    refusals: u32,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    t_total: Option<f64>,
    t_queue: Option<f64>,
    t_place: Option<f64>,
    t_connect: Option<f64>,
    t_first_byte: Option<f64>,
    user_agent: Option<&'a str>,
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds with three decimals.
#[expect(clippy::cast_precision_loss, reason = "microseconds up to 285 years are exact")]
const fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// Cuts a long text and gives its memory back.
fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn entry(outcome: Outcome) -> Entry {
        Entry::new(UNIX_EPOCH, Method::POST, "/call/greet?x=1".to_owned(), outcome)
    }

    fn line(entry: &Entry) -> String {
        let mut lines = Vec::new();
        entry.write(&mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_line_has_every_documented_key_in_order() {
        let mut entry = entry(Outcome::Ok);
        entry.request_id = Some("r-1".to_owned());
        entry.call_id = Some(CallId::from_parts(1_000, 7));
        entry.trace_id = Some([0xab; 16]);
        entry.client = Some(SocketAddr::from(([127, 0, 0, 1], 5_000)));
        entry.version = Version::HTTP_2;
        entry.function = Some("greet".parse().unwrap());
        entry.runner = Some(RunnerId::new("127.0.0.1:9001"));
        entry.status = Some(200);
        (entry.attempts, entry.refusals) = (2, 1);
        (entry.bytes_in, entry.bytes_out) = (Some(5), Some(11));
        entry.total = Some(Duration::from_nanos(12_345_678));
        entry.queue = Some(Duration::ZERO);
        entry.place = Some(Duration::from_micros(1_001));
        entry.connect = Some(Duration::from_micros(250));
        entry.first_byte = Some(Duration::from_millis(12));
        entry.user_agent = Some("curl/8 \"quoted\"\n".to_owned());
        assert_eq!(
            line(&entry),
            concat!(
                r#"{"ts":"1970-01-01T00:00:00.000000Z","request_id":"r-1","call_id":"00000000Z80000000000000007","#,
                r#""trace_id":"abababababababababababababababab","client":"127.0.0.1:5000","method":"POST","path":"/call/greet?x=1","#,
                r#""proto":"HTTP/2","function":"greet","runner":"127.0.0.1:9001","status":200,"outcome":"ok","attempts":2,"refusals":1,"#,
                r#""bytes_in":5,"bytes_out":11,"t_total":12.345,"t_queue":0.0,"t_place":1.001,"t_connect":0.25,"t_first_byte":12.0,"#,
                r#""user_agent":"curl/8 \"quoted\"\n"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_unknown_is_null() {
        let line: serde_json::Value = serde_json::from_str(&line(&entry(Outcome::BadRequest))).unwrap();
        for key in
            ["request_id", "call_id", "trace_id", "client", "function", "runner", "status", "bytes_in", "t_total", "user_agent"]
        {
            assert_eq!(line.get(key), Some(&serde_json::Value::Null), "{key}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut entry = entry(Outcome::Ok);
        entry.path = "é".repeat(1_500);
        entry.user_agent = Some("x".repeat(70_000));
        entry.bound();
        assert_eq!(entry.path, "é".repeat(1_024));
        assert_eq!(entry.user_agent.map(|text| text.len()), Some(2_048));
    }

    #[test]
    fn filters_show_what_they_say() {
        let fine = entry(Outcome::Ok);
        let accepted = entry(Outcome::Accepted);
        let failed = entry(Outcome::PlacerTimeout);
        let own_500 = Entry { status: Some(500), ..entry(Outcome::Ok) };
        let retried = Entry { attempts: 2, refusals: 1, ..entry(Outcome::Ok) };
        let refused = Entry { attempts: 1, refusals: 1, ..entry(Outcome::Ok) };
        let slow = Entry { total: Some(Duration::from_secs(2)), ..entry(Outcome::Ok) };
        let quick = Entry { total: Some(Duration::from_millis(1)), ..entry(Outcome::Ok) };
        let all = [&fine, &accepted, &failed, &own_500, &retried, &refused, &slow, &quick];
        let shown = |filter, slower_than: Option<u64>| -> Vec<bool> {
            all.iter().map(|entry| entry.passes(filter, slower_than.map(Duration::from_secs))).collect()
        };
        use AccessLogFilter::{All, Errors, Retried};
        assert_eq!(shown(All, None), [true; 8]);
        assert_eq!(shown(All, Some(2)), [false, false, false, false, false, false, true, false]);
        assert_eq!(shown(Errors, None), [false, false, true, true, false, false, false, false]);
        assert_eq!(shown(Errors, Some(2)), [false, false, true, true, false, false, true, false]);
        assert_eq!(shown(Retried, None), [false, false, false, false, true, true, false, false]);
    }
}
