//! Spans of calls, placements and attempts.
//!
//! Spans are made only for sampled traces: everything else is the passing on of a [`TraceContext`], without an allocation or a
//! look at the clock. Without an exporter nothing is sampled here, and a client's own trace passes through unchanged.
//!
//! The SDK's own tracer is not used: it keeps a context of its own on the heap and chooses ids itself, while here the context is
//! 25 bytes that travel with the call. What is used is the SDK's batching, in a thread of its own, and the OTLP exporter.

mod export;
mod sampler;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::telemetry::metrics::Counter;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use self::export::SpanQueue;
pub use self::export::{TracerError, TracerGuard};
use self::sampler::Sampler;
use super::config::TelemetryConfig;
use super::metrics::Metrics;
use crate::model::TraceContext;

/// What a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside the program.
    Internal,
    /// A request that came in.
    Server,
    /// A request that went out.
    Client,
}

impl From<SpanKind> for opentelemetry::trace::SpanKind {
    fn from(kind: SpanKind) -> Self {
        match kind {
            SpanKind::Internal => Self::Internal,
            SpanKind::Server => Self::Server,
            SpanKind::Client => Self::Client,
        }
    }
}

/// Makes spans. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    exporting: Option<Arc<Exporting>>,
    dropped: Counter,
}

/// What is there only when spans are exported.
#[derive(Debug)]
struct Exporting {
    sampler: Sampler,
    scope: InstrumentationScope,
    queue: SpanQueue,
}

impl Tracer {
    /// A tracer that samples nothing and exports nothing.
    pub fn disabled() -> Self {
        Self::default()
    }

    /// The tracer that the configuration asks for, with the guard that hands over the last spans at the end of the program. Without
    /// an endpoint it is [`Tracer::disabled`] and the guard does nothing. May be called inside of a runtime or outside.
    ///
    /// # Errors
    /// The exporter could not be made of the configured endpoint.
    pub fn from_config(config: &TelemetryConfig) -> Result<(Self, TracerGuard), TracerError> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok((Self::disabled(), TracerGuard::default())) };
        let dropped = Counter::default();
        let queue = SpanQueue::start(endpoint, config, dropped.clone())?;
        let exporting = Arc::new(Exporting {
            sampler: Sampler::new(config.sample_ratio),
            scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build(),
            queue,
        });
        let guard = TracerGuard::new(Arc::clone(&exporting));
        Ok((Self { exporting: Some(exporting), dropped }, guard))
    }

    /// Declares what is counted about spans.
    pub fn declare(&self, metrics: &mut Metrics) {
        metrics.single_counter(
            "runpool_spans_dropped",
            "Spans that were made but not exported: the queue was full, or the receiver did not take them",
            self.dropped.clone(),
        );
    }

    /// The context under which a call's span is made: the client's, if it sent one, else a new trace, sampled or not by the
    /// configured share.
    ///
    /// A new trace that is sampled has no span yet: its `span_id` is all zero until [`Tracer::span`] made the first, which has
    /// then no parent. A context of this kind must not go out to others; that of a span made from it may.
    pub fn adopt(&self, client: Option<TraceContext>) -> TraceContext {
        if let Some(context) = client {
            return context;
        }
        let trace_id = rand::random::<u128>() | 1;
        let is_sampled = self.exporting.as_ref().is_some_and(|exporting| exporting.sampler.takes(trace_id));
        let span_id = if is_sampled { 0 } else { random_span_id() };
        TraceContext { trace_id: trace_id.to_be_bytes(), span_id: span_id.to_be_bytes(), is_sampled }
    }

    /// Begins a span below `parent`. If it is not recorded, its context is `parent` itself.
    pub fn span(&self, name: &'static str, kind: SpanKind, parent: &TraceContext) -> Span {
        match &self.exporting {
            Some(exporting) if parent.is_sampled => Span::recorded(exporting, name, kind, parent),
            _ => Span { context: *parent, recording: None },
        }
    }
}

fn random_span_id() -> u64 {
    rand::random::<u64>() | 1
}

/// One span. Ends when dropped.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    /// On the heap, so that a span that is not recorded is small to move.
    recording: Option<Box<Recording>>,
}

/// A span that will be exported.
#[derive(Debug)]
struct Recording {
    data: SpanData,
    /// Times by the monotonic clock what `data.start_time` began by the calendar.
    began: Instant,
    exporting: Arc<Exporting>,
}

/// Attributes of one span; more are counted, not kept.
const MAX_ATTRIBUTES: usize = 64;
/// Bytes of one text attribute; the rest is cut off.
const MAX_TEXT: usize = 1_024;

impl Span {
    fn recorded(exporting: &Arc<Exporting>, name: &'static str, kind: SpanKind, parent: &TraceContext) -> Self {
        let context = TraceContext { span_id: random_span_id().to_be_bytes(), ..*parent };
        let (trace_id, span_id) = (TraceId::from_bytes(context.trace_id), SpanId::from_bytes(context.span_id));
        let parent_span_id = SpanId::from_bytes(parent.span_id);
        let now = SystemTime::now();
        let data = SpanData {
            span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id,
            parent_span_is_remote: kind == SpanKind::Server && parent_span_id != SpanId::INVALID,
            span_kind: kind.into(),
            name: name.into(),
            start_time: now,
            end_time: now,
            attributes: Vec::with_capacity(8),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: exporting.scope.clone(),
        };
        let recording = Recording { data, began: Instant::now(), exporting: Arc::clone(exporting) };
        Self { context, recording: Some(Box::new(recording)) }
    }

    /// The context of work below this span.
    pub const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Whether the span will be exported; what costs time to find out need not be, if not.
    pub const fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Adds a text attribute, of which the first 1,024 bytes are kept.
    pub fn text(&mut self, key: &'static str, value: impl Into<String>) {
        if let Some(recording) = &mut self.recording {
            recording.add(key, cut(value.into()).into());
        }
    }

    /// Adds a number attribute.
    pub fn number(&mut self, key: &'static str, value: i64) {
        if let Some(recording) = &mut self.recording {
            recording.add(key, value.into());
        }
    }

    /// Adds a yes-or-no attribute.
    pub fn flag(&mut self, key: &'static str, value: bool) {
        if let Some(recording) = &mut self.recording {
            recording.add(key, value.into());
        }
    }

    /// Adds the status of an HTTP answer, under OpenTelemetry's name for it.
    pub fn status(&mut self, status: http::StatusCode) {
        self.number("http.response.status_code", i64::from(status.as_u16()));
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, detail: &str) {
        if let Some(recording) = &mut self.recording {
            recording.data.status = Status::error(cut(detail.to_owned()));
        }
    }
}

impl Recording {
    fn add(&mut self, key: &'static str, value: Value) {
        if self.data.attributes.len() < MAX_ATTRIBUTES {
            self.data.attributes.push(KeyValue::new(key, value));
        } else {
            self.data.dropped_attributes_count = self.data.dropped_attributes_count.saturating_add(1);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take() {
            let Recording { mut data, began, exporting } = *recording;
            data.end_time = data.start_time + began.elapsed();
            exporting.queue.push(data);
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests;
