//! Metrics in the format that a scraper asks for.
//!
//! Three formats of one registry: Prometheus protobuf (the only one with native histograms), OpenMetrics 1.0, and the classic text
//! 0.0.4, which is also what everybody gets who asks for nothing in particular. Output is stable: families in the order of their
//! declaration, series in the order of their label values.

use http::HeaderMap;
use http::header::ACCEPT;
use prometheus_client::encoding::{prometheus_protobuf, prometheus_text, text};

use super::metrics::Metrics;

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format, version 0.0.4: classic buckets.
    Text,
    /// OpenMetrics text format, version 1.0.0: classic buckets.
    OpenMetrics,
    /// Prometheus protobuf, length-delimited: classic and native buckets.
    Protobuf,
}

/// The metrics could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write the metrics as {format:?}: {reason}")]
pub struct ExpositionError {
    format: Format,
    reason: String,
}

/// Metrics as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The document.
    pub body: Vec<u8>,
}

/// Writes all metrics in the format that the request's headers ask for.
///
/// # Errors
/// A metric cannot be written in this format.
pub fn expose(metrics: &Metrics, request: &HeaderMap) -> Result<Exposition, ExpositionError> {
    Format::negotiate(request).write(metrics)
}

impl Format {
    /// In the order in which they win if a scraper likes several the same: text first, since people like it too.
    const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
        }
    }

    /// The format that `Accept` likes best (RFC 9110 section 12.5.1): for each format the most specific range that covers it
    /// gives the weight. Of equal weights the format that is named wins over one that is only covered by `*`, then the one named
    /// first. If none is acceptable it is text: a scraper that reads nothing we write is better served by something to look at.
    pub fn negotiate(request: &HeaderMap) -> Self {
        let ranges: Vec<MediaRange<'_>> = request
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(split_ranges)
            .filter_map(MediaRange::read)
            .take(MAX_RANGES)
            .collect();
        let mut best: Option<(Wish, Self)> = None;
        for format in Self::ALL {
            let Some(wish) = format.wish(&ranges) else { continue };
            if best.is_none_or(|(other, _)| wish.is_stronger_than(&other)) {
                best = Some((wish, format));
            }
        }
        best.map_or(Self::Text, |(_, format)| format)
    }

    /// Writes all metrics in this format.
    ///
    /// # Errors
    /// A metric cannot be written in this format.
    pub fn write(self, metrics: &Metrics) -> Result<Exposition, ExpositionError> {
        let failed = |error: &dyn std::fmt::Display| ExpositionError { format: self, reason: error.to_string() };
        let body = match self {
            Self::Text => {
                let mut document = String::new();
                prometheus_text::encode(&mut document, metrics.registry()).map_err(|error| failed(&error))?;
                document.into_bytes()
            }
            Self::OpenMetrics => {
                let mut document = String::new();
                text::encode(&mut document, metrics.registry()).map_err(|error| failed(&error))?;
                document.into_bytes()
            }
            Self::Protobuf => prometheus_protobuf::encode_to_vec(metrics.registry()).map_err(|error| failed(&error))?,
        };
        Ok(Exposition { content_type: self.content_type(), body })
    }

    /// How much this format is wished for: by the most specific of the ranges that cover it.
    fn wish(self, ranges: &[MediaRange<'_>]) -> Option<Wish> {
        let mut wish: Option<Wish> = None;
        for (position, range) in ranges.iter().enumerate() {
            let Some(specificity) = range.covers(self) else { continue };
            if wish.is_none_or(|other| specificity > other.specificity) {
                wish = Some(Wish { weight: range.weight, specificity, position });
            }
        }
        wish.filter(|wish| wish.weight > 0)
    }
}

/// Ranges of an `Accept` that are looked at.
const MAX_RANGES: usize = 32;

/// What `Accept` says about one format.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// Thousandths.
    weight: u16,
    specificity: u8,
    position: usize,
}

impl Wish {
    /// Two formats that are only covered by a wildcard are wished for the same.
    fn is_stronger_than(&self, other: &Self) -> bool {
        (self.weight, self.specificity) > (other.weight, other.specificity)
            || (self.weight == other.weight && self.specificity == other.specificity && self.position < other.position)
    }
}

/// One member of `Accept`.
#[derive(Clone, Debug)]
struct MediaRange<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    weight: u16,
}

impl<'a> MediaRange<'a> {
    /// Reads `type/subtype;name=value;q=0.5`. `None` for what is none.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let (mut parameters, mut weight) = (Vec::new(), 1_000);
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                weight = read_weight(value)?;
            } else {
                parameters.push((name, value));
            }
        }
        Some(Self { kind, parameters, weight })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// How specific the range is about `format`: 0 for `*/*`, 1 for `type/*`, 2 for the type itself, 3 with its version.
    /// `None` if it does not cover it.
    fn covers(&self, format: Format) -> Option<u8> {
        if self.kind == "*/*" {
            return Some(0);
        }
        let (kind, family) = match format {
            Format::Text => ("text/plain", "text/*"),
            Format::OpenMetrics => ("application/openmetrics-text", "application/*"),
            Format::Protobuf => ("application/vnd.google.protobuf", "application/*"),
        };
        if self.kind.eq_ignore_ascii_case(family) {
            // A machine format that nobody named is of no use to who takes any application type.
            return (format != Format::Protobuf).then_some(1);
        }
        if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        let version = self.parameter("version");
        match format {
            Format::Text if version == Some("0.0.4") => Some(3),
            Format::OpenMetrics if version == Some("1.0.0") => Some(3),
            // What was 0.0.1 reads 1.0.0, and every scraper that asks for the one asks for the other.
            Format::OpenMetrics if version == Some("0.0.1") => Some(2),
            Format::Text | Format::OpenMetrics => version.is_none().then_some(2),
            Format::Protobuf => {
                let is_ours = self.parameter("proto") == Some("io.prometheus.client.MetricFamily")
                    && self.parameter("encoding") == Some("delimited");
                is_ours.then_some(3)
            }
        }
    }
}

