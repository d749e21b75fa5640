//! Many calls at once, against a real server.

use std::convert::Infallible;
use std::sync::Arc;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::scripted::{answered, attempt, call, runner_with, settings, text};
use crate::model::{Call, CallId};
use crate::runner::http::Protocol;
use crate::runner::{CallBody, Runner as _};
use crate::server::{ConnectionLimits, RequestBody, serve};

/// Answers with the call's id and its body.
async fn echo(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = request.headers()["runpool-call"].clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut answer = id.as_bytes().to_vec();
    answer.extend_from_slice(&body);
    Ok(Response::new(Full::new(answer.into())))
}

/// P3, and the bound on connections: one for each call at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_calls_at_once_each_gets_its_own_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let closing = CancellationToken::new();
    let limits = ConnectionLimits::default();
    let serving = tokio::spawn({
        let closing = closing.clone();
        async move { serve(listener, &limits, closing, |_| service_fn(echo)).await }
    });
    let runner = Arc::new(runner_with(&address, settings(Protocol::Agent)));
    let calling: Vec<_> = (0..32_u128)
        .map(|caller| {
            let runner = Arc::clone(&runner);
            tokio::spawn(async move {
                for round in 0..50 {
                    let call = Call { id: CallId::from_parts(1, caller * 1_000 + round), ..call() };
                    let body = format!("{caller}/{round}");
                    let held = CallBody::Held(Bytes::from(body.clone().into_bytes()));
                    let answer = text(answered(attempt(&runner, &call, &held).await)).await;
                    assert_eq!(answer, format!("{}{body}", call.id));
                }
            })
        })
        .collect();
    for caller in calling {
        caller.await.unwrap();
    }
    let view = runner.view();
    assert_eq!((view.committed, view.attempts, view.in_flight), (1_600, 1_600, 0));
    // A connection whose task has yet to see the end of its last exchange is passed over: hence twice the callers, at most.
    assert!((1..=64).contains(&view.connections), "{view:?}");
    runner.close().await;
    assert_eq!(runner.view().connections, 0);
    closing.cancel();
    serving.await.unwrap();
}
