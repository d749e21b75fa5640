//! The commands: reads the command line, assembles roles out of the floors below, talks to people.
//!
//! * `roles` are the commands that serve: `up`, `lb`, `runner`. Each is assembled in a file of its own; what they share is the life of a
//!   process: signals, readiness, grace, deadline, reload.
//! * The other files are tools, one command a file.
//!
//! This is the only floor that knows all others, the only one that uses `anyhow`, and nothing imports it. Exit codes: 0 done, 1 failed,
//! 2 the command line was wrong. An error is told on standard error, without a backtrace: it is for users.

mod arguments;
mod ca;
mod call;
mod check;
mod completions;
mod config;
mod demo_function;
mod explain;
mod functions;
mod http_client;
mod init;
mod output;
mod roles;
mod runners;
mod secret_token;
mod sim;
mod status;
mod table;
mod token;
mod warden;

use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};

/// What `--version` prints behind the name: the version, and the commit if the build was told it.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("RUNPOOL_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &VERSION
}

#[derive(Debug, Parser)]
#[command(
    name = "runpool",
    version = version(),
    about = "Places function calls onto a pool of runners over HTTP",
    after_help = "Examples:\n  runpool up                         everything on this machine, with a demo function\n  \
                  runpool call hello --data world    call it\n\nExit codes: 0 done, 1 failed, 2 the command line was wrong.",
    max_term_width = 110,
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(roles::UpCommand),
    Lb(roles::LbCommand),
    Runner(roles::RunnerCommand),
    Call(call::CallCommand),
    Status(status::StatusCommand),
    Runners(runners::RunnersCommand),
    Functions(functions::FunctionsCommand),
    Explain(explain::ExplainCommand),
    Check(check::CheckCommand),
    Config(config::ConfigCommand),
    Sim(sim::SimCommand),
    Ca(ca::CaCommand),
    Token(token::TokenCommand),
    Completions(completions::CompletionsCommand),
    #[command(hide = true)]
    Warden(warden::WardenCommand),
    #[command(hide = true)]
    DemoFunction(demo_function::DemoFunctionCommand),
}

/// Runs the command of this process's command line, and says with which exit code to end.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that go to standard output and end with 0. A closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Up(command) => init::serve(|| command.run()),
        Command::Lb(command) => init::serve(|| command.run()),
        Command::Runner(command) => init::serve(|| command.run()),
        Command::Call(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Runners(command) => command.run(),
        Command::Functions(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Sim(command) => command.run(),
        Command::Ca(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Warden(command) => Ok(command.run()),
        Command::DemoFunction(command) => command.run(),
    };
    match result {
        Ok(code) => code,
        // Who reads our output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let written = error.downcast_ref::<output::WriteError>();
    written.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_has_help_with_an_example() {
        for command in Cli::command().get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example") && help.contains(&format!("runpool {}", command.get_name())), "{help}");
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn every_example_of_the_help_is_a_command_line_that_is_taken() {
        let mut cli = Cli::command();
        let helps: Vec<String> = std::iter::once(cli.render_long_help().to_string())
            .chain(cli.get_subcommands_mut().map(|command| command.render_long_help().to_string()))
            .collect();
        let examples = helps.iter().filter_map(|help| help.split_once("Example")).flat_map(|(_, examples)| examples.lines());
        let mut count = 0;
        for line in examples.filter(|line| line.starts_with("  ")) {
            // What a shell, or a reader of the remark behind two spaces, takes away.
            let Some(start) = line.find("runpool ") else { continue };
            let text = line[start..].split([')', '>']).next().unwrap_or_default();
            let text = text.split("   ").next().unwrap_or_default();
            let parsed = Cli::try_parse_from(text.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            count += 1;
        }
        assert!(count >= 20, "{count}");
    }

    #[test]
    fn the_commands_are_these() {
        let cli = Cli::command();
        let names: Vec<&str> =
            cli.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
        assert_eq!(
            names,
            [
                "up",
                "lb",
                "runner",
                "call",
                "status",
                "runners",
                "functions",
                "explain",
                "check",
                "config",
                "sim",
                "ca",
                "token",
                "completions"
            ]
        );
    }
}
