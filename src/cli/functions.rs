//! `runpool functions`: what there is to call.

use std::process::ExitCode;

use clap::Args;

use super::arguments::AdminArguments;
use super::{http_client, runners, table};

/// List the balancer's functions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool functions\n  runpool functions --output json")]
pub(super) struct FunctionsCommand {
    #[command(flatten)]
    admin: AdminArguments,
}

/// What people look at first.
const COLUMNS: [&str; 8] = ["name", "app", "format", "timeout", "memory", "concurrency", "command", "digest"];

impl FunctionsCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        http_client::block_on(runners::print_list(&self.admin, "functions", |rows| table::table(rows, &COLUMNS)))
    }
}
