//! Spans as a receiver of OTLP sees them.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{self as proto, span};
use prost::Message as _;
use tokio::sync::mpsc;

use super::*;

/// Long enough for any machine; what is waited for comes at once.
const WITHIN: Duration = Duration::from_secs(60);

fn client_context(is_sampled: bool) -> TraceContext {
    TraceContext { trace_id: [7; 16], span_id: [9; 8], is_sampled }
}

fn config(endpoint: &str) -> TelemetryConfig {
    TelemetryConfig { otlp_endpoint: Some(endpoint.to_owned()), ..TelemetryConfig::default() }
}

/// An OTLP receiver that hands on what it was sent: path, content type and decoded message.
async fn receiver() -> (String, mpsc::Receiver<(String, String, ExportTraceServiceRequest)>) {
    let (sender, received) = mpsc::channel(16);
    let handler = move |request: axum::extract::Request| {
        let sender = sender.clone();
        async move {
            let path = request.uri().path().to_owned();
            let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            sender.send((path, kind, ExportTraceServiceRequest::decode(body).unwrap())).await.unwrap();
            // An empty message is an answer without partial success.
            ([("content-type", "application/x-protobuf")], Vec::<u8>::new())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    (endpoint, received)
}

/// Closes the guard off the runtime and gives back all spans of one message.
async fn exported(
    guard: TracerGuard,
    received: &mut mpsc::Receiver<(String, String, ExportTraceServiceRequest)>,
) -> (ExportTraceServiceRequest, Vec<proto::Span>) {
    tokio::task::spawn_blocking(move || guard.close(WITHIN)).await.unwrap();
    let (path, kind, message) = received.recv().await.unwrap();
    assert_eq!((path.as_str(), kind.as_str()), ("/v1/traces", "application/x-protobuf"));
    let scopes = message.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans.clone()).collect();
    (message, spans)
}

fn named<'a>(spans: &'a [proto::Span], name: &str) -> Vec<&'a proto::Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> &'a any_value::Value {
    let pair = attributes.iter().find(|pair| pair.key == key).unwrap_or_else(|| panic!("{key} in {attributes:?}"));
    pair.value.as_ref().unwrap().value.as_ref().unwrap()
}

#[tokio::test]
async fn a_call_its_placement_and_its_attempts_are_one_trace_and_the_runner_sees_the_attempts_id() {
    let (endpoint, mut received) = receiver().await;
    let (tracer, guard) = Tracer::from_config(&config(&format!("{endpoint}/"))).unwrap();
    let client = client_context(true);
    let mut sent_to_runners = Vec::new();
    {
        let mut call = tracer.span("call", SpanKind::Server, &tracer.adopt(Some(client)));
        assert!(call.is_recording());
        let placement = tracer.span("placement", SpanKind::Internal, call.context());
        for number in 1..=2 {
            let mut attempt = tracer.span("attempt", SpanKind::Client, placement.context());
            attempt.number("runpool.attempt", number);
            attempt.text("runpool.runner", "127.0.0.1:9001");
            attempt.flag("runpool.is_last", number == 2);
            sent_to_runners.push(*attempt.context());
        }
        call.status(http::StatusCode::BAD_GATEWAY);
        call.fail("function_failed");
    }
    let (message, spans) = exported(guard, &mut received).await;

    let resource = &message.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(attribute(resource, "service.name"), &any_value::Value::StringValue("runpool".to_owned()));
    assert_eq!(attribute(resource, "service.version"), &any_value::Value::StringValue(env!("CARGO_PKG_VERSION").to_owned()));
    assert!(matches!(attribute(resource, "service.instance.id"), any_value::Value::StringValue(id) if id.len() == 26));

    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|span| span.trace_id == client.trace_id));
    let (call, placement, attempts) = (named(&spans, "call")[0], named(&spans, "placement")[0], named(&spans, "attempt"));
    assert_eq!(call.parent_span_id, client.span_id);
    assert_eq!(placement.parent_span_id, call.span_id);
    assert_eq!(attempts.len(), 2);
    for (attempt, sent) in attempts.iter().zip(&sent_to_runners) {
        assert_eq!(attempt.parent_span_id, placement.span_id);
        assert_eq!(attempt.span_id, sent.span_id);
        assert!(sent.is_sampled);
        assert_eq!(attempt.kind, i32::from(span::SpanKind::Client as u8));
        assert!(placement.start_time_unix_nano <= attempt.start_time_unix_nano);
        assert!(attempt.start_time_unix_nano <= attempt.end_time_unix_nano);
    }
    assert_ne!(attempts[0].span_id, attempts[1].span_id);
    assert_eq!(attribute(&attempts[1].attributes, "runpool.attempt"), &any_value::Value::IntValue(2));
    assert_eq!(attribute(&attempts[1].attributes, "runpool.is_last"), &any_value::Value::BoolValue(true));
    assert_eq!(attribute(&call.attributes, "http.response.status_code"), &any_value::Value::IntValue(502));
    let status = call.status.as_ref().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (proto::status::StatusCode::Error, "function_failed"));
    assert_eq!(tracer.dropped.get(), 0);
}

