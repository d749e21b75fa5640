//! What a runner says behind an answer over TLS, where bytes wait in the session that no socket shows.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::scripted::{answered, attempt, call, held, runner_with, settings, text};
use crate::runner::http::{HttpRunner, HttpRunnerSettings, Protocol};
use crate::telemetry::metrics::{Metrics, MetricsConfig};
use crate::tls::test_ca::TestCa;
use crate::tls::{ClientCertificates, ClientTls, ServerTls, TlsMetrics};

/// A listener that speaks TLS, its side of the handshake, and a runner that is at its address.
async fn encrypted() -> (TcpListener, Arc<ServerTls>, HttpRunner) {
    let ca = TestCa::new();
    ca.issue("server", "runner.example");
    let metrics = TlsMetrics::declare(&mut Metrics::new(&MetricsConfig::default()));
    let server = ServerTls::load("runner", &ca.server(ClientCertificates::None), &metrics).unwrap().unwrap();
    let mut trusting = ca.client(None);
    trusting.server_name = Some("runner.example".into());
    let client = ClientTls::load("pool", &trusting, &metrics).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = HttpRunnerSettings { tls: client, ..settings(Protocol::Agent) };
    let runner = runner_with(&listener.local_addr().unwrap().to_string(), settings);
    (listener, server, runner)
}

/// The next connection, once the whole request is there. What is written on it goes out when it is flushed, in one piece.
async fn asked(listener: &TcpListener, tls: &ServerTls) -> TlsStream<BufStream<TcpStream>> {
    let (stream, _) = listener.accept().await.unwrap();
    let (mut stream, _) = tls.accept(BufStream::new(stream)).await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nx") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    stream
}

#[tokio::test]
async fn what_was_decrypted_behind_an_answer_reaches_nobody() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    const OTHER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
    // Records by what is in them; all of an answer's leave in one piece, so that one reading of the socket decrypts all of them.
    let in_one_record = vec![[ANSWER, OTHER].concat()];
    let in_two_records = vec![ANSWER.to_vec(), OTHER.to_vec()];
    let at_any_place = vec![[ANSWER, &OTHER[..7]].concat(), OTHER[7..].to_vec()];
    for records in [in_one_record, in_two_records, at_any_place] {
        let (listener, tls, runner) = encrypted().await;
        let (call, body) = (call(), held("x"));
        for _ in 0..2 {
            let (ended, _connection) = tokio::join!(attempt(&runner, &call, &body), async {
                let mut stream = asked(&listener, &tls).await;
                for record in &records {
                    stream.write_all(record).await.unwrap();
                }
                stream.flush().await.unwrap();
                stream
            });
            assert_eq!(text(answered(ended)).await, "hi");
            assert_eq!(runner.view().idle_connections, 0, "the second call has a connection of its own");
        }
    }
}

#[tokio::test]
async fn a_connection_that_said_its_end_behind_an_answer_is_not_used_again() {
    let (listener, tls, runner) = encrypted().await;
    let (call, body) = (call(), held("x"));
    for _ in 0..2 {
        let (ended, _connection) = tokio::join!(attempt(&runner, &call, &body), async {
            let mut stream = asked(&listener, &tls).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            // The notice of the end (RFC 8446, section 6.1) goes with the answer; the connection itself stays open.
            let (_, session) = stream.get_mut();
            session.send_close_notify();
            stream.flush().await.unwrap();
            stream
        });
        assert_eq!(text(answered(ended)).await, "hi");
    }
}
