//! The program; all of it is in the library's [`runpool::cli`].

use std::process::ExitCode;

/// glibc's allocator gives large blocks back and takes them again for every call; this one keeps them by thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runpool::cli::main()
}
