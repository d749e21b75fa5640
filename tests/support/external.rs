//! Programs that are not ours and that tests run: what `tests/run` installs.

use std::path::PathBuf;
use std::process::{Child, Command, Output};

/// A process of ours, which ends with the value, also when a test fails.
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What to do when something is missing.
const ADVICE: &str = "`tests/run` installs all that the tests need";

/// Starts a program.
pub fn spawn(command: &mut Command) -> Owned {
    match command.spawn() {
        Ok(child) => Owned(child),
        Err(error) => panic!("could not start {:?} ({error}): {ADVICE}", command.get_program()),
    }
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) => panic!("could not start {:?} ({error}): {ADVICE}", command.get_program()),
    }
}

/// Where the Python packages of `tests/requirements.txt` are.
fn venv() -> PathBuf {
    let bin = concat!(env!("CARGO_MANIFEST_DIR"), "/target/venv/bin");
    assert!(PathBuf::from(bin).join("fdk").exists(), "there is no {bin}/fdk: {ADVICE}");
    bin.into()
}

/// The Python that has them.
pub fn python() -> PathBuf {
    venv().join("python")
}

/// `PATH` with their programs first.
pub fn path_with_venv() -> String {
    format!("{}:{}", venv().display(), std::env::var("PATH").unwrap_or_default())
}
