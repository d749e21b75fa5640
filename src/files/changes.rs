//! When files may have changed.
//!
//! What is watched is their directories: editors and configuration tools put a new file in the place of the old one, and Kubernetes exchanges a
//! symbolic link beside it (`..data`). Both are events there, and none of the file itself. Every five seconds they may have changed without an
//! event, for file systems that tell of nothing and links that lead elsewhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Tells when files may have changed. Dropping it ends the watching.
#[derive(Debug)]
pub struct Changes {
    /// Kept for as long as there is somebody to be told.
    _watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
}

/// How long to wait for more events after one, so that files that are being written are read once.
const SETTLE: Duration = Duration::from_millis(20);
/// How often the files may have changed if nobody tells of it.
const POLL: Duration = Duration::from_secs(5);

impl Changes {
    /// Watches these files from now on. If that is not possible, which is told in the log, they are worth reading now and then.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let directories: BTreeSet<&Path> = files.into_iter().map(directory).collect();
        let (told, events) = mpsc::channel(1);
        let watcher = match watch(&directories, told) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(?directories, %error, "files cannot be watched: they are read every {POLL:?}");
                None
            }
        };
        Self { _watcher: watcher, events }
    }

    /// Returns when it is worth reading the files again. Dropping the future loses no change.
    pub async fn next(&mut self) {
        match timeout(POLL, self.events.recv()).await {
            Ok(Some(())) => {
                sleep(SETTLE).await;
                let _ = self.events.try_recv();
            }
            // Nobody watches.
            Ok(None) => sleep(POLL).await,
            Err(_) => {}
        }
    }
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn watch(directories: &BTreeSet<&Path>, told: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // One that waits to be seen is enough for all.
        let _ = told.try_send(());
    })?;
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
