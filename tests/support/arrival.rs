//! What a test wants to arrive at a runner, and how it differs from what did.

use super::recorder::Arrived;

/// What has to arrive at the runner.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub line: &'static str,
    pub with: Vec<&'static str>,
    pub without: Vec<&'static str>,
    pub without_head: Vec<&'static str>,
    pub without_trailers: Vec<&'static str>,
    pub never: Vec<&'static str>,
    pub body: Option<Vec<u8>>,
    pub is_whole: bool,
}

impl Arrival {
    /// A request with this first line, whole.
    pub fn new(line: &'static str) -> Self {
        let none = Vec::new;
        let (with, without, without_head, without_trailers, never) = (none(), none(), none(), none(), none());
        Self { line, with, without, without_head, without_trailers, never, body: None, is_whole: true }
    }

    /// Why this is not what arrived, if it is not.
    pub fn differs(&self, arrived: &Arrived) -> Option<String> {
        let there = || shown(std::slice::from_ref(arrived));
        if arrived.head.line != self.line {
            return Some(format!("wanted {:?} at the runner, there came {}", self.line, there()));
        }
        if let Some(line) = self.with.iter().find(|line| !arrived.head.fields.has_line(line)) {
            return Some(format!("wanted `{line}` at the runner, there came {}", there()));
        }
        if let Some(name) = self.without.iter().find(|name| arrived.head.fields.has(name) || arrived.trailers.has(name)) {
            return Some(format!("wanted no `{name}` at the runner, there came {}", there()));
        }
        if let Some(name) = self.without_head.iter().find(|name| arrived.head.fields.has(name)) {
            return Some(format!("wanted no `{name}` in the head at the runner, there came {}", there()));
        }
        if let Some(name) = self.without_trailers.iter().find(|name| arrived.trailers.has(name)) {
            return Some(format!("wanted no trailer `{name}` at the runner, there came {}", there()));
        }
        let fields = || arrived.head.fields.0.iter().chain(&arrived.trailers.0);
        if let Some(text) = self.never.iter().find(|text| fields().any(|(_, value)| value.contains(**text))) {
            return Some(format!("wanted `{text}` nowhere at the runner, there came {}", there()));
        }
        if arrived.is_whole != self.is_whole {
            return Some(format!("wanted is_whole = {} at the runner, there came {}", self.is_whole, there()));
        }
        let is_body = self.body.as_ref().is_none_or(|body| *body == arrived.body);
        (!is_body).then(|| format!("wanted another body at the runner, there came {}", there()))
    }
}

/// What arrived, for people.
pub fn shown(arrived: &[Arrived]) -> String {
    let one = |arrived: &Arrived| {
        let Arrived { head, body, trailers, is_whole, fault, .. } = arrived;
        let fields: Vec<String> = head.fields.0.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let fields = Shown(fields.join(" | ").as_bytes()).to_string();
        format!("{:?} [{fields}] body {} whole {is_whole} trailers {:?} fault {fault:?}", head.line, Shown(body), trailers.0)
    };
    if arrived.is_empty() { "nothing".to_owned() } else { arrived.iter().map(one).collect::<Vec<_>>().join("; ") }
}

/// Bytes for people: escaped, and cut where they are many.
pub struct Shown<'a>(pub &'a [u8]);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MOST: usize = 400;
        let Self(bytes) = self;
        write!(f, "{}", bytes[..bytes.len().min(MOST)].escape_ascii())?;
        if bytes.len() > MOST { write!(f, "… ({} bytes)", bytes.len()) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
