//! `runpool call`: calls a function and prints its answer, as `fn invoke` does.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, response};
use reqwest::Body;
use tokio::time::Instant;

use super::arguments::TlsArguments;
use super::http_client::{Answer, Target};
use super::secret_token::SecretToken;
use super::{http_client, output};
use crate::model::{FunctionName, parse_duration};
use crate::protocol::headers;

/// Call a function and print its answer
///
/// The answer goes to standard output as it arrives. Ends with 1 if the call failed, or the function answered with a status of 400 or more.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  runpool call hello --data world\n  runpool call resize --data @photo.jpg -H content-type:image/jpeg > \
                        small.jpg\n  echo 1 2 3 | runpool call sum --data -\n  runpool call report --detach"
)]
pub(super) struct CallCommand {
    /// The function's name
    function: FunctionName,

    /// The body: a text, @FILE, or - for standard input
    #[arg(long, short, value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
    data: Option<Data>,

    /// A header; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// The method
    #[arg(long, short = 'X', value_name = "METHOD", default_value = "POST")]
    method: Method,

    /// Path, or path and query, below the function: /orders/7?full=1
    #[arg(long, value_name = "/REST", default_value = "", value_parser = parse_rest)]
    path: String,

    /// Do not wait for the answer: print the call's id once a runner has started it
    #[arg(long)]
    detach: bool,

    /// Where the balancer takes calls
    #[arg(long, value_name = "URL", env = "RUNPOOL_ADDRESS", default_value = "http://127.0.0.1:8080")]
    address: String,

    /// Give up after this long: 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// A file with the token to show
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    tls: TlsArguments,

    /// Print the answer's status and headers before its body
    #[arg(long, short)]
    include: bool,
}

/// What the body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    Text(String),
    File(PathBuf),
    StandardInput,
}

impl FromStr for Data {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::StandardInput,
            None => Self::Text(text.to_owned()),
        })
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("`{}` is not the name of a header", name.trim()))?;
    let value = value.trim().parse().map_err(|_| "the value holds a character that no header can have".to_owned())?;
    Ok((name, value))
}

fn parse_rest(text: &str) -> Result<String, String> {
    if !text.is_empty() && !text.starts_with(['/', '?']) {
        return Err("expected it to start with / or ?".to_owned());
    }
    if text.chars().any(|c| c.is_ascii_control() || c == ' ' || c == '#' || !c.is_ascii()) {
        return Err("expected percent-encoding (%20) for what a URL cannot hold".to_owned());
    }
    Ok(text.to_owned())
}

impl Data {
    /// The body, and its length if it is known.
    async fn open(&self) -> anyhow::Result<(Body, Option<u64>)> {
        let file = match self {
            Self::Text(text) => return Ok((Body::from(text.clone()), None)),
            Self::File(path) => {
                tokio::fs::File::open(path).await.with_context(|| format!("could not open `{}`", path.display()))?
            }
            Self::StandardInput => {
                let input = std::io::stdin().as_fd().try_clone_to_owned().context("could not open standard input")?;
                tokio::fs::File::from_std(input.into())
            }
        };
        let metadata = file.metadata().await.context("could not look at the file")?;
        // Only what starts at its beginning has a length we know: standard input may have been read in part.
        let length = (metadata.is_file() && matches!(self, Self::File(_))).then_some(metadata.len());
        Ok((Body::from(file), length))
    }
}

impl CallCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        http_client::block_on(self.call())
    }

    async fn call(&self) -> anyhow::Result<ExitCode> {
        let token = self.token_file.as_deref().map(SecretToken::read).transpose()?;
        let target = Target::new(&self.address, self.tls.load()?, token)?;
        let mut request = Request::builder().method(&self.method).uri(format!("/invoke/{}{}", self.function, self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.detach {
            request = request.header(headers::FN_INVOKE_TYPE, headers::DETACHED);
        }
        let body = match &self.data {
            Some(data) => {
                let (body, length) = data.open().await?;
                if let Some(length) = length {
                    request = request.header(http::header::CONTENT_LENGTH, length);
                }
                body
            }
            None => Body::from(""),
        };
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let request = request.body(body).with_context(|| format!("`{}` cannot be called so", self.function))?;
        let answer = target.send(request, deadline).await;
        let answer = answer.with_context(|| format!("could not call `{}` at {}", self.function, self.address))?;
        self.print(answer).await
    }

    async fn print(&self, mut answer: Answer) -> anyhow::Result<ExitCode> {
        if self.include {
            output::print(head_text(&answer.head))?;
        }
        let header = |name: &HeaderName| answer.head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let call_id = header(&headers::FN_CALL_ID).unwrap_or_else(|| "unknown".to_owned());
        // An answer of runpool itself says how the call ended; a function's answer does not.
        if let Some(outcome) = header(&headers::OUTCOME).filter(|_| !answer.head.status.is_success()) {
            let body = answer.text().await.unwrap_or_default();
            let message = http_client::message_of(&body).unwrap_or_else(|| body.trim().to_owned());
            bail!("{message} (outcome {outcome}, call {call_id})");
        }
        let status = answer.head.status;
        if self.detach && status == StatusCode::ACCEPTED {
            output::print(format!("{call_id}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut last = None;
        loop {
            let chunk = answer.chunk().await;
            let Some(chunk) = chunk.with_context(|| format!("the answer was cut off (call {call_id})"))? else { break };
            last = chunk.last().copied().or(last);
            output::print(chunk)?;
        }
        // A prompt behind an answer without line break is hard to read; a program that reads it gets it byte for byte.
        if std::io::stdout().is_terminal() && last.is_some_and(|byte| byte != b'\n') {
            output::print("\n")?;
        }
        if status.as_u16() >= 400 {
            bail!("the function answered {status} (call {call_id})");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn head_text(head: &response::Parts) -> Vec<u8> {
    let mut text = format!("{:?} {}\r\n", head.version, head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_text_a_file_or_standard_input() {
        let data = |text: &str| text.parse::<Data>().unwrap();
        assert_eq!(data("x"), Data::Text("x".into()));
        assert_eq!(data("@a/b"), Data::File("a/b".into()));
        assert_eq!(data("-"), Data::StandardInput);
    }

    #[test]
    fn headers_are_name_and_value() {
        let (name, value) = parse_header("X-Name:  a: b ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-name", "a: b"));
        assert_eq!(parse_header("x").unwrap_err(), "expected NAME:VALUE");
        assert_eq!(parse_header("a b: c").unwrap_err(), "`a b` is not the name of a header");
        assert!(parse_header("a: b\nc").is_err());
    }

    #[test]
    fn a_rest_starts_with_a_slash_and_is_encoded() {
        for text in ["", "/", "/a/b?c=%20", "?a"] {
            assert_eq!(parse_rest(text).unwrap(), text);
        }
        for text in ["a", "/a b", "/ä", "/#x", "/\n"] {
            assert!(parse_rest(text).is_err(), "{text}");
        }
    }
}
