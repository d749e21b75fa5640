//! What `runpool up` prints when everything runs.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::cli::output::{Colour, Paint};
use crate::model::FunctionSpec;

/// What runs.
pub(super) struct Running<'a> {
    pub(super) version: &'a str,
    pub(super) front: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) runners: Vec<String>,
    pub(super) functions: &'a [FunctionSpec],
}

/// The text, with the line that calls the first function.
pub(super) fn banner(running: &Running<'_>, paint: Paint) -> String {
    let Running { version, front, admin, runners, functions } = running;
    let names: Vec<&str> = functions.iter().map(|spec| spec.name.as_str()).collect();
    let mut text = format!("{}\n\n", paint.apply(Colour::Bold, &format!("runpool {version}")));
    for (label, value) in [
        ("front", format!("http://{front}")),
        ("admin", format!("http://{admin}")),
        ("runners", runners.join(", ")),
        ("functions", names.join(", ")),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:10} {value}");
    }
    if let Some(name) = names.first() {
        let line = format!("curl -d world http://{front}/invoke/{name}");
        let _ = write!(text, "\nTry it:\n\n  {}\n", paint.apply(Colour::Green, &line));
    }
    text + "\nCtrl-C ends it.\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_where_what_is_and_how_to_call_it() {
        let functions = [FunctionSpec::named("hello".parse().unwrap())];
        let running = Running {
            version: "1.2.3",
            front: "127.0.0.1:8080".parse().unwrap(),
            admin: "127.0.0.1:8081".parse().unwrap(),
            runners: vec!["local-1 127.0.0.1:4001".into(), "local-2 127.0.0.1:4002".into()],
            functions: &functions,
        };
        assert_eq!(
            banner(&running, Paint::Plain),
            "runpool 1.2.3\n\n  front      http://127.0.0.1:8080\n  admin      http://127.0.0.1:8081\n  runners    local-1 127.0.0.1:4001, \
             local-2 127.0.0.1:4002\n  functions  hello\n\nTry it:\n\n  curl -d world http://127.0.0.1:8080/invoke/hello\n\nCtrl-C ends it.\n\n"
        );
        assert!(banner(&running, Paint::Coloured).contains("\x1b[32mcurl -d world http://127.0.0.1:8080/invoke/hello\x1b[0m"));
    }
}
