//! The promises of the fuzz targets (`fuzz/promises/`), held every time: over the kept corpus, over bytes made out of it, and over any bytes.

// A test that cannot go on may panic, in helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// One module and one test for each promise.
macro_rules! promises {
    ($($name:ident in $file:literal,)*) => {
        $(
            #[path = $file]
            #[allow(unreachable_pub, reason = "a fuzz target uses it too")]
            mod $name;
        )*

        mod promise {
            $(
                #[test]
                fn $name() {
                    super::hold(stringify!($name), super::$name::hold);
                }
            )*
        }
    };
}

promises! {
    agent_headers in "../fuzz/promises/agent_headers.rs",
    chunked_body in "../fuzz/promises/chunked_body.rs",
    configuration in "../fuzz/promises/configuration.rs",
    header_filter in "../fuzz/promises/header_filter.rs",
    load_report in "../fuzz/promises/load_report.rs",
    refusal in "../fuzz/promises/refusal.rs",
    request_head in "../fuzz/promises/request_head.rs",
    response_head in "../fuzz/promises/response_head.rs",
    status_json in "../fuzz/promises/status_json.rs",
}

/// The kept inputs of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One change to some bytes, as a fuzzer makes them.
#[derive(Clone, Debug)]
enum Change {
    /// A byte becomes another.
    Set(prop::sample::Index, u8),
    /// Bytes are put in.
    Insert(prop::sample::Index, Vec<u8>),
    /// A piece goes.
    Cut(prop::sample::Index, usize),
    /// A piece comes twice.
    Double(prop::sample::Index, usize),
    /// The rest is another input's.
    Cross(prop::sample::Index, prop::sample::Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let end = bytes.len();
        match self {
            Self::Set(at, byte) if end > 0 => bytes[at.index(end)] = *byte,
            Self::Insert(at, piece) => {
                let at = at.index(end + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Cut(at, length) if end > 0 => {
                let at = at.index(end);
                bytes.drain(at..end.min(at + length));
            }
            Self::Double(at, length) if end > 0 => {
                let at = at.index(end);
                let piece = bytes[at..end.min(at + length)].to_vec();
                bytes.splice(at..at, piece);
            }
            Self::Cross(at, other) => {
                let other = &corpus[other.index(corpus.len())];
                bytes.truncate(at.index(end + 1));
                bytes.extend_from_slice(&other[at.index(other.len() + 1)..]);
            }
            Self::Set(..) | Self::Cut(..) | Self::Double(..) => {}
        }
    }
}

/// Bytes that texts of HTTP and of TOML are made of, and any others.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(vec![
            "\r\n",
            "\n",
            "\r",
            "\0",
            " ",
            "\t",
            ":",
            ",",
            ";",
            "=",
            "\"",
            "0",
            "-",
            "+",
            "ffffffffffffffff"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..6),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), piece()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (at(), 1_usize..20).prop_map(|(at, length)| Change::Cut(at, length)),
        (at(), 1_usize..20).prop_map(|(at, length)| Change::Double(at, length)),
        (at(), at()).prop_map(|(at, other)| Change::Cross(at, other)),
    ]
}

fn hold(target: &str, promise: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "there is no corpus for {target}");
    corpus.iter().for_each(|bytes| promise(bytes));
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let changed = (any::<prop::sample::Index>(), proptest::collection::vec(change(), 0..6));
    let strategy = (changed, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>());
    let run = TestRunner::new(config).run(&strategy, |((seed, changes), any, is_any)| {
        let mut bytes = if is_any { any } else { corpus[seed.index(corpus.len())].clone() };
        changes.iter().for_each(|change| change.apply(&mut bytes, &corpus));
        promise(&bytes);
        Ok(())
    });
    if let Err(error) = run {
        panic!("{target}: {error}");
    }
}
