//! `runpool warden` (hidden): kills what an agent leaves behind when it is killed. Started by agents only.

use std::process::ExitCode;

use clap::Args;

/// Kill what an agent leaves behind (started by agents)
#[derive(Debug, Args)]
pub(super) struct WardenCommand {}

impl WardenCommand {
    pub(super) fn run(&self) -> ExitCode {
        crate::agent::run_warden()
    }
}
