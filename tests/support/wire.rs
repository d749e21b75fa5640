//! HTTP/1.1 as bytes on a socket, read by the letter: what a peer wrote is either exactly what RFC 9112 allows a careful sender, or a fault that
//! is named. No library reads here, since a library's leniency would hide what is looked for.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a peer may stay silent before a test says that it hangs. Never a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A socket and what was read from it and not yet looked at.
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// Why no more bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed its side.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// Nothing came for [`PATIENCE`].
    Silent,
}

/// Why there is no whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes ended before the first one of a message.
    Nothing(Ended),
    /// The bytes ended within the message.
    Cut(Ended),
    /// A careful sender does not write this.
    Malformed(String),
}

fn malformed(what: impl Into<String>) -> Fault {
    Fault::Malformed(what.into())
}

/// The names and values of a head or of trailers, in their order; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The values under this name, joined with `, `; empty if there is none.
    pub fn value(&self, name: &str) -> String {
        self.values(name).join(", ")
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Whether there is a field that reads `name: value`.
    pub fn has_line(&self, line: &str) -> bool {
        self.0.iter().any(|(name, value)| format!("{name}: {value}") == line)
    }
}

/// A start line and its fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Fields,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// Connects; reads give up after [`PATIENCE`].
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::new(stream)
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes these bytes; false if the peer does not take them any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will be written.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Both directions end.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn fill(&mut self) -> Result<(), Ended> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(Ended::Closed),
                Ok(length) => {
                    self.ahead.extend_from_slice(&piece[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(Ended::Silent),
                Err(_) => return Err(Ended::Reset),
            }
        }
    }

    /// The bytes up to and with `end`.
    pub fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.ahead[looked..].windows(end.len()).position(|window| window == end) {
                return Ok(self.ahead.drain(..looked + at + end.len()).collect());
            }
            looked = self.ahead.len().saturating_sub(end.len());
            self.fill().map_err(|ended| if self.ahead.is_empty() { Fault::Nothing(ended) } else { Fault::Cut(ended) })?;
        }
    }

    /// So many bytes.
    pub fn take(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        while self.ahead.len() < length {
            self.fill().map_err(Fault::Cut)?;
        }
        Ok(self.ahead.drain(..length).collect())
    }

    /// What has come and was not read yet.
    pub fn unread(&self) -> &[u8] {
        &self.ahead
    }

    /// Everything until the peer ends, and how it ends.
    pub fn rest(&mut self) -> (Vec<u8>, Ended) {
        loop {
            if let Err(ended) = self.fill() {
                return (std::mem::take(&mut self.ahead), ended);
            }
        }
    }

    /// Some bytes: what is there, or what comes next.
    pub fn some(&mut self) -> Result<Vec<u8>, Ended> {
        if self.ahead.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// The next head.
    pub fn head(&mut self) -> Result<Head, Fault> {
        let bytes = self.until(b"\r\n\r\n")?;
        let lines = lines(&bytes[..bytes.len() - 4])?;
        let (line, fields) = lines.split_first().ok_or_else(|| malformed("an empty head"))?;
        Ok(Head { line: line.clone(), fields: self::fields(fields)? })
    }

    /// A body with this framing, and its trailers. What was read of a body that is cut goes into `read`.
    pub fn body(&mut self, framing: Framing, read: &mut Vec<u8>) -> Result<Fields, Fault> {
        match framing {
            Framing::None => Ok(Fields::default()),
            Framing::Length(length) => {
                while read.len() < length {
                    if self.ahead.is_empty() {
                        self.fill().map_err(Fault::Cut)?;
                    }
                    let wanted = (length - read.len()).min(self.ahead.len());
                    read.extend(self.ahead.drain(..wanted));
                }
                Ok(Fields::default())
            }
            Framing::Chunked => self.chunks(read),
            Framing::UntilClose => {
                let (bytes, ended) = self.rest();
                read.extend(bytes);
                if ended == Ended::Closed { Ok(Fields::default()) } else { Err(Fault::Cut(ended)) }
            }
        }
    }

    /// RFC 9112 section 7.1, as a careful sender writes it: no leading zeros, no extensions.
    fn chunks(&mut self, read: &mut Vec<u8>) -> Result<Fields, Fault> {
        let cut = |fault| match fault {
            Fault::Nothing(ended) => Fault::Cut(ended),
            other => other,
        };
        loop {
            let line = self.until(b"\r\n").map_err(cut)?;
            let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            let is_hex = !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hex || (text.len() > 1 && text.starts_with('0')) {
                return Err(malformed(format!("the size of a chunk is {text:?}")));
            }
            let length = usize::from_str_radix(&text, 16).map_err(|error| malformed(error.to_string()))?;
            if length == 0 {
                let mut trailers = Vec::new();
                loop {
                    let line = self.until(b"\r\n").map_err(cut)?;
                    if line == b"\r\n" {
                        return fields(&trailers);
                    }
                    trailers.extend(lines(&line[..line.len() - 2])?);
                }
            }
            read.extend(self.take(length)?);
            if self.take(2)? != b"\r\n" {
                return Err(malformed("a chunk does not end where it should"));
            }
        }
    }
}

