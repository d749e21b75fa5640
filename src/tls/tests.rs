//! Handshakes in memory, with certificates of a CA that was made a moment ago.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::test_ca::TestCa;
use super::*;
use crate::telemetry::metrics::{Metrics, MetricsConfig};

fn server(config: &ServerTlsConfig) -> Arc<ServerTls> {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    ServerTls::load("front", config, &TlsMetrics::declare(&mut metrics)).unwrap().unwrap()
}

fn client(config: &ClientTlsConfig) -> Arc<ClientTls> {
    let mut metrics = Metrics::new(&MetricsConfig::default());
    ClientTls::load("pool", config, &TlsMetrics::declare(&mut metrics)).unwrap().unwrap()
}

/// A connection to `host`: who the server saw, if both are content; else what the server, or the client, said.
async fn meet(server: &ServerTls, client: &ClientTls, host: &str) -> Result<Option<Arc<PeerIdentity>>, String> {
    let (near, far) = duplex(16 * 1024);
    let server_side = async {
        let (mut stream, identity) = server.accept(far).await.map_err(|error| error.to_string())?;
        stream.write_all(b"x").await.map_err(|error| error.to_string())?;
        Ok::<_, String>(identity)
    };
    let client_side = async {
        let mut stream = client.connect(host, near).await.map_err(|error| error.to_string())?;
        // With TLS 1.3 a client hears of its refusal only when it reads.
        let mut byte = [0];
        stream.read_exact(&mut byte).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(())
    };
    let (seen, heard) = tokio::join!(server_side, client_side);
    let identity = seen?;
    heard?;
    Ok(identity)
}

#[tokio::test]
async fn both_ends_verify_each_other() {
    let ca = TestCa::new();
    ca.issue("server", "runner.example");
    ca.issue("own", "balancer.example");
    let (mutual, open) = (server(&ca.server(ClientCertificates::Required)), server(&ca.server(ClientCertificates::Optional)));
    let (known, unknown) = (client(&ca.client(Some("own"))), client(&ca.client(None)));

    let identity = meet(&mutual, &known, "runner.example").await.unwrap().unwrap();
    assert!(identity.is("dns:balancer.example") && identity.is("cn:balancer.example"));
    assert!(meet(&open, &known, "runner.example").await.unwrap().is_some());
    assert!(meet(&open, &unknown, "runner.example").await.unwrap().is_none());

    let refused = meet(&mutual, &unknown, "runner.example").await.unwrap_err();
    assert!(refused.contains("peer sent no certificates"), "{refused}");
    let other_name = meet(&mutual, &known, "other.example").await.unwrap_err();
    assert!(other_name.contains("ertificate"), "{other_name}");
    let named = client(&ClientTlsConfig { server_name: Some("runner.example".into()), ..ca.client(Some("own")) });
    assert!(meet(&mutual, &named, "10.0.0.1").await.is_ok());
}

#[tokio::test]
async fn only_those_whom_the_listener_names_come_in() {
    let ca = TestCa::new();
    ca.issue("server", "runner.example");
    ca.issue("balancer", "balancer.example");
    ca.issue("shop", "shop.example");
    let named = |asked| ServerTlsConfig { identities: vec!["cn:a".into(), "dns:balancer.example".into()], ..ca.server(asked) };
    for asked in [ClientCertificates::Required, ClientCertificates::Optional] {
        let server = server(&named(asked));
        assert!(meet(&server, &client(&ca.client(Some("balancer"))), "runner.example").await.is_ok());
        let refused = meet(&server, &client(&ca.client(Some("shop"))), "runner.example").await.unwrap_err();
        assert_eq!(refused, "the client's certificate is of none of `identities`");
        let without = meet(&server, &client(&ca.client(None)), "runner.example").await;
        assert_eq!(without.is_ok(), asked == ClientCertificates::Optional, "{without:?}");
    }
    let invalid = |config: ServerTlsConfig| config.validate().into_iter().map(|value| value.key).collect::<Vec<_>>();
    assert_eq!(invalid(named(ClientCertificates::None)), ["identities"]);
    let wrong = ServerTlsConfig { identities: vec!["balancer".into()], ..ca.server(ClientCertificates::Required) };
    assert_eq!(invalid(wrong), ["identities[0]"]);
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_even_where_none_is_needed() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    ca.issue("server", "runner.example");
    other.issue("own", "balancer.example");
    let stranger = client(&ClientTlsConfig { ca: Some(ca.file("ca.pem")), ..other.client(Some("own")) });
    for asked in [ClientCertificates::Required, ClientCertificates::Optional] {
        let refused = meet(&server(&ca.server(asked)), &stranger, "runner.example").await.unwrap_err();
        assert!(refused.contains("invalid peer certificate"), "{refused}");
    }
    let distrusting = client(&other.client(None));
    assert!(meet(&server(&ca.server(ClientCertificates::None)), &distrusting, "runner.example").await.is_err());
}

