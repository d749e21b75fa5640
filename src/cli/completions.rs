//! `runpool completions`: the shell's help with this command line.

use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use super::{Cli, output};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  runpool completions bash > /etc/bash_completion.d/runpool\n  source <(runpool completions zsh)"
)]
pub(super) struct CompletionsCommand {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl CompletionsCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut command = visible(&Cli::command());
        let mut script = Vec::new();
        match self.shell {
            Shell::Bash => generate(Bash, &mut command, "runpool", &mut script),
            Shell::Zsh => generate(Zsh, &mut command, "runpool", &mut script),
            Shell::Fish => generate(Fish, &mut command, "runpool", &mut script),
        }
        output::print(script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The command line without the commands that only runpool itself starts: the generators offer hidden ones too.
fn visible(cli: &Command) -> Command {
    let subcommands = cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("runpool").version(super::version()).propagate_version(true).subcommands(subcommands)
}