#[tokio::test]
async fn a_new_trace_begins_with_the_call_which_has_no_parent() {
    let (endpoint, mut received) = receiver().await;
    let (tracer, guard) = Tracer::from_config(&config(&endpoint)).unwrap();
    let call = tracer.span("call", SpanKind::Server, &tracer.adopt(None));
    let context = *call.context();
    assert_ne!(context.span_id, [0; 8], "what goes out is valid");
    assert_ne!(context.trace_id, [0; 16]);
    drop(call);
    let (_, spans) = exported(guard, &mut received).await;
    assert_eq!(spans.len(), 1);
    assert!(spans[0].parent_span_id.iter().all(|byte| *byte == 0), "{:?}", spans[0].parent_span_id);
    assert_eq!(spans[0].trace_id, context.trace_id);
}

#[tokio::test]
async fn a_client_that_does_not_want_its_trace_recorded_is_obeyed() {
    let (endpoint, mut received) = receiver().await;
    let (tracer, guard) = Tracer::from_config(&config(&endpoint)).unwrap();
    let unwanted = tracer.span("unwanted", SpanKind::Server, &tracer.adopt(Some(client_context(false))));
    assert!(!unwanted.is_recording());
    assert_eq!(unwanted.context(), &client_context(false));
    drop(unwanted);
    drop(tracer.span("wanted", SpanKind::Server, &client_context(true)));
    let (_, spans) = exported(guard, &mut received).await;
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["wanted"]);
}

#[test]
fn without_an_endpoint_a_clients_trace_passes_through_unchanged_and_nothing_is_recorded() {
    let (tracer, guard) = Tracer::from_config(&TelemetryConfig::default()).unwrap();
    for client in [client_context(true), client_context(false)] {
        let mut span = tracer.span("call", SpanKind::Server, &tracer.adopt(Some(client)));
        span.text("key", "value");
        span.fail("detail");
        assert!(!span.is_recording());
        assert_eq!(span.context(), &client);
    }
    let own = tracer.adopt(None);
    assert!(!own.is_sampled);
    assert!(own.trace_id != [0; 16] && own.span_id != [0; 8]);
    guard.close(WITHIN);
}

#[test]
fn a_ratio_of_zero_makes_no_trace_of_our_own() {
    let (tracer, guard) = Tracer::from_config(&TelemetryConfig { sample_ratio: 0.0, ..config("http://127.0.0.1:9") }).unwrap();
    let own = tracer.adopt(None);
    assert!(!own.is_sampled);
    assert_ne!(own.span_id, [0; 8], "it may go out as it is");
    guard.close(WITHIN);
}

#[test]
fn spans_that_a_dead_receiver_did_not_take_are_counted_and_the_end_comes() {
    // Bound and not listening: connections are refused, and nobody else can take the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    let (tracer, guard) = Tracer::from_config(&config(&endpoint)).unwrap();
    for _ in 0..3 {
        drop(tracer.span("call", SpanKind::Server, &client_context(true)));
    }
    guard.close(WITHIN);
    assert_eq!(tracer.dropped.get(), 3);
    drop(tracer.span("late", SpanKind::Server, &client_context(true)));
    assert_eq!(tracer.dropped.get(), 4, "what ends after the end is counted");
}

#[test]
fn a_receiver_that_never_answers_holds_the_end_no_longer_than_allowed() {
    // Connections are taken by the kernel's queue, and nobody ever reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (tracer, guard) =
        Tracer::from_config(&TelemetryConfig { otlp_timeout: Duration::from_secs(3_600), ..config(&endpoint) }).unwrap();
    drop(tracer.span("call", SpanKind::Server, &client_context(true)));
    guard.close(Duration::from_millis(1));
    drop(silent);
}

#[test]
fn more_spans_than_the_queue_holds_are_dropped_and_counted() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (tracer, guard) =
        Tracer::from_config(&TelemetryConfig { otlp_timeout: Duration::from_secs(3_600), ..config(&endpoint) }).unwrap();
    // The exporter takes one batch of 512 and waits for the answer; 4,096 more may queue.
    for _ in 0..6_000 {
        drop(tracer.span("call", SpanKind::Server, &client_context(true)));
    }
    let dropped = tracer.dropped.get();
    assert!((6_000 - 4_096 - 512..=6_000 - 4_096).contains(&dropped), "{dropped}");
    guard.close(Duration::from_millis(1));
    drop(silent);
}

#[test]
fn attributes_are_bounded() {
    let (tracer, guard) = Tracer::from_config(&config("http://127.0.0.1:9")).unwrap();
    let mut span = tracer.span("call", SpanKind::Server, &client_context(true));
    span.text("long", "é".repeat(2_000));
    for _ in 0..100 {
        span.number("many", 1);
    }
    let data = &span.recording.as_ref().unwrap().data;
    assert_eq!((data.attributes.len(), data.dropped_attributes_count), (64, 37));
    assert_eq!(data.attributes[0].value.as_str().len(), 1_024);
    drop(span);
    guard.close(Duration::from_millis(1));
}
