//! The program's own log, on standard error: for people or as JSON, with a filter that can be changed while it runs.
//!
//! Nothing is logged on the path of a call above the level `debug`. Values that may be secrets (the `config` of a function, headers,
//! bodies) are never given to the log, so there is nothing to mask here.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use super::config::{LogFormat, TelemetryConfig, parse_filter};

/// The log could not be set up, or its filter not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("`{filter}` is not a log filter: {reason}; expected a level, or levels by target such as \"info,runpool=debug\"")]
    Filter {
        /// What was given, cut to a bounded length.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The program has a log already.
    #[error("could not set up the log: the program has one already")]
    AlreadySet,
    /// The log is gone.
    #[error("could not change the log filter: the log is gone")]
    Gone,
}

/// Bytes of a filter that is set while the program runs.
const MAX_FILTER: usize = 4_096;

/// Changes the filter of the log while the program runs. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    handle: reload::Handle<EnvFilter, Registry>,
    /// Protects the text of the filter in force, and that two changes do not cross.
    current: Arc<Mutex<String>>,
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").field("filter", &self.filter()).finish_non_exhaustive()
    }
}

/// Sets up the log of the whole program as the configuration asks for.
///
/// # Errors
/// The filter cannot be read, or the program has a log already.
pub fn init(config: &TelemetryConfig) -> Result<LogControl, LoggingError> {
    let is_terminal = std::io::stderr().is_terminal();
    let style =
        Style::choose(config.log_format, is_terminal, std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
    let (subscriber, control) = build(&config.log_filter, style, std::io::stderr)?;
    subscriber.try_init().map_err(|_| LoggingError::AlreadySet)?;
    Ok(control)
}

impl LogControl {
    /// The filter in force.
    pub fn filter(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another filter in force, until it is changed again or the program ends.
    ///
    /// # Errors
    /// The filter cannot be read; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LoggingError> {
        let filter = filter.trim();
        let parsed = read_filter(filter)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(parsed).map_err(|_| LoggingError::Gone)?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Coloured,
    Plain,
    Json,
}

impl Style {
    const fn choose(format: LogFormat, is_terminal: bool, has_no_color: bool) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Auto if !is_terminal => Self::Json,
            LogFormat::Auto | LogFormat::Human if is_terminal && !has_no_color => Self::Coloured,
            LogFormat::Auto | LogFormat::Human => Self::Plain,
        }
    }
}

fn read_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    if filter.len() > MAX_FILTER {
        let shown = filter.get(..filter.floor_char_boundary(40)).unwrap_or_default();
        return Err(LoggingError::Filter {
            filter: format!("{shown}…"),
            reason: format!("it is longer than {MAX_FILTER} bytes"),
        });
    }
    parse_filter(filter).map_err(|reason| LoggingError::Filter { filter: filter.to_owned(), reason })
}

/// The log over any writer.
fn build<W>(filter: &str, style: Style, writer: W) -> Result<(Box<dyn Subscriber + Send + Sync>, LogControl), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (layer, handle) = reload::Layer::new(read_filter(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match style {
        Style::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        Style::Coloured => lines.with_ansi(true).boxed(),
        Style::Plain => lines.with_ansi(false).boxed(),
    };
    let subscriber = Registry::default().with(layer).with(lines);
    Ok((Box::new(subscriber), LogControl { handle, current: Arc::new(Mutex::new(filter.to_owned())) }))
}

/// A log that writes nowhere and is nobody's but the test's. The control works while the subscriber lives.
#[cfg(test)]
pub(crate) fn detached(filter: &str) -> Result<(Box<dyn Subscriber + Send + Sync>, LogControl), LoggingError> {
    build(filter, Style::Plain, std::io::sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn logging(filter: &str, style: Style) -> (Box<dyn Subscriber + Send + Sync>, LogControl, Kept) {
        let kept = Kept::default();
        let writer = kept.clone();
        let (subscriber, control) = build(filter, style, move || writer.clone()).unwrap();
        (subscriber, control, kept)
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_of_the_event() {
        let (subscriber, _control, kept) = logging("info", Style::Json);
        tracing::subscriber::with_default(subscriber, || tracing::info!(runner = "a:1", "runner joined"));
        let line: serde_json::Value = serde_json::from_str(&kept.take()).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "runner joined");
        assert_eq!(line["runner"], "a:1");
    }

    #[test]
    fn plain_lines_have_no_colour() {
        let (subscriber, _control, kept) = logging("info", Style::Plain);
        tracing::subscriber::with_default(subscriber, || tracing::warn!("careful"));
        let line = kept.take();
        assert!(line.contains("WARN") && line.contains("careful") && !line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn the_filter_can_be_changed_while_the_program_runs_and_a_wrong_one_changes_nothing() {
        let (subscriber, control, kept) = logging("info", Style::Plain);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("hidden");
            assert_eq!(kept.take(), "");
            control.set_filter(" debug \n").unwrap();
            assert_eq!(control.filter(), "debug");
            tracing::debug!("shown");
            assert!(kept.take().contains("shown"));
            let error = control.set_filter("runpool=loud").unwrap_err().to_string();
            assert!(error.starts_with("`runpool=loud` is not a log filter: "), "{error}");
            assert!(control.set_filter("").unwrap_err().to_string().contains("it is empty"));
            assert!(control.set_filter(&"x".repeat(5_000)).unwrap_err().to_string().contains("longer than 4096 bytes"));
            assert_eq!(control.filter(), "debug");
            tracing::debug!("still shown");
            assert!(kept.take().contains("still shown"));
        });
    }

    #[test]
    fn a_terminal_gets_lines_for_people_and_anything_else_json() {
        use LogFormat::{Auto, Human, Json};
        for (format, is_terminal, has_no_color, expected) in [
            (Auto, true, false, Style::Coloured),
            (Auto, true, true, Style::Plain),
            (Auto, false, false, Style::Json),
            (Human, false, false, Style::Plain),
            (Human, true, false, Style::Coloured),
            (Json, true, false, Style::Json),
        ] {
            assert_eq!(Style::choose(format, is_terminal, has_no_color), expected, "{format:?} {is_terminal} {has_no_color}");
        }
    }
}
