//! Words to people: on standard output what was asked for, on standard error what went wrong.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write to standard output: {0}")]
pub(super) struct WriteError(#[from] io::Error);

impl WriteError {
    pub(super) fn kind(&self) -> io::ErrorKind {
        self.0.kind()
    }
}

/// Prints to standard output at once. `print!` would panic when nobody reads any more.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<(), WriteError> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_ref())?;
    output.flush()?;
    Ok(())
}

/// Tells an error with its causes on one line, without a backtrace. A line break within stays: configurations have many errors.
pub(super) fn error(error: &anyhow::Error) {
    tell("error", Colour::Red, &format!("{error:#}"));
}

/// Tells something suspicious.
pub(super) fn warning(warning: impl Display) {
    tell("warning", Colour::Yellow, &warning.to_string());
}

fn tell(word: &str, colour: Colour, text: &str) {
    let paint = Paint::of(io::stderr().is_terminal());
    // With standard error closed there is nobody to tell that to.
    let _ = writeln!(io::stderr(), "{}: {text}", paint.apply(colour, word));
}

/// Colours that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Bold,
    Green,
    Red,
    Yellow,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

impl Paint {
    /// Coloured on a terminal, unless the user does not want it (<https://no-color.org>: the variable set and not empty).
    fn of(is_terminal: bool) -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_terminal && !is_unwanted { Self::Coloured } else { Self::Plain }
    }

    /// How standard output is to be painted.
    pub(super) fn of_stdout() -> Self {
        Self::of(io::stdout().is_terminal())
    }

    /// `text` in `colour`, if there are colours.
    pub(super) fn apply(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => "1",
            Colour::Green => "32",
            Colour::Red => "31",
            Colour::Yellow => "33",
        };
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}
