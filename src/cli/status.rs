//! `runpool status`: is the balancer ready, or how is one runner?

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::arguments::{AdminArguments, TableFormat};
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
        let url = format!("{}/readyz?verbose", http_client::base_url(&self.admin.admin)?);
        let answer = http_client::get(&url).await?;
        let is_ready = answer.status.is_success();
        match self.admin.output {
            TableFormat::Table => output::print(format!("{}\n", answer.body.trim_end()))?,
            TableFormat::Json => {
                let detail = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
                output::print(format!("{:#}\n", json!({ "is_ready": is_ready, "detail": detail })))?;
            }
        }
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn print_runner(&self, address: &str) -> anyhow::Result<ExitCode> {
        let url = format!("{}/status", http_client::base_url(address)?);
        let document = http_client::get_json(&url).await?;
        let status: AgentStatus = serde_json::from_value(document.clone())
            .with_context(|| format!("{url} answered with something that is not a status"))?;
        match self.admin.output {
            TableFormat::Json => output::print(format!("{document:#}\n"))?,
            TableFormat::Table => output::print(table::sheet(document.as_object().unwrap_or(&serde_json::Map::new())))?,
        }
        let is_well = status.state == crate::protocol::AgentState::Ready && !status.status_failed;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