/// Lines that end with CR LF and have neither elsewhere, nor NUL. Bytes beyond ASCII are read as Latin-1.
fn lines(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    match lines.iter().find(|line| line.contains(['\r', '\n', '\0'])) {
        Some(line) => Err(malformed(format!("a bare CR, LF or NUL in {line:?}"))),
        None => Ok(lines),
    }
}

/// Fields with a token for a name, and nothing but visible text, spaces and tabs in the value.
fn fields(lines: &[String]) -> Result<Fields, Fault> {
    let is_token = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let read = lines.iter().map(|line| {
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(format!("a field without a colon: {line:?}")))?;
        if !is_token(name) {
            return Err(malformed(format!("a field named {name:?}")));
        }
        if value.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f') {
            return Err(malformed(format!("a control character in {line:?}")));
        }
        Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    });
    Ok(Fields(read.collect::<Result<_, _>>()?))
}

/// How the body of a message with these fields is framed, if it has one; `without` is what it is if no field says.
pub fn framing(fields: &Fields, without: Framing) -> Result<Framing, Fault> {
    let (codings, lengths) = (fields.values("transfer-encoding"), fields.values("content-length"));
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(without),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [length]) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|error| malformed(error.to_string()))
        }
        _ => Err(malformed(format!("transfer-encoding {codings:?} with content-length {lengths:?}"))),
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub framing: Framing,
    /// What came before it: statuses from 100 to 199.
    pub interim: Vec<u16>,
    /// Whether the end came where the head said.
    pub is_whole: bool,
}

impl Answer {
    pub fn field(&self, name: &str) -> String {
        self.head.fields.value(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The status of an answer's first line, which must be HTTP/1.1's.
fn status(line: &str) -> Result<u16, Fault> {
    let number = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let is_ended = line.len() == 12 || line.as_bytes().get(12) == Some(&b' ');
    number.filter(|_| is_ended).and_then(|number| number.parse().ok()).ok_or_else(|| malformed(format!("the line {line:?}")))
}

impl Wire {
    /// The answer to a request with this method. One that is cut within its body is an answer too, of which `is_whole` says so.
    pub fn answer(&mut self, method: &str) -> Result<Answer, Fault> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?;
            let status = status(&head.line)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let is_bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let framing = framing(&head.fields, Framing::UntilClose)?;
            let framing = if is_bodiless { Framing::None } else { framing };
            let mut body = Vec::new();
            let (trailers, is_whole) = match self.body(framing, &mut body) {
                Ok(trailers) => (trailers, true),
                Err(Fault::Cut(_) | Fault::Nothing(_)) => (Fields::default(), false),
                Err(other) => return Err(other),
            };
            return Ok(Answer { status, head, body, trailers, framing, interim, is_whole });
        }
    }
}
