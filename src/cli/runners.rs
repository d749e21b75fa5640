//! `runpool runners`: which runners the balancer knows.

use std::process::ExitCode;

use clap::Args;

use super::arguments::{AdminArguments, TableFormat};
use super::{http_client, output, table};

/// List the balancer's runners
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool runners\n  runpool runners --admin http://10.0.0.1:8081 --output json")]
pub(super) struct RunnersCommand {
    #[command(flatten)]
    admin: AdminArguments,
}

/// What people look at first.
const COLUMNS: [&str; 11] =
    ["id", "address", "state", "reason", "weight", "is_open", "in_flight", "slots", "attempts", "committed", "refusals"];

impl RunnersCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        http_client::block_on(print_list(&self.admin, "runners", &COLUMNS))
    }
}

/// Prints the list `name` of the admin API.
pub(super) async fn print_list(admin: &AdminArguments, name: &str, columns: &[&str]) -> anyhow::Result<ExitCode> {
    let url = format!("{}/v1/{name}", http_client::base_url(&admin.admin)?);
    let document = http_client::get_json(&url).await?;
    match admin.output {
        TableFormat::Json => output::print(format!("{document:#}\n"))?,
        TableFormat::Table => output::print(table::table(&http_client::rows(&document, name)?, columns))?,
    }
    Ok(ExitCode::SUCCESS)
}
