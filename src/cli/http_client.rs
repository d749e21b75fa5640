//! The HTTP client of the tools, and what they ask admin listeners and agents.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// How long an admin listener or an agent may take for an answer: it is asked for what it knows already.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that goes straight to the address and follows nothing.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
    client.context("could not set up the HTTP client")
}

/// `address` as the beginning of URLs: `127.0.0.1:8081` and `http://127.0.0.1:8081/` are `http://127.0.0.1:8081`.
///
/// # Errors
/// It is no address that can be spoken to without TLS.
pub(super) fn base_url(address: &str) -> anyhow::Result<String> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let parsed: http::Uri = url.parse().with_context(|| format!("`{address}` is not an address: expected http://host:port"))?;
    if parsed.scheme_str() != Some("http") || parsed.host().is_none_or(str::is_empty) {
        bail!("`{address}` cannot be spoken to: expected http://host:port");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// An answer of an admin listener or an agent.
pub(super) struct Answer {
    pub(super) status: reqwest::StatusCode,
    pub(super) body: String,
}

/// Gets `url` whatever the status of the answer.
pub(super) async fn get(url: &str) -> anyhow::Result<Answer> {
    let answer = client()?.get(url).timeout(ANSWER_TIMEOUT).send().await;
    let answer = answer.map_err(|error| without_url(&error)).with_context(|| format!("could not ask {url}"))?;
    let status = answer.status();
    let body = answer
        .text()
        .await
        .map_err(|error| without_url(&error))
        .with_context(|| format!("could not read the answer of {url}"))?;
    Ok(Answer { status, body })
}

/// Gets the JSON at `url`.
pub(super) async fn get_json(url: &str) -> anyhow::Result<Value> {
    let Answer { status, body } = get(url).await?;
    if !status.is_success() {
        let message = message_of(&body).unwrap_or_else(|| body.trim().chars().take(200).collect());
        bail!("{url} answered {status}: {message}");
    }
    serde_json::from_str(&body).with_context(|| format!("{url} answered with something that is not JSON"))
}

/// The rows of `{"<name>": [{…}, …]}`.
pub(super) fn rows(document: &Value, name: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let list = document.get(name).and_then(Value::as_array);
    let list = list.with_context(|| format!("the answer has no list `{name}`: is this an admin listener of runpool?"))?;
    Ok(list.iter().filter_map(Value::as_object).cloned().collect())
}

/// The text for people in a problem document.
pub(super) fn message_of(body: &str) -> Option<String> {
    let document: Value = serde_json::from_str(body).ok()?;
    let text = ["message", "detail"].iter().find_map(|key| document.get(key)?.as_str());
    text.map(str::to_owned)
}

/// The innermost cause says what happened; the layers around it say "error sending request".
pub(super) fn without_url(error: &reqwest::Error) -> anyhow::Error {
    if error.is_timeout() {
        return anyhow::anyhow!("no answer in time");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    anyhow::anyhow!("{cause}")
}

/// Runs a tool's future on a small runtime of its own.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start the runtime")?;
    let result = runtime.block_on(future);
    // Reading standard input may never end; nobody waits for it any more.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_scheme() {
        for text in ["127.0.0.1:8081", "http://127.0.0.1:8081", "http://127.0.0.1:8081/"] {
            assert_eq!(base_url(text).unwrap(), "http://127.0.0.1:8081");
        }
        assert_eq!(
            base_url("https://host").unwrap_err().to_string(),
            "`https://host` cannot be spoken to: expected http://host:port"
        );
        assert!(base_url("http://").is_err() && base_url("a b").is_err());
    }

    #[tokio::test]
    async fn a_listener_that_is_not_there_is_told_on_one_line() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        drop(listener);
        let error = format!("{:#}", get_json(&url).await.unwrap_err());
        assert!(error.starts_with(&format!("could not ask {url}: ")) && error.contains("refused"), "{error}");
    }
}
