//! Taking over files that have changed: when their directory says so, when somebody asks (SIGHUP), and now and then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::files::TlsFileError;
use crate::files::Changes;

/// Something that was made of files, and can be made anew.
pub trait Reloadable: Send + Sync + 'static {
    /// The files.
    fn files(&self) -> Vec<&Path>;

    /// Takes the files over if they have changed. If they cannot be used, nothing changes, and this is told in the log and by a metric. Blocks for
    /// as long as reading files does.
    fn reload(&self);
}

/// Reloads whenever the files change, until the future is dropped.
pub async fn follow(reloadable: Arc<dyn Reloadable>) {
    let mut changes = Changes::of(reloadable.files());
    loop {
        // What was changed before the watching began is seen here.
        reload(&reloadable).await;
        changes.next().await;
    }
}

/// Looks at the files now, on a thread of its own: calls go on while they are read.
pub async fn reload(reloadable: &Arc<dyn Reloadable>) {
    let reloadable = Arc::clone(reloadable);
    // A panic was told; and nobody waits when the program ends.
    let _ = tokio::task::spawn_blocking(move || reloadable.reload()).await;
}

/// What files were like when they were looked at last: a hash, as the files may be keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(Option<[u8; 32]>);

impl Seen {
    /// What the files are like now.
    pub(super) fn now(files: &[&Path]) -> Self {
        let mut hash = Sha256::new();
        for file in files {
            match super::files::read(file, "contents") {
                Ok(bytes) => {
                    hash.update(b"present");
                    hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
                    hash.update(bytes);
                }
                Err(_) => hash.update(b"absent"),
            }
        }
        Self(Some(hash.finalize().into()))
    }
}

/// The paths that there are.
pub(super) fn present<'a>(files: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Vec<&'a Path> {
    files.into_iter().filter_map(Option::as_deref).collect()
}

/// Tells what came of a reload.
pub(super) fn tell(name: &'static str, result: Result<(), TlsFileError>) {
    match result {
        Ok(()) => tracing::info!("use" = name, "certificates were taken over: new connections use them"),
        Err(error) => tracing::error!("use" = name, "the certificates stay as they were: {error}"),
    }
}
