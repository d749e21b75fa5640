//! The HTTP client of the tools, and what they ask admin listeners and agents.
//!
//! It goes straight to the address, over a connection of its own for each question, and follows nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode, response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use reqwest::Body;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::secret_token::SecretToken;
use crate::tls::ClientTls;

/// How long an admin listener or an agent may take for an answer: it is asked for what it knows already.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is asked.
#[derive(Clone)]
pub(super) struct Target {
    /// `http://127.0.0.1:8081`.
    base: String,
    authority: Authority,
    /// For `https`.
    tls: Option<Arc<ClientTls>>,
    /// Shown with every question.
    token: Option<SecretToken>,
}

/// `127.0.0.1:8081` and `http://127.0.0.1:8081/` are `http://127.0.0.1:8081`, without TLS; `https://…` needs it.
impl Target {
    /// # Errors
    /// It is no address that can be spoken to, or one that can be spoken to only by TLS, without that.
    pub(super) fn new(address: &str, tls: Option<Arc<ClientTls>>, token: Option<SecretToken>) -> anyhow::Result<Self> {
        let default = if tls.is_some() { "https" } else { "http" };
        let url = if address.contains("://") { address.to_owned() } else { format!("{default}://{address}") };
        let parsed: http::Uri =
            url.parse().with_context(|| format!("`{address}` is not an address: expected http://host:port"))?;
        let Some(authority) = parsed.authority().filter(|authority| !authority.host().is_empty()) else {
            bail!("`{address}` cannot be spoken to: expected http://host:port");
        };
        let tls = match parsed.scheme_str() {
            // What is secret is not sent in clear to where TLS was asked for.
            Some("http") if tls.is_some() => {
                bail!("`{address}` is without TLS: expected https://host:port, since there are roots")
            }
            Some("http") => None,
            Some("https") => {
                Some(tls.with_context(|| format!("`{address}` needs the roots of its certificate: expected --ca FILE"))?)
            }
            _ => bail!("`{address}` cannot be spoken to: expected http://host:port"),
        };
        Ok(Self { base: url.trim_end_matches('/').to_owned(), authority: authority.clone(), tls, token })
    }

    /// The address of `path` there, for people.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request whose target is a path, and waits for the head of its answer until `deadline`.
    ///
    /// # Errors
    /// There is nobody, or nobody who answers.
    pub(super) async fn send(&self, request: Request<Body>, deadline: Option<Instant>) -> anyhow::Result<Answer> {
        let (head, body) = in_time(deadline, self.exchange(request)).await??.into_parts();
        Ok(Answer { head, body, deadline })
    }

    async fn exchange(&self, mut request: Request<Body>) -> anyhow::Result<http::Response<Incoming>> {
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(self.authority.as_str()).context("no such host")?);
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.authorization()?);
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?))
            .await
            .map_err(|error| innermost(&error))?;
        // It ends with the exchange; its errors are those of the exchange.
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.map_err(|error| innermost(&error))
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Connection>> {
        let host = self.authority.host();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = self.authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await?;
        let _ = stream.set_nodelay(true);
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(host, stream).await?),
            None => Box::new(stream),
        })
    }

    /// Gets `path` whatever the status of the answer.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let url = self.url(path);
        let request = Request::get(path).body(Body::from("")).with_context(|| format!("{url} cannot be asked for"))?;
        let answer = self.send(request, Some(Instant::now() + ANSWER_TIMEOUT)).await;
        let answer = answer.with_context(|| format!("could not ask {url}"))?;
        let status = answer.head.status;
        let body = answer.text().await.with_context(|| format!("could not read the answer of {url}"))?;
        Ok((status, body))
    }

    /// Gets the JSON at `path`.
    pub(super) async fn get_json(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.get(path).await?;
        let url = self.url(path);
        if !status.is_success() {
            let message = message_of(&body).unwrap_or_else(|| body.trim().chars().take(200).collect());
            bail!("{url} answered {status}: {message}");
        }
        serde_json::from_str(&body).with_context(|| format!("{url} answered with something that is not JSON"))
    }
}

/// The bytes of a connection, of whichever kind.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// An answer, of which the body is still to be read.
pub(super) struct Answer {
    pub(super) head: response::Parts,
    body: Incoming,
    deadline: Option<Instant>,
}

impl Answer {
    /// The next part of the body.
    pub(super) async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = in_time(self.deadline, self.body.frame()).await? {
            if let Ok(bytes) = frame.map_err(|error| innermost(&error))?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole body, as text.
    pub(super) async fn text(mut self) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

async fn in_time<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> anyhow::Result<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.map_err(|_| anyhow::anyhow!("no answer in time")),
        None => Ok(future.await),
    }
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

/// The innermost cause says what happened; the layers around it say that something did.
fn innermost(error: &hyper::Error) -> anyhow::Error {
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

    fn target(address: &str) -> anyhow::Result<Target> {
        Target::new(address, None, None)
    }

    #[test]
    fn addresses_are_taken_with_and_without_scheme() {
        for text in ["127.0.0.1:8081", "http://127.0.0.1:8081", "http://127.0.0.1:8081/"] {
            assert_eq!(target(text).unwrap().url("/x"), "http://127.0.0.1:8081/x");
        }
        let error = |text: &str| target(text).err().unwrap().to_string();
        assert_eq!(error("https://host"), "`https://host` needs the roots of its certificate: expected --ca FILE");
        assert_eq!(error("ftp://host"), "`ftp://host` cannot be spoken to: expected http://host:port");
        assert!(target("http://").is_err() && target("a b").is_err());
    }

    #[tokio::test]
    async fn a_listener_that_is_not_there_is_told_on_one_line() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target(&listener.local_addr().unwrap().to_string()).unwrap();
        drop(listener);
        let error = format!("{:#}", target.get_json("/x").await.unwrap_err());
        assert!(error.starts_with(&format!("could not ask {}: ", target.url("/x"))) && error.contains("refused"), "{error}");
    }
}
