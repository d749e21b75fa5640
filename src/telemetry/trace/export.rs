//! From finished spans to the OTLP receiver: a bounded queue, one thread, and an end that is bounded too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::telemetry::metrics::Counter;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor};

use super::Exporting;
use crate::model::IncarnationId;
use crate::telemetry::config::TelemetryConfig;

/// Finished spans that may wait for the exporter: about 2 MB.
const MAX_QUEUED: usize = 4_096;
/// Spans in one message to the receiver.
const MAX_BATCH: usize = 512;
/// How long a finished span waits for company.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long the end of the program waits for the last spans if nobody says otherwise.
const DEFAULT_CLOSE: Duration = Duration::from_secs(2);

/// The exporter could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not prepare the export of spans to `{endpoint}`: {reason}")]
pub struct TracerError {
    endpoint: String,
    reason: String,
}

/// Where finished spans go.
#[derive(Debug)]
pub(super) struct SpanQueue {
    processor: BatchSpanProcessor,
    /// Spans that the exporter has not taken yet. Counted here because the processor drops without telling anybody how many.
    queued: Arc<AtomicUsize>,
    dropped: Counter,
    is_closed: AtomicBool,
}

impl SpanQueue {
    /// Starts the exporting thread.
    pub(super) fn start(endpoint: &str, config: &TelemetryConfig, dropped: Counter) -> Result<Self, TracerError> {
        let failed = |reason: String| TracerError { endpoint: endpoint.to_owned(), reason };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client(config.otlp_timeout).map_err(failed)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(config.otlp_timeout)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self::over(exporter, resource(&config.service_name), dropped))
    }

    fn over<E: SpanExporter + 'static>(exporter: E, resource: Resource, dropped: Counter) -> Self {
        let queued = Arc::new(AtomicUsize::new(0));
        let exporter = CountingExporter {
            inner: exporter,
            queued: Arc::clone(&queued),
            dropped: dropped.clone(),
            is_failing: AtomicBool::new(false),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let mut processor = BatchSpanProcessor::new(exporter, batches);
        processor.set_resource(&resource);
        Self { processor, queued, dropped, is_closed: AtomicBool::new(false) }
    }

    /// Hands over a finished span, or drops and counts it. Never blocks.
    pub(super) fn push(&self, span: SpanData) {
        if self.is_closed.load(Ordering::Acquire) {
            self.dropped.inc();
        } else if self.queued.fetch_add(1, Ordering::AcqRel) >= MAX_QUEUED {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.dropped.inc();
        } else {
            self.processor.on_end(span);
        }
    }

    /// Exports what is queued and ends the thread; gives up after `within`. Blocks.
    fn close(&self, within: Duration) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.processor.shutdown_with_timeout(within) {
            Ok(()) | Err(OTelSdkError::AlreadyShutdown) => {}
            Err(error) => {
                let left = self.queued.load(Ordering::Acquire);
                tracing::warn!(%error, queued = left, "the last spans were not handed over in time");
            }
        }
    }
}

/// The HTTP client of the exporting thread. It goes straight to the receiver, which is nearby: no proxy of the environment, no
/// redirection to somebody else.
fn client(timeout: Duration) -> Result<reqwest::blocking::Client, String> {
    let make = move || {
        reqwest::blocking::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(timeout).build()
    };
    // A blocking client runs a runtime of its own and refuses to be made on a thread that is in one already.
    let made = std::thread::Builder::new().name("otlp-client".to_owned()).spawn(make).map_err(|error| error.to_string())?;
    made.join().map_err(|_| "making the HTTP client panicked".to_owned())?.map_err(|error| error.to_string())
}

/// Who exports.
fn resource(service_name: &str) -> Resource {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", IncarnationId::from_parts(started_ms, rand::random()).to_string()))
        .build()
}

/// Counts what leaves the queue and what the receiver does not take; tells of a failing receiver once, not at every batch.
#[derive(Debug)]
struct CountingExporter<E> {
    inner: E,
    queued: Arc<AtomicUsize>,
    dropped: Counter,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.queued.fetch_sub(count, Ordering::AcqRel);
        let result = self.inner.export(batch).await;
        match &result {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!("spans are exported again");
                }
            }
            Err(error) => {
                self.dropped.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, spans = count, "could not export spans; they are dropped until the receiver takes them");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Owns the exporting thread: hands over the last spans when closed or dropped. Keep it until the last span has ended.
#[derive(Debug, Default)]
pub struct TracerGuard {
    exporting: Option<Arc<Exporting>>,
}

impl TracerGuard {
    pub(super) const fn new(exporting: Arc<Exporting>) -> Self {
        Self { exporting: Some(exporting) }
    }

    /// Hands over what is queued and ends the thread; gives up after `within`, so that a dead receiver cannot hold the program.
    /// Spans that end later are dropped and counted.
    ///
    /// Blocks: inside of a runtime, call it on a thread for blocking work. Dropping the guard does the same within 2 seconds.
    pub fn close(mut self, within: Duration) {
        if let Some(exporting) = self.exporting.take() {
            exporting.queue.close(within);
        }
    }
}

impl Drop for TracerGuard {
    fn drop(&mut self) {
        if let Some(exporting) = self.exporting.take() {
            exporting.queue.close(DEFAULT_CLOSE);
        }
    }
}