/// The members of a list, cut at commas that do not stand inside of quotes.
fn split_ranges(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
    .map(str::trim)
}

/// A weight in thousandths (RFC 9110 section 12.4.2).
fn read_weight(text: &str) -> Option<u16> {
    let weight: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1,000")]
    (0.0..=1.0).contains(&weight).then_some((weight * 1_000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Label, MetricsConfig, observe};
    use http::HeaderValue;
    use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
    use proptest::prelude::*;
    use prost::Message as _;
    use std::time::Duration;

    fn negotiated(accept: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        Format::negotiate(&headers)
    }

    /// Prometheus 2.42 with native histograms.
    const PROMETHEUS_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
         application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// The same without.
    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

    #[test]
    fn every_scraper_gets_the_format_that_it_likes_best() {
        for (accept, expected) in [
            (&[][..], Format::Text),
            (&["*/*"], Format::Text),
            (&[PROMETHEUS_NATIVE], Format::Protobuf),
            (&[PROMETHEUS], Format::OpenMetrics),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Format::Text),
            (&["application/openmetrics-text;q=0.3", "text/plain;q=0.7"], Format::Text),
            (&["application/openmetrics-text;version=\"1.0.0\", text/plain"], Format::OpenMetrics),
            (&["text/plain;q=0, */*"], Format::OpenMetrics),
            (&["text/plain;q=0.2, */*;q=0.9"], Format::OpenMetrics),
            (&["application/*"], Format::OpenMetrics),
            (&["application/vnd.google.protobuf"], Format::Text),
            (&["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"], Format::Text),
            (&["application/openmetrics-text;version=2.0.0"], Format::Text),
            (&["application/json"], Format::Text),
            (&["APPLICATION/OpenMetrics-Text; Q=1.0"], Format::OpenMetrics),
            (&["application/openmetrics-text;q=nan, ,;;=, x"], Format::Text),
        ] {
            assert_eq!(negotiated(accept), expected, "{accept:?}");
        }
    }

    /// One counter and one histogram, declared in this order, with series made in the wrong one.
    fn sample() -> Metrics {
        let mut metrics = Metrics::new(&MetricsConfig { buckets: vec![0.5, 1.0], ..MetricsConfig::default() });
        let counter = metrics.counter("calls", "Calls that ended.");
        let histogram = metrics.durations("wait_seconds", "Waits");
        for (function, calls) in [("b", 2), ("a", 1)] {
            counter.get_or_create(&metrics.labels(&[(Label::Function, function)])).inc_by(calls);
        }
        observe(&histogram.get_or_create(&metrics.labels(&[(Label::Function, "a")])), Duration::from_micros(750_001));
        metrics
    }

    #[test]
    fn text_is_sorted_has_total_on_counters_and_classic_buckets_of_native_histograms() {
        let exposition = Format::Text.write(&sample()).unwrap();
        assert_eq!(exposition.content_type, "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(
            String::from_utf8(exposition.body).unwrap(),
            "# HELP calls_total Calls that ended.\n# TYPE calls_total counter\n\
             calls_total{function=\"a\"} 1\ncalls_total{function=\"b\"} 2\n\
             # HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n\
             wait_seconds_bucket{function=\"a\",le=\"0.5\"} 0\nwait_seconds_bucket{function=\"a\",le=\"1\"} 1\n\
             wait_seconds_bucket{function=\"a\",le=\"+Inf\"} 1\n\
             wait_seconds_sum{function=\"a\"} 0.750001\nwait_seconds_count{function=\"a\"} 1\n"
        );
    }

    #[test]
    fn openmetrics_ends_with_its_end_mark_and_names_the_counter_without_total() {
        let text = String::from_utf8(Format::OpenMetrics.write(&sample()).unwrap().body).unwrap();
        assert!(
            text.starts_with("# HELP calls Calls that ended.\n# TYPE calls counter\ncalls_total{function=\"a\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("wait_seconds_bucket{le=\"0.5\",function=\"a\"} 0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn protobuf_carries_classic_and_native_buckets() {
        let body = Format::Protobuf.write(&sample()).unwrap().body;
        let mut rest = body.as_slice();
        let mut families = Vec::new();
        while !rest.is_empty() {
            families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
        }
        let names: Vec<_> = families.iter().map(|family| family.name.as_str()).collect();
        assert_eq!(names, ["calls_total", "wait_seconds"]);
        let histogram = families[1].metric[0].histogram.as_ref().unwrap();
        assert_eq!(histogram.sample_count, 1);
        assert_eq!(histogram.bucket.len(), 3, "two bounds and infinity");
        assert_eq!(histogram.positive_delta, [1]);
        assert_eq!(histogram.schema, 3, "a factor of at most 1.1 between buckets");
    }

    #[test]
    fn without_native_histograms_protobuf_has_classic_buckets_only() {
        let mut metrics = Metrics::new(&MetricsConfig { native_histograms: false, ..MetricsConfig::default() });
        metrics.durations("wait_seconds", "Waits").get_or_create(&Vec::new()).observe(0.1);
        let body = Format::Protobuf.write(&metrics).unwrap().body;
        let family = MetricFamily::decode_length_delimited(body.as_slice()).unwrap();
        assert!(family.metric[0].histogram.as_ref().unwrap().positive_span.is_empty());
    }

    proptest! {
        #[test]
        fn no_accept_header_makes_the_reader_panic(accept in "[ -~]{0,80}") {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(&accept).unwrap());
            Format::negotiate(&headers);
        }
    }
}