#[tokio::test]
async fn new_connections_use_new_files_and_broken_files_change_nothing() {
    let ca = TestCa::new();
    ca.issue("server", "old.example");
    let (server, client) = (server(&ca.server(ClientCertificates::None)), client(&ca.client(None)));
    assert!(meet(&server, &client, "old.example").await.is_ok());

    std::fs::write(ca.file("server.pem"), "broken").unwrap();
    server.reload();
    assert!(meet(&server, &client, "old.example").await.is_ok());

    ca.issue("server", "new.example");
    server.reload();
    assert!(meet(&server, &client, "new.example").await.is_ok());
    assert!(meet(&server, &client, "old.example").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_given_up() {
    let ca = TestCa::new();
    ca.issue("server", "a.example");
    let (_near, far) = duplex(1_024);
    let error = server(&ca.server(ClientCertificates::None)).accept(far).await.unwrap_err();
    assert_eq!(error.to_string(), "the TLS handshake took longer than 5s");
}

#[test]
fn files_that_cannot_be_used_are_told_with_what_was_expected() {
    let ca = TestCa::new();
    ca.issue("server", "a.example");
    ca.issue("other", "b.example");
    let write = |name: &str, text: &str| std::fs::write(ca.file(name), text).unwrap();
    write("empty", "");
    write("encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    write("junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let error = |certificate: &str, key: &str, client_ca: &str| {
        let config = ServerTlsConfig {
            certificate: Some(certificate.into()),
            key: Some(key.into()),
            client_ca: Some(client_ca.into()),
            ..ca.server(ClientCertificates::Required)
        };
        let absolute = |file: Option<PathBuf>| file.map(|file| ca.file(&file.display().to_string()));
        let config = ServerTlsConfig {
            certificate: absolute(config.certificate),
            key: absolute(config.key),
            client_ca: absolute(config.client_ca),
            ..config
        };
        let metrics = TlsMetrics::declare(&mut Metrics::new(&MetricsConfig::default()));
        let text = ServerTls::load("front", &config, &metrics).unwrap_err().to_string();
        text.replace(&ca.file("").display().to_string(), "")
    };
    let certificate = "expected certificates in PEM, `-----BEGIN CERTIFICATE-----`";
    let key = "expected one private key in PEM without a passphrase, `-----BEGIN PRIVATE KEY-----`";
    assert!(error("none", "server.key", "ca.pem").starts_with("could not read the certificate in none: No such file"));
    assert!(error("server.pem", "none", "ca.pem").starts_with("could not read the key in none: No such file"));
    assert_eq!(error("server.key", "server.key", "ca.pem"), format!("server.key: {certificate}; it has a private key"));
    assert_eq!(error("server.pem", "server.pem", "ca.pem"), format!("server.pem: {key}; it has a certificate"));
    assert_eq!(error("empty", "server.key", "ca.pem"), format!("empty: {certificate}; it has no PEM section"));
    assert_eq!(error("cut", "server.key", "ca.pem"), format!("cut: {certificate}; a section has no end"));
    assert_eq!(error("junk", "server.key", "ca.pem"), format!("junk: {certificate}; one of them is no X.509 certificate"));
    assert_eq!(error("server.pem", "encrypted", "ca.pem"), format!("encrypted: {key}; the key in it is encrypted"));
    assert_eq!(error("server.pem", "server.key", "empty"), format!("empty: {certificate}; it has no PEM section"));
    assert_eq!(
        error("server.pem", "other.key", "ca.pem"),
        "other.key is not the key of the certificate in server.pem: expected the two that were made together"
    );
}

#[test]
fn nothing_configured_is_cleartext() {
    let metrics = TlsMetrics::declare(&mut Metrics::new(&MetricsConfig::default()));
    assert!(ServerTls::load("front", &ServerTlsConfig::default(), &metrics).unwrap().is_none());
    assert!(ClientTls::load("pool", &ClientTlsConfig::default(), &metrics).unwrap().is_none());
}
