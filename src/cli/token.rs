//! `runpool token`: tokens for callers, operators and runners.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output;
use crate::access::NewToken;

/// Make a token that opens functions, the admin listener or registration
///
/// The token is shown once, to be given to whoever will use it. The configuration gets its hash, which opens nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runpool token make --name shop")]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Print a new token, and the line with its hash for front.tokens, admin.tokens or pool.registration.tokens
    Make {
        /// What the token is called in the configuration and in logs
        #[arg(long, value_name = "NAME", default_value = "new", value_parser = parse_name)]
        name: String,
    },
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_name =
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name { Ok(text.to_owned()) } else { Err("expected 1 to 64 letters, digits, `-`, `_` and `.`".to_owned()) }
}

impl TokenCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Subcommands::Make { name } = &self.command;
        // The thread's generator is one for cryptography, seeded by the system.
        let token = NewToken::from_draw(rand::random());
        let (token, hash) = (token.reveal(), token.hash().to_text());
        output::print(format!("token: {token}\nhash:  {{ name = \"{name}\", hash = \"{hash}\" }}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
