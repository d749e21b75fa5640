//! Pseudo-headers in the trailers of an HTTP/2 request, which are malformed (RFC 9113 section 8.1).
//!
//! h2 drops them unseen, so that nobody behind it can refuse them. This looks at the frames before it does. A client opens streams in rising order: `HEADERS` of a
//! stream that is not higher than all before are trailers. Of their block only the names are looked at, as far as they stand in it: an entry of the table that
//! the client made itself is not known here, and its name is dropped by h2 as before.

use super::http2_block::names_pseudo_header;

/// Looks at what a client sends on a connection of HTTP/2, preface included.
#[derive(Debug)]
pub(super) struct TrailersWatch {
    state: State,
    /// The highest stream that was opened.
    highest: u32,
    /// Whether a block of trailers is under way, and as far as it came.
    is_in_block: bool,
    block: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes mean nothing here.
    Skipping(usize),
    /// The beginning of a frame, and how much of it came.
    Beginning([u8; FRAME_HEAD], usize),
    /// The payload of a frame of trailers: how much is to come, and what it is.
    Trailers(usize, Part),
}

/// A frame with a part of a block.
#[derive(Clone, Copy, Debug)]
struct Part {
    kind: u8,
    flags: u8,
    /// Where in the block it begins.
    start: usize,
}

/// The connection is to end: what its client sends is no HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error("the trailers of a request have a pseudo-header")]
pub(super) struct PseudoHeaderInTrailers;

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// Trailers beyond this are not looked at: h2 refuses them for their length.
const LONGEST_BLOCK: usize = 64 * 1024;

impl TrailersWatch {
    /// At the beginning of a connection.
    pub(super) const fn new() -> Self {
        Self { state: State::Skipping(PREFACE), highest: 0, is_in_block: false, block: Vec::new() }
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    /// They end trailers with a pseudo-header.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Result<(), PseudoHeaderInTrailers> {
        while !bytes.is_empty() {
            match self.state {
                State::Skipping(left) => {
                    let (_, rest) = bytes.split_at(left.min(bytes.len()));
                    let seen = bytes.len() - rest.len();
                    self.state = if seen == left { State::Beginning([0; FRAME_HEAD], 0) } else { State::Skipping(left - seen) };
                    bytes = rest;
                }
                State::Beginning(mut head, filled) => {
                    let (piece, rest) = bytes.split_at((FRAME_HEAD - filled).min(bytes.len()));
                    head[filled..filled + piece.len()].copy_from_slice(piece);
                    let filled = filled + piece.len();
                    self.state = if filled == FRAME_HEAD { self.begin(head)? } else { State::Beginning(head, filled) };
                    bytes = rest;
                }
                State::Trailers(left, part) => {
                    let (piece, rest) = bytes.split_at(left.min(bytes.len()));
                    if self.block.len() < LONGEST_BLOCK {
                        self.block.extend_from_slice(piece);
                    }
                    self.state = match left - piece.len() {
                        0 => self.end(part)?,
                        left => State::Trailers(left, part),
                    };
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    /// A frame begins.
    fn begin(&mut self, head: [u8; FRAME_HEAD]) -> Result<State, PseudoHeaderInTrailers> {
        let [long, middle, short, kind, flags, stream @ ..] = head;
        let length = usize::from(long) << 16 | usize::from(middle) << 8 | usize::from(short);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        let is_trailers = match kind {
            HEADERS => stream <= self.highest,
            // Nothing of it may have come so far.
            CONTINUATION => self.is_in_block,
            _ => false,
        };
        if kind == HEADERS {
            self.highest = self.highest.max(stream);
            self.is_in_block = is_trailers;
            self.block.clear();
        }
        let part = Part { kind, flags, start: self.block.len() };
        match (is_trailers, length) {
            (true, 0) => self.end(part),
            (true, _) => Ok(State::Trailers(length, part)),
            (false, 0) => Ok(State::Beginning([0; FRAME_HEAD], 0)),
            (false, _) => Ok(State::Skipping(length)),
        }
    }

    /// A frame with trailers is over.
    fn end(&mut self, part: Part) -> Result<State, PseudoHeaderInTrailers> {
        if part.kind == HEADERS {
            self.unpad(part);
        }
        if part.flags & END_HEADERS != 0 {
            let has_pseudo_header = names_pseudo_header(&self.block);
            self.is_in_block = false;
            self.block = Vec::new();
            if has_pseudo_header {
                return Err(PseudoHeaderInTrailers);
            }
        }
        Ok(State::Beginning([0; FRAME_HEAD], 0))
    }

    /// Takes padding and priority away (RFC 9113 section 6.2).
    fn unpad(&mut self, part: Part) {
        let mut before = part.start;
        if part.flags & PADDED != 0 {
            let padding = self.block.get(part.start).copied().map_or(0, usize::from);
            self.block.truncate(self.block.len().saturating_sub(padding).max(part.start));
            before += 1;
        }
        if part.flags & PRIORITY != 0 {
            before += 5;
        }
        self.block.drain(part.start..before.min(self.block.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// `:path: /`, `:method: x` with its name from the static table, and `x-t: 1`.
    const PATH: &[u8] = b"\0\x05:path\x01/";
    const METHOD: &[u8] = b"\x42\x01x";
    const OTHER: &[u8] = b"\0\x03x-t\x011";

    fn see(frames: &[Vec<u8>]) -> bool {
        let bytes = [&[0; PREFACE][..], &frames.concat()].concat();
        let at_once = TrailersWatch::new().see(&bytes).is_ok();
        let mut watch = TrailersWatch::new();
        let piecewise = bytes.chunks(1).all(|byte| watch.see(byte).is_ok());
        assert_eq!(at_once, piecewise);
        at_once
    }

    #[test]
    fn heads_may_have_pseudo_headers_and_trailers_may_not() {
        let head = frame(HEADERS, END_HEADERS, 1, &[PATH, METHOD].concat());
        let data = frame(0, 0, 1, PATH);
        assert!(see(&[head.clone(), data.clone(), frame(HEADERS, END_HEADERS | 1, 1, OTHER)]));
        assert!(see(&[head.clone(), frame(HEADERS, END_HEADERS, 3, PATH)]));
        assert!(see(&[frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, END_HEADERS, 1, PATH)]));
        for trailers in [PATH, METHOD, &[OTHER, PATH].concat(), &[0x84]] {
            assert!(!see(&[head.clone(), data.clone(), frame(HEADERS, END_HEADERS | 1, 1, trailers)]), "{trailers:?}");
        }
        let (first, rest) = PATH.split_at(3);
        assert!(!see(&[head.clone(), frame(HEADERS, 1, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)]));
        for nothing in [frame(HEADERS, 1, 1, &[]), frame(HEADERS, 1 | PADDED, 1, &[2, 0, 0])] {
            assert!(
                !see(&[head.clone(), nothing, frame(CONTINUATION, END_HEADERS, 1, PATH)]),
                "what comes first may say nothing"
            );
        }
        let padded = [&[2, 0, 0, 0, 0, 9][..], PATH, &[0, 0]].concat();
        assert!(!see(&[head, frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &padded)]));
    }
}
