//! `[telemetry]`: metrics, traces, the program's log and the access log.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing_subscriber::EnvFilter;

use super::metrics::{Label, MetricsConfig};
use crate::model::{human_duration, option_human_duration};

/// How the program's own log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people when standard error is a terminal, else JSON.
    #[default]
    Auto,
    /// For people; coloured when standard error is a terminal and `NO_COLOR` is not set.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the access log goes. Written as `"off"`, `"stdout"`, `"stderr"` or the path of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Standard error, among the lines of the program's own log.
    Stderr,
    /// A file, appended to. It is made if it is not there; its directory must be.
    File(PathBuf),
}

impl Serialize for AccessLogTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Stdout => serializer.serialize_str("stdout"),
            Self::Stderr => serializer.serialize_str("stderr"),
            Self::File(path) => serializer.serialize_str(&path.to_string_lossy()),
        }
    }
}

impl<'de> Deserialize<'de> for AccessLogTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "" => return Err(serde::de::Error::custom("the text is empty: expected \"off\", \"stdout\", \"stderr\" or a path")),
            "off" => Self::Off,
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            path => Self::File(path.into()),
        })
    }
}

/// Which calls the access log shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLogFilter {
    /// All.
    #[default]
    All,
    /// Those that ended in another way than `ok` or `accepted`, or were answered with a status of 500 or more.
    Errors,
    /// Those that needed more than one attempt.
    Retried,
}

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Which labels the metrics of calls, placements and runners carry.
    pub labels: Vec<Label>,
    /// Upper bounds of the classic buckets of every duration, in seconds, strictly increasing.
    pub buckets: Vec<f64>,
    /// Whether histograms are also kept as native ones (seen by scrapers that ask for protobuf).
    pub native_histograms: bool,
    /// Base URL of an OTLP receiver, such as `http://127.0.0.1:4318`: spans are posted to `/v1/traces` below it as protobuf.
    /// Absent: no span is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// How long handing over one batch of spans may take.
    #[serde(with = "human_duration")]
    pub otlp_timeout: Duration,
    /// The share of new traces that are recorded, 0 to 1. A client's own choice in `traceparent` is obeyed.
    pub sample_ratio: f64,
    /// The name under which spans are exported (`service.name`).
    pub service_name: String,
    /// How the program's own log is written.
    pub log_format: LogFormat,
    /// What it shows: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or levels by target (`info,runpool::placement=debug`).
    pub log_filter: String,
    /// Where the access log goes.
    pub access_log: AccessLogTarget,
    /// Which calls it shows.
    pub access_log_filter: AccessLogFilter,
    /// Calls that took at least this long are slow. With the filter `all`, only slow calls are shown; with any other, slow
    /// calls are shown too.
    #[serde(with = "option_human_duration", skip_serializing_if = "Option::is_none")]
    pub access_log_slower_than: Option<Duration>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        let MetricsConfig { labels, buckets, native_histograms } = MetricsConfig::default();
        Self {
            labels,
            buckets,
            native_histograms,
            otlp_endpoint: None,
            otlp_timeout: Duration::from_secs(5),
            sample_ratio: 1.0,
            service_name: "runpool".to_owned(),
            log_format: LogFormat::default(),
            log_filter: "info".to_owned(),
            access_log: AccessLogTarget::default(),
            access_log_filter: AccessLogFilter::default(),
            access_log_slower_than: None,
        }
    }
}

