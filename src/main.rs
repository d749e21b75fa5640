//! The program; all of it is in the library's [`runpool::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    runpool::cli::main()
}
