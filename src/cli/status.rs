//! `runpool status`: is the balancer ready, or how is one runner?

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::arguments::{AdminArguments, TableFormat};
use super::http_client::Target;
use super::{http_client, output, table};
use crate::protocol::AgentStatus;

/// Show whether the balancer is ready, or how one runner is
///
/// Ends with 0 if it is ready, else with 1.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool status\n  runpool status --runner 127.0.0.1:9001 --output json")]
pub(super) struct StatusCommand {
    #[command(flatten)]
    admin: AdminArguments,

    /// Ask this runner instead of the balancer
    #[arg(long, value_name = "ADDRESS")]
    runner: Option<String>,
}

impl StatusCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        http_client::block_on(async {
            match &self.runner {
                Some(address) => self.print_runner(address).await,
                None => self.print_balancer().await,
            }
        })
    }

    async fn print_balancer(&self) -> anyhow::Result<ExitCode> {
        let (status, body) = self.admin.target()?.get("/readyz?verbose").await?;
        let is_ready = status.is_success();
        match self.admin.output {
            TableFormat::Table => output::print(format!("{}\n", body.trim_end()))?,
            TableFormat::Json => {
                let detail = serde_json::from_str(&body).unwrap_or(Value::String(body));
                output::print(format!("{:#}\n", json!({ "is_ready": is_ready, "detail": detail })))?;
            }
        }
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn print_runner(&self, address: &str) -> anyhow::Result<ExitCode> {
        // The token is for the balancer: a runner gets none.
        let target = Target::new(address, self.admin.tls.load()?, None)?;
        let document = target.get_json("/status").await?;
        let status: AgentStatus = serde_json::from_value(document.clone())
            .with_context(|| format!("{} answered with something that is not a status", target.url("/status")))?;
        match self.admin.output {
            TableFormat::Json => output::print(format!("{document:#}\n"))?,
            TableFormat::Table => output::print(table::sheet(document.as_object().unwrap_or(&serde_json::Map::new())))?,
        }
        let is_well = status.state == crate::protocol::AgentState::Ready && !status.status_failed;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