/// A value of `[telemetry]` that is not usable.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum InvalidTelemetry {
    /// No bucket was given.
    #[error("`telemetry.buckets` is empty: expected at least one upper bound in seconds")]
    NoBuckets,
    /// A bucket bound is not a number above zero.
    #[error("`telemetry.buckets` has {0}: expected finite numbers of seconds above 0")]
    Bucket(f64),
    /// Two bounds are not in order.
    #[error("`telemetry.buckets` has {1} after {0}: expected strictly increasing numbers of seconds")]
    BucketOrder(f64, f64),
    /// There are too many buckets.
    #[error("`telemetry.buckets` has {0} bounds: expected at most {MAX_BUCKETS}, since every series has them all")]
    TooManyBuckets(usize),
    /// A label is given twice.
    #[error("`telemetry.labels` has `{}` twice: expected each label once", .0.as_str())]
    Label(Label),
    /// The sample ratio is not a share.
    #[error("`telemetry.sample_ratio` is {0}: expected a number from 0 to 1")]
    SampleRatio(f64),
    /// The endpoint is not a URL that spans can be sent to.
    #[error("`telemetry.otlp_endpoint` is `{url}`, {what}: expected a base URL such as \"http://127.0.0.1:4318\"")]
    Endpoint {
        /// What was given.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The time for handing over spans is zero.
    #[error("`telemetry.otlp_timeout` is 0s: expected a time above zero")]
    OtlpTimeout,
    /// The service has no name.
    #[error("`telemetry.service_name` is empty: expected the name that spans are found under")]
    ServiceName,
    /// The log filter cannot be read.
    #[error(
        "`telemetry.log_filter` is `{filter}`: {reason}; expected a level, or levels by target such as \"info,runpool=debug\""
    )]
    LogFilter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The most bounds that `buckets` may have.
const MAX_BUCKETS: usize = 200;

impl TelemetryConfig {
    /// The part that metrics are made by.
    pub fn metrics(&self) -> MetricsConfig {
        MetricsConfig { labels: self.labels.clone(), buckets: self.buckets.clone(), native_histograms: self.native_histograms }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first value that is not usable, with its key and what was expected.
    pub fn validate(&self) -> Result<(), InvalidTelemetry> {
        self.validate_metrics()?;
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(InvalidTelemetry::SampleRatio(self.sample_ratio));
        }
        if self.otlp_timeout.is_zero() {
            return Err(InvalidTelemetry::OtlpTimeout);
        }
        if self.service_name.trim().is_empty() {
            return Err(InvalidTelemetry::ServiceName);
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            validate_endpoint(endpoint)?;
        }
        parse_filter(&self.log_filter)
            .map_err(|reason| InvalidTelemetry::LogFilter { filter: self.log_filter.clone(), reason })?;
        Ok(())
    }

    fn validate_metrics(&self) -> Result<(), InvalidTelemetry> {
        if self.buckets.is_empty() {
            return Err(InvalidTelemetry::NoBuckets);
        }
        if self.buckets.len() > MAX_BUCKETS {
            return Err(InvalidTelemetry::TooManyBuckets(self.buckets.len()));
        }
        let mut previous = None;
        for &bucket in &self.buckets {
            if !bucket.is_finite() || bucket <= 0.0 {
                return Err(InvalidTelemetry::Bucket(bucket));
            }
            match previous {
                Some(before) if bucket <= before => return Err(InvalidTelemetry::BucketOrder(before, bucket)),
                _ => previous = Some(bucket),
            }
        }
        for (position, label) in self.labels.iter().enumerate() {
            if self.labels.iter().skip(position + 1).any(|other| other == label) {
                return Err(InvalidTelemetry::Label(*label));
            }
        }
        Ok(())
    }
}

/// Reads a log filter. An empty one is refused: it would silence the program without anybody having said so.
pub(super) fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

