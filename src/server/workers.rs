//! Worker threads: one runtime each, none of which shares a connection with another.
//!
//! A connection lives on the worker that accepted it, and what it needs of the far side is kept by worker too (`runner::http`), so that a call is read,
//! placed, forwarded and answered without another thread being woken.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::together;
use crate::telemetry::{become_worker, next_worker};

/// Worker threads that run. Dropping it cuts what they do; they end soon after.
///
/// A worker whose work is over stays: what it has made, such as a connection to a runner, may be in use on another.
#[derive(Debug)]
pub struct Workers {
    /// Told when the work is over.
    through: Vec<oneshot::Receiver<()>>,
    /// Told when the thread has dropped everything.
    ends: Vec<oneshot::Receiver<()>>,
    cut: DropGuard,
}

impl Workers {
    /// Starts a worker for each of `parts`, which runs what `work` makes of its part, and everything that this spawns, until [`Workers::end`].
    ///
    /// # Errors
    /// The system gives no thread, or no way to wait for sockets.
    pub fn start<P, W, F>(parts: Vec<P>, work: W) -> io::Result<Self>
    where
        P: Send + 'static,
        W: Fn(P) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + 'static,
    {
        let (cut, work) = (CancellationToken::new(), Arc::new(work));
        let (mut through, mut ends) = (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
        for part in parts {
            let runtime = runtime()?;
            let ((is_through, work_over), (ended, end)) = (oneshot::channel(), oneshot::channel());
            let (cut, work) = (cut.clone(), Arc::clone(&work));
            let number = next_worker();
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                become_worker(number);
                let working = async move {
                    work(part).await;
                    // Nobody waits any more if they were dropped.
                    let _ = is_through.send(());
                    std::future::pending::<()>().await;
                };
                let _ = runtime.block_on(cut.run_until_cancelled_owned(working));
                // What was spawned and is not over is dropped here.
                drop(runtime);
                let _ = ended.send(());
            })?;
            through.push(work_over);
            ends.push(end);
        }
        Ok(Self { through, ends, cut: cut.drop_guard() })
    }

    /// Waits until the work of every worker is over. Dropping the future changes nothing.
    pub async fn through(&mut self) {
        while let Some(work_over) = self.through.last_mut() {
            // An error says the same: the thread is gone.
            let _ = work_over.await;
            self.through.pop();
        }
    }

    /// Drops what is left on the workers, and waits until they are gone.
    pub async fn end(self) {
        let Self { ends, cut, .. } = self;
        drop(cut);
        for end in ends {
            // As above.
            let _ = end.await;
        }
    }
}

/// Makes the current thread a worker, which has no others beside it and does all that takes no time. Returns the runtime that it is to drive; others may help out for a moment
/// with what takes long.
///
/// # Errors
/// The system gives no way to wait for sockets.
pub fn become_only_worker() -> io::Result<Runtime> {
    become_worker(next_worker());
    runtime()
}

/// How long a thread stays that has helped out.
const HELPER_STAYS: Duration = Duration::from_secs(1);

/// The runtime of a worker.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().thread_keep_alive(HELPER_STAYS).on_thread_park(together::pause).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{current_worker, highest_worker};

    #[tokio::test]
    async fn each_part_has_a_thread_of_its_own_with_a_number_and_a_runtime() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut workers = Workers::start(vec!["a", "b"], move |part| {
            let tell = tell.clone();
            async move {
                tokio::task::yield_now().await;
                tell.send((part, current_worker())).unwrap();
            }
        })
        .unwrap();
        workers.through().await;
        let mut seen = [told.recv().await.unwrap(), told.recv().await.unwrap()];
        seen.sort_unstable();
        assert!(seen[0].0 == "a" && seen[1].0 == "b" && seen[0].1 != seen[1].1, "{seen:?}");
        assert!(seen.iter().all(|(_, number)| (1..=highest_worker()).contains(number)));
        assert_eq!(current_worker(), 0);
        workers.end().await;
    }

    #[tokio::test]
    async fn what_a_worker_has_begun_goes_on_after_its_work_until_the_end() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (go, gone) = (CancellationToken::new(), CancellationToken::new());
        let (at, held) = (go.clone(), gone.clone());
        let mut workers = Workers::start(vec![()], move |()| {
            let (tell, at, held) = (tell.clone(), at.clone(), held.clone().drop_guard());
            async move {
                tokio::spawn(async move {
                    at.cancelled().await;
                    tell.send(()).unwrap();
                    std::future::pending::<()>().await;
                    drop(held);
                });
            }
        })
        .unwrap();
        workers.through().await;
        go.cancel();
        told.recv().await.unwrap();
        assert!(!gone.is_cancelled());
        workers.end().await;
        assert!(gone.is_cancelled(), "dropped before the end is told");
    }

    #[tokio::test]
    async fn dropping_the_workers_cuts_what_they_do() {
        let (held, dropped) = oneshot::channel::<()>();
        let held = std::sync::Mutex::new(Some(held));
        let workers = Workers::start(vec![()], move |()| {
            let held = held.lock().unwrap().take();
            async move {
                std::future::pending::<()>().await;
                drop(held);
            }
        })
        .unwrap();
        drop(workers);
        assert!(dropped.await.is_err());
    }
}
