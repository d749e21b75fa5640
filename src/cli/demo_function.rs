//! `runpool demo-function hello` (hidden): the function that `runpool up` offers when the configuration has none. It needs nothing but
//! this binary, and speaks the contract that a function written with one of Fn's FDKs speaks.
//!
//! The contract, as far as it is needed: listen on the unix socket named in `FN_LISTENER`, answer `POST /call`; 200 is a success, 502 a
//! failure of the function; of an HTTP request (`Fn-Intent: httprequest`), the headers of the answer that begin with `Fn-Http-H-` reach
//! the client without this prefix.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::http_client;

/// Be a demo function (started by runners)
#[derive(Debug, Args)]
pub(super) struct DemoFunctionCommand {
    /// Which
    #[arg(value_enum)]
    function: DemoFunction,
}

/// The demo functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DemoFunction {
    /// Greets whoever is named in the body.
    Hello,
}

/// The command line that runs `hello`, behind the executable.
pub(super) const HELLO: [&str; 2] = ["demo-function", "hello"];

/// A greeting needs no longer name.
const LONGEST_NAME: usize = 16 << 20;

impl DemoFunctionCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let DemoFunction::Hello = self.function;
        let path = socket_path(std::env::var("FN_LISTENER").ok().as_deref())?;
        http_client::block_on(async {
            let listener = listen(&path).with_context(|| format!("could not listen on {}", path.display()))?;
            serve(listener).await;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn socket_path(variable: Option<&str>) -> anyhow::Result<PathBuf> {
    let Some(variable) = variable else { bail!("FN_LISTENER is not set: a demo function is started by a runner") };
    match variable.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => bail!("FN_LISTENER is `{variable}`: expected unix:/path"),
    }
}

/// Listens on `path`. The socket is there, under its name, only once it can be connected to: the runner waits for the name.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    let mut early = path.as_os_str().to_owned();
    early.push(".new");
    let listener = UnixListener::bind(&early)?;
    std::fs::set_permissions(&early, std::fs::Permissions::from_mode(0o666))?;
    std::fs::rename(&early, path)?;
    Ok(listener)
}

/// Answers until the runner kills this process. Dropping the future cuts the connections.
async fn serve(listener: UnixListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            // The only client is the runner; when it breaks off there is nobody to tell.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if request.method() != Method::POST || request.uri().path() != "/call" {
        return Ok(with_status(StatusCode::NOT_FOUND, "expected POST /call\n".into()));
    }
    let text = match Limited::new(request.into_body(), LONGEST_NAME).collect().await {
        Ok(body) => hello(&body.to_bytes()),
        Err(error) => {
            eprintln!("could not read the name: {error}; expected at most {LONGEST_NAME} bytes");
            return Ok(with_status(StatusCode::BAD_GATEWAY, String::new()));
        }
    };
    let mut response = with_status(StatusCode::OK, text);
    let plain_text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain_text);
    Ok(response)
}

fn with_status(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

fn hello(body: &[u8]) -> String {
    let name = String::from_utf8_lossy(body);
    let name = name.trim();
    format!("Hello, {}!\n", if name.is_empty() { "world" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::client::conn::http1::handshake;
    use tokio::net::UnixStream;

    #[test]
    fn the_runner_says_where_to_listen() {
        assert_eq!(socket_path(Some("unix:/a/b.sock")).unwrap(), Path::new("/a/b.sock"));
        assert_eq!(socket_path(None).unwrap_err().to_string(), "FN_LISTENER is not set: a demo function is started by a runner");
        assert_eq!(socket_path(Some("tcp:1")).unwrap_err().to_string(), "FN_LISTENER is `tcp:1`: expected unix:/path");
    }

    #[tokio::test]
    async fn hello_greets_by_the_contract_of_fns_fdks_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lsnr.sock");
        let server = tokio::spawn(serve(listen(&path).unwrap()));
        let (mut sender, connection) = handshake(TokioIo::new(UnixStream::connect(&path).await.unwrap())).await.unwrap();
        let connection = tokio::spawn(connection);
        for (body, expected) in [("", "Hello, world!\n"), ("Ada", "Hello, Ada!\n"), ("x\n", "Hello, x!\n")] {
            let request = Request::post("/call").header("host", "f").body(Full::new(Bytes::from(body))).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
        }
        drop(sender);
        connection.await.unwrap().unwrap();
        server.abort();
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_is_a_failure_of_the_function() {
        let request = Request::post("/call").body(Full::new(Bytes::from(vec![b'x'; LONGEST_NAME + 1]))).unwrap();
        assert_eq!(answer(request).await.unwrap().status(), 502);
        let other = Request::get("/").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(answer(other).await.unwrap().status(), 404);
    }
}