fn validate_endpoint(endpoint: &str) -> Result<(), InvalidTelemetry> {
    let wrong = |what| InvalidTelemetry::Endpoint { url: endpoint.to_owned(), what };
    let url: http::Uri = endpoint.parse().map_err(|_| wrong("which is not a URL"))?;
    match url.scheme_str() {
        Some("http") => {}
        // The exporter is built without TLS: a collector beside the balancer is what OpenTelemetry recommends.
        Some("https") => return Err(wrong("but spans are sent without TLS, to a collector nearby")),
        _ => return Err(wrong("which is not an http:// URL")),
    }
    if url.host().is_none_or(str::is_empty) {
        return Err(wrong("which names no host"));
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("which holds a password that would be seen in logs"));
    }
    if url.query().is_some() {
        return Err(wrong("which has a query"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut TelemetryConfig)) -> String {
        let mut config = TelemetryConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid_and_survive_a_file() {
        let config = TelemetryConfig::default();
        assert_eq!(config.validate(), Ok(()));
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TelemetryConfig>(&text).unwrap(), config);
        assert_eq!(config.metrics(), MetricsConfig::default());
    }

    #[test]
    fn every_field_is_read_from_a_file() {
        let config: TelemetryConfig = toml::from_str(
            r#"
            labels = ["function"]
            buckets = [0.1, 1]
            native_histograms = false
            otlp_endpoint = "http://127.0.0.1:4318"
            otlp_timeout = "2s"
            sample_ratio = 0.25
            service_name = "edge"
            log_format = "json"
            log_filter = "warn,runpool::placement=debug"
            access_log = "/var/log/runpool/access.jsonl"
            access_log_filter = "retried"
            access_log_slower_than = "1500ms"
            "#,
        )
        .unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.access_log, AccessLogTarget::File("/var/log/runpool/access.jsonl".into()));
        assert_eq!(config.access_log_slower_than, Some(Duration::from_millis(1_500)));
        assert_eq!(config.metrics().labels, [Label::Function]);
    }

    #[test]
    fn an_unknown_key_and_an_empty_access_log_are_refused() {
        let error = toml::from_str::<TelemetryConfig>("bucket = [1.0]").unwrap_err().to_string();
        assert!(error.contains("unknown field `bucket`"), "{error}");
        let error = toml::from_str::<TelemetryConfig>("access_log = \"\"").unwrap_err().to_string();
        assert!(error.contains("expected \"off\", \"stdout\", \"stderr\" or a path"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_what_was_expected() {
        assert_eq!(
            error(|config| config.buckets = vec![0.1, 0.1]),
            "`telemetry.buckets` has 0.1 after 0.1: expected strictly increasing numbers of seconds"
        );
        assert_eq!(
            error(|config| config.buckets = vec![f64::NAN]),
            "`telemetry.buckets` has NaN: expected finite numbers of seconds above 0"
        );
        assert_eq!(
            error(|config| config.buckets.clear()),
            "`telemetry.buckets` is empty: expected at least one upper bound in seconds"
        );
        assert_eq!(
            error(|config| config.labels = vec![Label::Placer, Label::Placer]),
            "`telemetry.labels` has `placer` twice: expected each label once"
        );
        assert_eq!(error(|config| config.sample_ratio = 1.5), "`telemetry.sample_ratio` is 1.5: expected a number from 0 to 1");
        assert_eq!(
            error(|config| config.otlp_timeout = Duration::ZERO),
            "`telemetry.otlp_timeout` is 0s: expected a time above zero"
        );
        assert_eq!(
            error(|config| config.service_name = " ".into()),
            "`telemetry.service_name` is empty: expected the name that spans are found under"
        );
        for (url, what) in [
            ("not a url", "which is not a URL"),
            ("127.0.0.1:4318", "which is not an http:// URL"),
            ("https://collector", "but spans are sent without TLS, to a collector nearby"),
            ("http://user:secret@collector", "which holds a password that would be seen in logs"),
            ("http://collector/?a=b", "which has a query"),
        ] {
            assert_eq!(
                error(|config| config.otlp_endpoint = Some(url.into())),
                format!("`telemetry.otlp_endpoint` is `{url}`, {what}: expected a base URL such as \"http://127.0.0.1:4318\"")
            );
        }
        let text = error(|config| config.log_filter = "runpool=loud".into());
        assert!(text.starts_with("`telemetry.log_filter` is `runpool=loud`: "), "{text}");
        assert!(text.ends_with("expected a level, or levels by target such as \"info,runpool=debug\""), "{text}");
        assert!(error(|config| config.log_filter = String::new()).contains("it is empty"));
    }
}
