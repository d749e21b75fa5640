//! What is counted of a runner.

use prometheus_client::encoding::text::encode;

use super::scripted::{Server, answered, attempt, call, held, refused, settings, text};
use crate::runner::http::{HttpRunner, Protocol, RunnerMetrics};
use crate::runner::{Runner, RunnerView};
use crate::telemetry::metrics::{Metrics, MetricsConfig};

#[tokio::test]
async fn attempts_connections_and_load_are_counted_by_runner_and_outcome() {
    let server = Server::start().await;
    let address = server.address();
    let mut metrics = Metrics::new(&MetricsConfig::default());
    let families = RunnerMetrics::declare(&mut metrics);
    let runner = HttpRunner::new(&address, settings(Protocol::Agent), &families).unwrap();
    let (call, body) = (call(), held("x"));
    let ((first, second), mut peer) = {
        let calling = async {
            let first = attempt(&runner, &call, &body).await;
            (first, attempt(&runner, &call, &body).await)
        };
        tokio::join!(calling, async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer.bytes(1).await;
            peer.answer("503 x", "runpool-refused: busy\r\nrunpool-load: inflight=1, slots=8, warm=0\r\n", "").await;
            peer.head().await;
            // An answer that comes whole is over with its head.
            peer.write("HTTP/1.1 200 OK\r\nrunpool-load: inflight=2, slots=8, warm=0\r\ncontent-length: 2\r\n\r\nh").await;
            peer
        })
    };
    refused(first);
    let answer = answered(second);
    let mut written = String::new();
    encode(&mut written, metrics.registry()).unwrap();
    for line in [
        format!(r#"lb_runner_attempts_total{{runner="{address}",outcome="committed"}} 1"#),
        format!(r#"lb_runner_attempts_total{{runner="{address}",outcome="busy"}} 1"#),
        format!(r#"lb_runner_attempts_total{{runner="{address}",outcome="draining"}} 0"#),
        format!(r#"lb_runner_in_flight{{runner="{address}"}} 1"#),
        format!(r#"lb_runner_connections{{runner="{address}"}} 1"#),
        format!(r#"lb_runner_connects_total{{runner="{address}"}} 1"#),
        format!(r#"lb_runner_connect_seconds_count{{runner="{address}"}} 1"#),
        format!(r#"lb_runner_first_byte_seconds_count{{runner="{address}"}} 1"#),
        format!(r#"lb_runner_slots{{runner="{address}"}} 8"#),
        format!(r#"lb_runner_reported_in_flight{{runner="{address}"}} 2"#),
    ] {
        assert!(written.contains(&line), "{line} is missing in\n{written}");
    }
    peer.write("i").await;
    assert_eq!(text(answer).await, "hi");

    let view = Runner::view(&runner).unwrap();
    assert_eq!((view.attempts, view.committed, view.refusals["busy"], view.in_flight), (2, 1, 1, 0));
    let json = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<RunnerView>(&json).unwrap().refusals, view.refusals);
}
