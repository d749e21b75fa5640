//! An agent that registers itself: tells each balancer that it is there, again before its lease is over, and when it leaves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use reqwest::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::RegisterConfig;
use crate::cli::http_client::{self, Target};
use crate::cli::secret_token::SecretToken;
use crate::model::IncarnationId;
use crate::tls::ClientTls;

/// The registrations of one agent. Dropping it ends them without a word: their leases run out.
pub(super) struct Registrations {
    leaving: CancellationToken,
    tasks: JoinSet<()>,
}

/// How long one question to a balancer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Until the next try after one that failed; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

impl Registrations {
    /// Registers the agent of this incarnation, which listens at `listen`, with every balancer of the configuration.
    ///
    /// # Errors
    /// The token cannot be read, or nobody could call the address.
    pub(super) fn begin(
        config: &RegisterConfig,
        incarnation: IncarnationId,
        listen: std::net::SocketAddr,
        slots: u32,
        tls: Option<Arc<ClientTls>>,
    ) -> anyhow::Result<Self> {
        let (leaving, mut tasks) = (CancellationToken::new(), JoinSet::new());
        if config.balancers.is_empty() {
            return Ok(Self { leaving, tasks });
        }
        let address = match &config.address {
            Some(address) => address.clone(),
            None if listen.ip().is_unspecified() => {
                bail!(
                    "runner.register.address: expected host:port where balancers call this runner, since it listens on {listen}"
                );
            }
            None => listen.to_string(),
        };
        let token = match &config.token_file {
            Some(file) => Some(SecretToken::read(file)?),
            None => None,
        };
        let document = json!({ "address": address, "slots": slots, "weight": config.weight, "labels": config.labels });
        for balancer in &config.balancers {
            let target = Target::new(balancer, tls.clone(), token.clone())?;
            let path = format!("/v1/runners/{incarnation}");
            let one = OneBalancer { target, path, document: document.clone() };
            let leaving = leaving.clone();
            tasks.spawn(async move { one.stay(leaving).await });
        }
        Ok(Self { leaving, tasks })
    }

    /// The agent drains: balancers are told, in the background.
    pub(super) fn leave(&self) {
        self.leaving.cancel();
    }

    /// Waits until balancers were told, or did not answer.
    pub(super) async fn end(mut self) {
        self.leaving.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The registration with one balancer.
struct OneBalancer {
    target: Target,
    path: String,
    document: Value,
}

impl OneBalancer {
    async fn stay(&self, leaving: CancellationToken) {
        let url = self.target.url(&self.path);
        let mut failures = 0_u32;
        loop {
            let wait = match self.register().await {
                Ok(lease) => {
                    if failures > 0 {
                        tracing::info!(url, "registered again");
                    }
                    failures = 0;
                    lease / 3
                }
                Err(error) => {
                    // Told once; that it goes on is to be seen at the balancer.
                    if failures == 0 {
                        tracing::warn!(url, "could not register: {error:#}");
                    }
                    failures = failures.saturating_add(1);
                    FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LONGEST_RETRY)
                }
            };
            // So that runners that were started together do not come together.
            let jittered = wait.mul_f64(0.9 + 0.1 * rand::random::<f64>());
            tokio::select! {
                () = leaving.cancelled() => break,
                () = tokio::time::sleep(jittered) => {}
            }
        }
        match self.ask(Method::DELETE, Body::from("")).await {
            Ok(_) => tracing::info!(url, "registration ended"),
            Err(error) => tracing::warn!(url, "could not end the registration, its lease will: {error:#}"),
        }
    }

    /// How long it holds.
    async fn register(&self) -> anyhow::Result<Duration> {
        let answer = self.ask(Method::PUT, Body::from(self.document.to_string())).await?;
        let lease_ms = serde_json::from_str::<Value>(&answer).ok().and_then(|answer| answer.get("lease_ms")?.as_u64());
        let lease_ms = lease_ms.context("the answer has no `lease_ms`: is this an admin listener of runpool?")?;
        Ok(Duration::from_millis(lease_ms.max(1)))
    }

    async fn ask(&self, method: Method, body: Body) -> anyhow::Result<String> {
        let request = Request::builder().method(method).uri(&self.path).header(CONTENT_TYPE, "application/json").body(body)?;
        let answer = self.target.send(request, Some(Instant::now() + ANSWER_TIMEOUT)).await?;
        let status = answer.head.status;
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("it answered {status}: {}", http_client::message_of(&body).unwrap_or_default());
        }
        Ok(body)
    }
}
