//! Writing certificates and keys: nothing that is there is lost by accident, and a key is never readable by others, not even for a moment.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everybody.
    Public,
    /// Its owner.
    Secret,
}

/// Whether files that are there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overwriting {
    Allowed,
    Refused,
}

/// Writes the files into `directory`, and says where they are.
///
/// # Errors
/// One of them is there, and may not be replaced; then none is written. Or one cannot be written.
pub(super) fn write(directory: &Path, files: &[(String, String, Kind)], overwriting: Overwriting) -> anyhow::Result<String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .with_context(|| format!("could not make {}", directory.display()))?;
    if overwriting == Overwriting::Refused
        && let Some((name, ..)) = files.iter().find(|(name, ..)| directory.join(name).symlink_metadata().is_ok())
    {
        bail!("{} is there already: --force overwrites it, and the others", directory.join(name).display());
    }
    let mut told = String::new();
    for (name, text, kind) in files {
        let path = directory.join(name);
        write_one(&path, text, *kind).with_context(|| format!("could not write {}", path.display()))?;
        told += &format!("{}\n", path.display());
    }
    Ok(told)
}

/// A new file in the place of an old one, which keeps nothing of that: neither its mode nor where it is linked to.
fn write_one(path: &Path, text: &str, kind: Kind) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    // What an interrupted run has left behind.
    let _ = std::fs::remove_file(new);
    let mut file = create(new, kind)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

fn create(path: &Path, kind: Kind) -> std::io::Result<File> {
    let mode = match kind {
        Kind::Public => 0o644,
        Kind::Secret => 0o600,
    };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nothing_is_overwritten_unless_asked_and_keys_are_their_owners() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        let files = |text: &str| {
            [("x.pem".to_owned(), text.to_owned(), Kind::Public), ("x.key".to_owned(), text.to_owned(), Kind::Secret)]
        };
        write(&below, &files("one"), Overwriting::Refused).unwrap();
        let error = write(&below, &files("two"), Overwriting::Refused).unwrap_err().to_string();
        assert!(error.ends_with("x.pem is there already: --force overwrites it, and the others"), "{error}");
        assert_eq!(std::fs::read_to_string(below.join("x.key")).unwrap(), "one");
        std::fs::set_permissions(below.join("x.key"), PermissionsExt::from_mode(0o666)).unwrap();
        write(&below, &files("two"), Overwriting::Allowed).unwrap();
        assert_eq!(std::fs::read_to_string(below.join("x.key")).unwrap(), "two");
        assert_eq!(std::fs::metadata(below.join("x.key")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
