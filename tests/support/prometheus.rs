//! A real Prometheus, and its linter (Debian package `prometheus`).

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use super::external::{Owned, spawn};
use super::{HANG, client, eventually};

/// Whether it asks for protobuf, and keeps the native histograms that only that has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Histograms {
    Classic,
    Native,
}

/// A Prometheus of our own. It ends with the value.
pub struct Prometheus {
    _process: Owned,
    base: String,
}

impl Prometheus {
    /// Starts it in a directory of its own with this configuration, and waits until it says where it listens.
    pub fn start(directory: &Path, histograms: Histograms, config: &str) -> Self {
        let file = super::write(directory, "prometheus.yml", config);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={file}"))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if histograms == Histograms::Native {
            command.arg("--enable-feature=native-histograms");
        }
        let mut process = spawn(&mut command);
        let lines = BufReader::new(process.0.stderr.take().expect("is piped")).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut log = String::new();
            // To the end, so that it never blocks on a full pipe.
            for line in lines.map_while(Result::ok) {
                let address = line.contains("msg=\"Listening on\"").then(|| line.rsplit("address=").next().unwrap_or_default());
                if let Some(address) = address {
                    let _ = tell.send(Ok(address.to_owned()));
                }
                log += &(line + "\n");
            }
            let _ = tell.send(Err(log));
        });
        match told.recv_timeout(HANG) {
            Ok(Ok(address)) => Self { _process: process, base: format!("http://{address}") },
            Ok(Err(log)) => panic!("prometheus ended before it listened:\n{log}"),
            Err(_) => panic!("prometheus did not say where it listens"),
        }
    }

    /// The results of a query, asked until there are as many.
    pub async fn query(&self, query: &str, count: usize) -> Vec<Value> {
        let client = client();
        // A form: of what queries here hold, these need another way of writing.
        let form = query.replace('%', "%25").replace('+', "%2B").replace('&', "%26").replace(' ', "+");
        let ask = async || {
            let request = client
                .post(format!("{}/api/v1/query", self.base))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("query={form}"));
            // It answers 503 until it has read its (empty) data.
            let answer: Value = request.send().await.ok()?.json().await.ok()?;
            let results = answer["data"]["result"].as_array()?;
            (results.len() == count).then(|| results.clone())
        };
        eventually(&format!("{count} results of {query}"), ask).await
    }

    /// The number that a query with one result gives.
    pub async fn number(&self, query: &str) -> f64 {
        let results = self.query(query, 1).await;
        results[0]["value"][1].as_str().expect("a value").parse().expect("a number")
    }
}

/// What `promtool check metrics` has to say.
pub fn promtool(metrics: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = spawn(&mut command);
    let mut input = process.0.stdin.take().expect("is piped");
    input.write_all(metrics.as_bytes()).expect("promtool reads all");
    drop(input);
    let said = [
        std::io::read_to_string(process.0.stdout.take().expect("is piped")).expect("promtool writes text"),
        std::io::read_to_string(process.0.stderr.take().expect("is piped")).expect("promtool writes text"),
    ]
    .concat();
    let status = process.0.wait().expect("promtool ends");
    assert!(status.success() || !said.is_empty(), "promtool ended with {status} and no word");
    said
}

/// Every series of an exposition with its labels: `name{labels}` without the value, and without the bounds of buckets.
pub fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.rsplit_once(' ').map_or(line, |(series, _)| series).to_owned()).collect()
}

/// The value of one series, written as the exposition writes it.
pub fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().expect("a value is a number"))
}
