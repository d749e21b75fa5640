//! HTTP/2 by hand: frames as bytes, header blocks without compression, and of what comes back only what tests judge.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::wire::{Ended, Fault, Wire};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame (RFC 9113 section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block: every field a literal with a new name, without Huffman coding, not indexed (RFC 7541 section 6.2.2).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name.as_ref());
        string(&mut bytes, value.as_ref());
    }
    bytes
}

/// The length in seven bits and more (RFC 7541 section 5.1), then the bytes.
fn string(into: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        into.push(u8::try_from(length).unwrap());
    } else {
        into.push(127);
        length -= 127;
        while length >= 128 {
            into.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        into.push(u8::try_from(length).unwrap());
    }
    into.extend_from_slice(text);
}

/// A setting (RFC 9113 section 6.5.1).
pub fn setting(identifier: u16, value: u32) -> Vec<u8> {
    [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// `HEADERS` of a whole head in as many frames as it takes. `flags` is `END_STREAM` or nothing.
pub fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces: Vec<&[u8]> = block.chunks(16_384).collect();
    let first = if pieces.is_empty() { &[][..] } else { pieces.remove(0) };
    let end = |is_last: bool| if is_last { END_HEADERS } else { 0 };
    let mut bytes = frame(HEADERS, flags | end(pieces.is_empty()), stream, first);
    for (number, piece) in pieces.iter().enumerate() {
        bytes.extend(frame(CONTINUATION, end(number + 1 == pieces.len()), stream, piece));
    }
    bytes
}

/// The usual request, and these fields after it.
pub fn request<'a>(method: &'a str, fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/x")];
    [&usual[..], fields].concat()
}

/// What came of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Interim statuses too, the last one counts.
    pub statuses: Vec<u16>,
    pub body: Vec<u8>,
    /// The answer came to its end.
    pub is_whole: bool,
    /// The error code with which it was reset.
    pub reset: Option<u32>,
    /// How many header blocks came: two with trailers.
    pub blocks: usize,
    /// The last of them, as it came.
    pub block: Vec<u8>,
}

/// A client's connection of HTTP/2.
pub struct Frames {
    pub wire: Wire,
    pub streams: BTreeMap<u32, Stream>,
    /// The error code with which the other side said goodbye.
    pub goaway: Option<u32>,
    pub ended: Option<Ended>,
    /// Whether windows are opened again for what was read.
    pub opens_windows: bool,
    pub pings_answered: usize,
    /// `SETTINGS` of the other side, as they came.
    pub settings: BTreeMap<u16, u32>,
}

impl Frames {
    /// Connects and says nothing.
    pub fn silent(address: SocketAddr) -> Self {
        let (streams, settings) = (BTreeMap::new(), BTreeMap::new());
        Self {
            wire: Wire::connect(address),
            streams,
            goaway: None,
            ended: None,
            opens_windows: true,
            pings_answered: 0,
            settings,
        }
    }

    /// Connects with the preface and these settings.
    pub fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut frames = Self::silent(address);
        frames.send(PREFACE);
        // Without a table every status comes as itself.
        frames.send(frame(SETTINGS, 0, 0, [&setting(1, 0), settings].concat()));
        frames
    }

    /// Writes bytes; false if nobody takes them any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes)
    }

    /// Opens a stream with this head and without a body.
    pub fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> bool {
        self.send(head(stream, END_STREAM, &block(fields)))
    }

    /// Reads frames until it looks so, or until the connection ends.
    pub fn read_until(&mut self, looks_so: impl Fn(&Self) -> bool) {
        while !looks_so(self) && self.ended.is_none() {
            self.read();
        }
    }

    /// Reads until this stream is over, one way or another.
    pub fn outcome(&mut self, stream: u32) -> Stream {
        self.read_until(|frames| frames.streams.get(&stream).is_some_and(|stream| stream.is_whole || stream.reset.is_some()));
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Asks for an answer to a ping, which comes after everything before it was looked at.
    pub fn round_trip(&mut self) {
        let before = self.pings_answered;
        self.send(frame(PING, 0, 0, b"12345678"));
        self.read_until(|frames| frames.pings_answered > before);
    }

    fn read(&mut self) {
        let result = self.wire.take(9).and_then(|header| {
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff;
            Ok((header[3], header[4], stream, self.wire.take(length)?))
        });
        match result {
            Ok((kind, flags, stream, payload)) => self.take(kind, flags, stream, &payload),
            Err(Fault::Cut(ended) | Fault::Nothing(ended)) => self.ended = Some(ended),
            Err(Fault::Malformed(_)) => unreachable!("bytes are never malformed"),
        }
    }

    fn take(&mut self, kind: u8, flags: u8, number: u32, payload: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            DATA => {
                if self.opens_windows && !payload.is_empty() {
                    let increment = u32::try_from(payload.len()).unwrap().to_be_bytes();
                    let both = [frame(WINDOW_UPDATE, 0, 0, increment), frame(WINDOW_UPDATE, 0, number, increment)].concat();
                    self.send(both);
                }
                let stream = self.streams.entry(number).or_default();
                stream.body.extend_from_slice(payload);
                stream.is_whole |= flags & END_STREAM != 0;
            }
            HEADERS => {
                let stream = self.streams.entry(number).or_default();
                stream.statuses.extend(status(payload));
                stream.blocks += 1;
                stream.block = payload.to_vec();
                stream.is_whole |= flags & END_STREAM != 0;
            }
            RST_STREAM => {
                let stream = self.streams.entry(number).or_default();
                // What was complete stays so: a server may then ask to be spared the rest of the request.
                stream.reset = Some(word(0));
            }
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    self.settings.insert(u16::from_be_bytes([setting[0], setting[1]]), value);
                }
                self.send(frame(SETTINGS, ACK, 0, []));
            }
            PING if flags & ACK != 0 => self.pings_answered += 1,
            PING => {
                self.send(frame(PING, ACK, 0, payload));
            }
            GOAWAY => self.goaway = Some(word(4)),
            _ => {}
        }
    }
}

/// The status at the beginning of a header block, which has no other place (RFC 9113 section 8.3); nothing of trailers.
fn status(block: &[u8]) -> Option<u16> {
    // Changes of the table's size come before everything.
    let block = &block[block.iter().take_while(|byte| *byte & 0xe0 == 0x20).count()..];
    match *block.first()? {
        // From the static table (RFC 7541 appendix A).
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied(),
        // A literal whose name is `:status` there.
        0x48 | 0x08 | 0x18 => {
            let length = *block.get(1)?;
            let text = block.get(2..2 + usize::from(length & 0x7f))?;
            let digits = if length & 0x80 == 0 { String::from_utf8_lossy(text).into_owned() } else { huffman_digits(text) };
            digits.parse().ok()
        }
        _ => None,
    }
}

/// Digits in Huffman coding (RFC 7541 appendix B): 0 to 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut digits, mut rest) = (String::new(), bits.as_str());
    'digits: loop {
        for digit in 0..10_u32 {
            let code = if digit < 3 { format!("{digit:05b}") } else { format!("{:06b}", 0b01_1001 + digit - 3) };
            if let Some(after) = rest.strip_prefix(&code) {
                digits.push(char::from_digit(digit, 10).unwrap());
                rest = after;
                continue 'digits;
            }
        }
        return digits;
    }
}
